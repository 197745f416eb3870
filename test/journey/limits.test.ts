import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** Limits that an endpoint sets for itself. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  const limits = 'limits: { rate: 1, runSize: 2KiB, runsyncSize: 3KiB, resultSize: 2KiB, timeoutState: FAILED, execution: 5s }\n';
  await stage.cli('deploy', stage.project('small', nodeProject('small', ECHO, `scale: { max: 1 }\n${limits}`)));
});
afterAll(() => stage.close());

const post = (path: string, body: unknown) => stage.call(`/v2/small/${path}`, { method: 'POST', body });

describe('limits of an endpoint', () => {
  it('refuse larger bodies with the limit in the text (row 60)', async () => {
    expect((await post('run', { input: 'x'.repeat(1_900) })).status).toBe(200);
    expect(await post('run', { input: 'x'.repeat(2_100) })).toMatchObject({
      status: 400,
      json: { error: 'the body is larger than 2048 bytes' },
    });
    expect((await post('runsync', { input: { value: 'x'.repeat(2_900) } })).status).toBe(200);
    expect((await post('runsync', { input: 'x'.repeat(3_100) })).status).toBe(400);
  });

  it('fail a job whose result is larger, with the limit in the text (row 40)', async () => {
    expect(await stage.runsync('small', { value: 'x'.repeat(1_500) })).toMatchObject({ status: 'COMPLETED' });
    const job = await stage.runsync('small', { value: 'x'.repeat(2_500) });
    expect(job).toMatchObject({ status: 'FAILED', error: 'the result is larger than 2048 bytes' });
  });

  it('report a time-out as FAILED to clients that know no other end', async () => {
    const { id } = await stage.submit('small', { sleepMs: 60_000 });
    expect(await stage.finished('small', id)).toMatchObject({
      status: 'FAILED',
      error: expect.stringContaining('execution time-out of 5000 ms'),
    });
  });

  it('answer 429 with Retry-After above the rate, each key by itself (row 61)', async () => {
    expect((await post('purge-queue', {})).status).toBe(200);
    expect((await post('purge-queue', {})).status).toBe(200);
    const refused = await post('purge-queue', {});
    expect(refused).toMatchObject({ status: 429, json: { error: expect.stringContaining('2 in 10 s') } });
    expect(refused.headers.get('retry-after')).toBe('1');
    const { key } = JSON.parse(await stage.cli('keys', 'create', 'other', '-e', 'small', '--json')) as { key: string };
    expect((await stage.call('/v2/small/purge-queue', { method: 'POST', key })).status).toBe(200);
    await until(async () => (await post('purge-queue', {})).status === 200, 'ten seconds to pass', 15_000);
  });
});

describe('/metrics and /requests', () => {
  it('name the ready workers, and recent jobs without what they carry', async () => {
    const { id } = await stage.submit(
      'small',
      { value: 1 },
      { s3Config: { accessSecret: 'canary' }, webhook: 'https://example.com/canary' },
    );
    await stage.finished('small', id);
    const { readyWorkers, workers } = (await stage.call('/v2/small/metrics')).json as {
      readyWorkers: string[];
      workers: { ready: number };
    };
    expect(readyWorkers).toHaveLength(workers.ready);
    const { json } = await stage.call('/v2/small/requests?limit=2');
    const { requests } = json as { requests: Record<string, unknown>[] };
    expect(requests).toHaveLength(2);
    expect(requests[0]).toEqual({
      id,
      status: 'COMPLETED',
      delayTime: expect.any(Number),
      executionTime: expect.any(Number),
      workerId: expect.stringMatching(/^w-/),
      submittedAt: expect.any(String),
    });
    expect(JSON.stringify(json)).not.toContain('canary');
  });
});
