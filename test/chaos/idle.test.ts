import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage, until } from '../stage.js';
import { needsWall, openWall, type Wall } from '../wall.js';

let wall: Wall;
let stage: Stage;
afterEach(async () => {
  await stage.close();
  wall.close();
});

const HOUR_S = 3_600;

/** On a connection of its own: the server closes what was idle so long, and a client that kept it might meet that moment. */
function ask(method: string, path: string, body?: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${stage.url}${path}`, { method, agent: false, headers: { authorization: stage.key } }, (answer) => {
      text(answer).then((got) => resolve(JSON.parse(got)), reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

describe.runIf(needsWall())('an endpoint that nobody asked for long', () => {
  it('answers the first request after a minute, a quarter, three quarters of an hour and a day, from no worker (E4)', async () => {
    wall = openWall({ isTime: true });
    stage = await openStage(wall.env);
    await stage.cli('deploy', stage.project('idle', nodeProject('idle', ECHO, 'scale: { max: 1, idle: 1s, keep: none }\n')));
    let at = 0;
    for (const seconds of [60, 15 * 60, 45 * 60, 24 * HOUR_S]) {
      const isEmpty = async () => ((await ask('GET', '/v2/idle/health')) as { workers: { ready: number } }).workers.ready === 0;
      await until(isEmpty, 'no worker');
      at += seconds;
      wall.set(at);
      const job = await ask('POST', '/v2/idle/runsync', { input: { value: seconds } });
      expect(job).toMatchObject({ status: 'COMPLETED', output: seconds });
    }
  }, 90_000);
});
