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

describe.runIf(needsWall())('an endpoint that nobody asked for long', () => {
  it('answers the first request after a minute, a quarter, three quarters of an hour and a day, from no worker (E4)', async () => {
    wall = openWall({ isTime: true });
    stage = await openStage(wall.env);
    await stage.cli('deploy', stage.project('idle', nodeProject('idle', ECHO, 'scale: { max: 1, idle: 1s }\n')));
    let at = 0;
    for (const seconds of [60, 15 * 60, 45 * 60, 24 * HOUR_S]) {
      const isEmpty = async () => ((await stage.call('/v2/idle/health')).json as { workers: { ready: number } }).workers.ready === 0;
      await until(isEmpty, 'no worker');
      at += seconds;
      wall.set(at);
      // The server closes what was idle so long; a client that comes back opens a new connection.
      await until(() => stage.call('/v2/idle/health').catch(() => undefined), 'a new connection');
      expect(await stage.runsync('idle', { value: seconds })).toMatchObject({ status: 'COMPLETED', output: seconds });
    }
  }, 90_000);
});
