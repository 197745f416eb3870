import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage, until } from '../stage.js';

let stage: Stage;
afterEach(() => stage.close());

/** A submission whose body is on its way; `finish` sends the rest and gives the answer. */
function openSubmission(endpoint: string) {
  const body = JSON.stringify({ input: { value: 'slow' } });
  const headers = { authorization: stage.key, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const outgoing = request(`${stage.url}/v2/${endpoint}/run`, { method: 'POST', headers });
  const answer = new Promise<{ status: number; body: string }>((resolve, reject) => {
    outgoing.on('response', (response) => resolve(text(response).then((got) => ({ status: response.statusCode ?? 0, body: got }))));
    outgoing.on('error', reject);
  });
  outgoing.write(body.slice(0, 5));
  return {
    finish: () => {
      outgoing.end(body.slice(5));
      return answer;
    },
  };
}

it('refuses submissions while it stops, finishes what had begun, and loses nothing (A6)', async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('stops', nodeProject('stops', ECHO, 'scale: { max: 1 }\n')));
  const running = await stage.submit('stops', { sleepMs: 4_000, value: 'ran' });
  await until(async () => (await stage.status('stops', running.id)).status === 'IN_PROGRESS', 'the job to run');
  const queued = await stage.submit('stops', { value: 'waited' });
  const slow = openSubmission('stops');
  const held = stage.call(`/v2/stops/status-sync/${running.id}?wait=60000`);

  await until(async () => (await stage.call('/v2/stops/health')).status === 200, 'the slow request to be there');
  process.kill(stage.pid, 'SIGTERM');
  const refused = await until(async () => {
    const answer = await stage.call('/v2/stops/run', { method: 'POST', body: { input: { value: 'late' } } });
    return answer.status === 503 ? answer : undefined;
  }, 'submissions to be refused');
  expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
  expect(refused.json).toEqual({ error: 'the server is stopping' });
  expect((await held).json).toMatchObject({ id: running.id, status: 'IN_PROGRESS' });
  const finished = await slow.finish();
  expect(finished.status).toBe(200);
  const { id } = JSON.parse(finished.body) as { id: string };
  await stage.died();

  await stage.restart();
  expect(await stage.finished('stops', running.id)).toMatchObject({ status: 'COMPLETED', output: 'ran' });
  expect(await stage.finished('stops', queued.id)).toMatchObject({ status: 'COMPLETED', output: 'waited' });
  expect(await stage.finished('stops', id)).toMatchObject({ status: 'COMPLETED', output: 'slow' });
});
