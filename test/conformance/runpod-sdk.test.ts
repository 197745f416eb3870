import runpod from 'runpod-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage, until } from '../stage.js';

const STREAM = `
export async function* handler({ input: { count } }) {
  for (let n = 1; n <= count; n++) { yield { n }; await new Promise((resolve) => setTimeout(resolve, 50)); }
}
`;

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('echo', nodeProject('echo', ECHO, 'scale: { max: 1 }\n')));
  await stage.cli('deploy', stage.project('chunks', nodeProject('chunks', STREAM, 'scale: { max: 1 }\n')));
});
afterAll(() => stage.close());

const endpoint = (id: string) => {
  const made = runpod(stage.key, { baseUrl: `${stage.url}/v2` }).endpoint(id);
  if (!made) throw new Error('the client made no endpoint');
  return made;
};

describe('the official runpod-sdk client with only its base URL changed (row 67)', () => {
  it('runs a job and reads its status', async () => {
    const { id } = await endpoint('echo').run({ input: { value: 42 } });
    const done = await until(async () => {
      const status = await endpoint('echo').status(id);
      return 'completed' in status && status.completed ? status : undefined;
    }, 'the job to be done');
    expect(done).toMatchObject({ id, status: 'COMPLETED', output: 42, started: true, completed: true, succeeded: true });
  });

  it('waits in runSync, over several holds when it has to', async () => {
    expect(await endpoint('echo').runSync({ input: { value: 'now' } })).toMatchObject({
      status: 'COMPLETED',
      output: 'now',
      succeeded: true,
    });
    const slow = await endpoint('echo').runSync({ input: { sleepMs: 2_500, value: 'late' } }, 20_000);
    expect(slow).toMatchObject({ status: 'COMPLETED', output: 'late' });
  });

  it('yields every chunk of a stream once and ends (row 47)', async () => {
    const { id } = await endpoint('chunks').run({ input: { count: 5 } });
    const chunks: unknown[] = [];
    for await (const chunk of endpoint('chunks').stream(id)) chunks.push(chunk);
    expect(chunks).toEqual([1, 2, 3, 4, 5].map((n) => ({ output: { n } })));
  });

  it('cancels a running job', async () => {
    const { id } = await endpoint('echo').run({ input: { sleepMs: 60_000 } });
    expect(await endpoint('echo').cancel(id)).toMatchObject({ id, status: 'CANCELLED' });
    expect(await endpoint('echo').status(id)).toMatchObject({ status: 'CANCELLED', completed: true, succeeded: false });
  });

  it('reads health and purges the queue', async () => {
    const { jobs, workers } = await endpoint('echo').health();
    expect(Object.values({ ...jobs, ...workers }).every((count) => Number.isInteger(count))).toBe(true);
    expect(Object.keys({ ...jobs, ...workers })).toHaveLength(11);
    expect(await endpoint('echo').purgeQueue()).toMatchObject({ removed: expect.any(Number), status: 'completed' });
  });
});
