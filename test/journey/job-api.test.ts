import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** The job API and the worker's side of it, over the real server and real worker processes. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli(
    'deploy',
    stage.project('echo', nodeProject('echo', ECHO, 'env: { GREETING: hello }\nscale: { max: 2, idle: 2s, keep: none }\n')),
  );
});
afterAll(() => stage.close());

const path = (rest: string) => `/v2/echo/${rest}`;

describe('job API', () => {
  it('answers /run with 200 and a queued job, and /status with the finished one (rows 43, 45, 63)', async () => {
    const { status, json } = await stage.call(path('run'), { method: 'POST', body: { input: { value: 7 }, unknown: true } });
    expect(status).toBe(200);
    expect(json).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), status: 'IN_QUEUE' });
    const job = await stage.finished('echo', (json as { id: string }).id);
    expect(job).toEqual({
      id: (json as { id: string }).id,
      status: 'COMPLETED',
      delayTime: expect.any(Number),
      executionTime: expect.any(Number),
      workerId: expect.stringMatching(/^w-/),
      output: 7,
      timeline: expect.any(Object),
    });
    const posted = await stage.call(path(`status/${job.id}`), { method: 'POST', body: {} });
    expect(posted.json).toEqual(job);
  });

  it('answers /runsync with the whole job, its id prefixed (row 44)', async () => {
    const job = await stage.runsync('echo', { value: 'x' });
    expect(job).toMatchObject({ status: 'COMPLETED', output: 'x' });
    expect(job.id).toMatch(/^sync-/);
  });

  it('answers /runsync with the current state when the wait is over, and /status-sync with the end (rows 44, 46)', async () => {
    const { json } = await stage.call(path('runsync?wait=1000'), { method: 'POST', body: { input: { sleepMs: 2_500 } } });
    expect(json).toMatchObject({ status: 'IN_PROGRESS' });
    const done = await stage.call(path(`status-sync/${(json as { id: string }).id}?wait=10000`));
    expect(done.json).toMatchObject({ status: 'COMPLETED' });
  });

  it.each(['999', '300001', 'x', '1.5'])('refuses a wait of %s with the exact words (row 44)', async (wait) => {
    const { status, json } = await stage.call(path(`runsync?wait=${wait}`), { method: 'POST', body: { input: 1 } });
    expect(status).toBe(400);
    expect(json).toEqual({ error: 'wait is invalid; must be between 1000 and 300000' });
  });

  it.each([
    ['no input', { other: 1 }, 400],
    ['no object', '[1]', 400],
    ['no JSON', '{', 400],
    ['a short execution time-out', { input: 1, policy: { executionTimeout: 4_999 } }, 400],
    ['a long ttl', { input: 1, policy: { ttl: 604_800_001 } }, 400],
  ])('refuses a body with %s', async (_title, body, expected) => {
    const { status, json } = await stage.call(path('run'), { method: 'POST', body });
    expect(status).toBe(expected);
    expect(json).toEqual({ error: expect.any(String) });
  });

  it('refuses a body above 10 MB and names the limit', async () => {
    const { status, json } = await stage.call(path('run'), { method: 'POST', body: { input: 'x'.repeat(10 * 1024 * 1024) } });
    expect(status).toBe(400);
    expect((json as { error: string }).error).toContain('10 MiB');
  });

  it('takes raw and Bearer keys and refuses others with 401 (row 52)', async () => {
    for (const key of [stage.key, `Bearer ${stage.key}`]) expect((await stage.call(path('health'), { key })).status).toBe(200);
    for (const key of [null, 'wrong', `${stage.key}x`]) expect((await stage.call(path('health'), { key })).status).toBe(401);
  });

  it('answers 404 for unknown jobs and endpoints (row 45)', async () => {
    expect((await stage.call(path('status/nothing'))).status).toBe(404);
    expect((await stage.call('/v2/absent/health')).status).toBe(404);
    expect((await stage.call('/v2/absent/run', { method: 'POST', body: { input: 1 } })).status).toBe(404);
  });

  it.each([
    ['an empty object', '{}', null],
    ['null', 'null', null],
    ['false', 'false', false],
    ['a list', '[1,[2,{"a":null}]]', [1, [2, { a: null }]]],
    ['text', '"ünïcode ☃ \\u0000"', 'ünïcode ☃ \u0000'],
  ])('gives back %s unchanged (row 24)', async (_title, raw, expected) => {
    const { json } = await stage.call(path('runsync'), { method: 'POST', body: `{"input":{"value":${raw}}}` });
    expect(json).toMatchObject({ status: 'COMPLETED', output: expected });
  });

  it.each([['text'], [{ code: 5 }], [[1, 2]]])('makes a job with error %j FAILED with that error (row 25)', async (error) => {
    expect(await stage.runsync('echo', { error })).toMatchObject({ status: 'FAILED', error, output: { also: 1 } });
  });

  it('fails a job whose handler throws, with type, message and trace', async () => {
    const job = await stage.runsync('echo', { throw: 'too far' });
    expect(job.status).toBe('FAILED');
    expect(JSON.parse(String(job.error))).toMatchObject({
      error_type: 'RangeError',
      error_message: 'too far',
      error_traceback: expect.stringContaining('handler'),
    });
  });

  it('fails a job whose value is not JSON, and the worker goes on', async () => {
    const failed = await stage.runsync('echo', { bigint: true });
    expect(failed).toMatchObject({ status: 'FAILED', error: expect.stringContaining('JSON') });
    expect(await stage.runsync('echo', { value: 1 })).toMatchObject({ status: 'COMPLETED' });
  });

  it('passes other keys of the body to the handler and never shows them (row 58)', async () => {
    const job = await stage.runsync('echo', { job: true }, { s3Config: { accessId: 'hidden-id' } });
    expect(job.output).toMatchObject({ s3Config: { accessId: 'hidden-id' } });
    const plain = await stage.runsync('echo', { value: 1 }, { s3Config: { accessId: 'hidden-id' } });
    expect(JSON.stringify(plain)).not.toContain('hidden-id');
  });

  it('cancels a queued job at once and a running one by stopping its worker (rows 35, 48)', async () => {
    const running = await stage.submit('echo', { spin: true });
    await until(async () => (await stage.status('echo', running.id)).status === 'IN_PROGRESS', 'the job to run');
    const { json } = await stage.call(path(`cancel/${running.id}`), { method: 'POST' });
    expect(json).toMatchObject({ id: running.id, status: 'CANCELLED' });
    const { workerId } = await stage.status('echo', running.id);
    await until(async () => (await workers()).every(({ id }) => id !== workerId), 'its worker to be gone');
    const again = await stage.call(path(`cancel/${running.id}`), { method: 'POST' });
    expect(again.json).toMatchObject({ status: 'CANCELLED' });
    expect(await stage.runsync('echo', { value: 1 })).toMatchObject({ status: 'COMPLETED' });
  });

  it('times a job out and stops its work (row 55)', async () => {
    const job = await stage.submit('echo', { spin: true }, { policy: { executionTimeout: 5_000 } });
    expect(await stage.finished('echo', job.id)).toMatchObject({ status: 'TIMED_OUT', error: expect.stringContaining('5000 ms') });
    const { workerId } = await stage.status('echo', job.id);
    await until(async () => (await workers()).every(({ id }) => id !== workerId), 'its worker to be gone');
  });

  it('refuses jobs above the queue limit, and counts again before it does (row 62)', async () => {
    const limitTo = (queueJobs: number) =>
      stage.call('/api/v1/endpoints/echo', { method: 'PATCH', body: { settings: { limits: { queueJobs } } } });
    await limitTo(2);
    // More than the limit within the time a count is kept, but never two that wait.
    const done = [];
    for (let n = 0; n < 12; n++) done.push((await stage.runsync('echo', { value: n })).status);
    await limitTo(0);
    expect(new Set(done)).toEqual(new Set(['COMPLETED']));

    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'crowd', settings: { limits: { queueJobs: 5 } } } });
    const submit = async () => (await stage.call('/v2/crowd/run', { method: 'POST', body: { input: 1 } })).status;
    const answers = await Promise.all(Array.from({ length: 12 }, submit));
    expect(answers.sort()).toEqual([...Array(5).fill(200), ...Array(7).fill(429)]);
  });

  it('purges queued jobs and leaves running ones (row 50)', async () => {
    const running = await Promise.all([1, 2].map(() => stage.submit('echo', { sleepMs: 3_000 })));
    await until(async () => (await health()).jobs.inProgress === 2 || (await health()).jobs.inQueue === 1, 'a job to run');
    const queued = await Promise.all([1, 2, 3].map(() => stage.submit('echo', { value: 1 })));
    const { json } = await stage.call(path('purge-queue'), { method: 'POST' });
    expect((json as { status: string }).status).toBe('completed');
    expect((json as { removed: number }).removed).toBeGreaterThanOrEqual(3);
    for (const { id } of queued) expect((await stage.status('echo', id)).status).toBe('CANCELLED');
    const ends = await Promise.all(running.map(({ id }) => stage.finished('echo', id)));
    expect(ends.filter(({ status }) => status === 'COMPLETED').length).toBeGreaterThanOrEqual(1);
  });

  it('shows eleven numbers in /health that agree with the workers (row 51)', async () => {
    await stage.runsync('echo', { value: 1 });
    const shown = await health();
    expect(Object.keys(shown.jobs).sort()).toEqual(['completed', 'failed', 'inProgress', 'inQueue', 'retried']);
    expect(Object.keys(shown.workers).sort()).toEqual(['idle', 'initializing', 'ready', 'running', 'throttled', 'unhealthy']);
    expect([...Object.values(shown.jobs), ...Object.values(shown.workers)].every(Number.isInteger)).toBe(true);
    expect(shown.workers.ready).toBe(shown.workers.idle + shown.workers.running);
  });

  it('gives workers the release environment, which cannot replace the protocol (rows 21, 83, 90)', async () => {
    expect(await stage.runsync('echo', { env: 'GREETING' })).toMatchObject({ output: 'hello' });
    const take = await stage.runsync('echo', { env: 'RUNPOD_WEBHOOK_GET_JOB' });
    expect(take.output).toMatch(/\/v2\/echo\/job-take\/\$ID\?gpu=CPU$/);
    const post = await stage.runsync('echo', { env: 'RUNPOD_WEBHOOK_POST_OUTPUT' });
    expect(post.output).toMatch(/\/v2\/echo\/job-done\/\$RUNPOD_POD_ID\/\$ID\?gpu=CPU$/);
    for (const name of [
      'RUNPOD_WEBHOOK_POST_STREAM',
      'RUNPOD_WEBHOOK_PING',
      'RUNPOD_POD_ID',
      'RUNPOD_AI_API_KEY',
      'RUNPOD_PING_INTERVAL',
      'RUNPOD_ENDPOINT_ID',
    ])
      expect((await stage.runsync('echo', { env: name })).output, name).toBeTruthy();
  });

  it("spares workers RunPod's checks of memory, disk and network, unless the release asks for them (row 38)", async () => {
    const name = 'RUNPOD_SKIP_AUTO_SYSTEM_CHECKS';
    expect(await stage.runsync('echo', { env: name })).toMatchObject({ output: 'true' });
    await stage.cli('deploy', stage.project('checked', nodeProject('checked', ECHO, `env: { ${name}: 'false' }\n`)));
    expect(await stage.runsync('checked', { env: name })).toMatchObject({ output: 'false' });
  });

  it('keeps what workers print, by job, beyond their death; a flood is bounded and marked (row 101)', async () => {
    const job = await stage.runsync('echo', { log: 'a line to find' });
    await until(async () => (await stage.cli('logs', '-e', 'echo', '--job', job.id)).includes('a line to find'), 'the line to be stored');
    const flood = await stage.submit('echo', { flood: 100_000 });
    expect((await stage.finished('echo', flood.id)).status).toBe('COMPLETED');
    await until(async () => (await stage.cli('logs', '-e', 'echo', '--limit', '5000')).includes('dropped'), 'the mark of dropped lines');
    await until(async () => (await workers()).length === 0, 'the worker to stop');
    expect(await stage.cli('logs', '-e', 'echo', '--job', job.id)).toContain('a line to find');
  });

  it("refuses a worker's token on another worker's and endpoint's routes (row 42)", async () => {
    const { output: token } = await stage.runsync('echo', { env: 'RUNPOD_AI_API_KEY' });
    const { output: worker } = await stage.runsync('echo', { env: 'RUNPOD_POD_ID' });
    const key = String(token);
    expect((await stage.call(`/v2/echo/ping/${worker}?gpu=CPU`, { key })).status).toBe(200);
    expect((await stage.call(`/v2/other/ping/${worker}?gpu=CPU`, { key })).status).toBe(404);
    expect((await stage.call('/v2/echo/ping/w-other?gpu=CPU', { key })).status).toBe(401);
    expect((await stage.call(path('health'), { key })).status).toBe(401);
    expect((await stage.call('/api/v1/endpoints', { key })).status).toBe(401);
    expect((await stage.call('/v2/', { key })).status).toBe(401);
  });

  it('opens only its own endpoint to an endpoint key, and nothing once disabled (row 99)', async () => {
    const made = JSON.parse(await stage.cli('keys', 'create', 'ci', '-e', 'echo', '--json')) as { id: string; key: string };
    expect((await stage.call(path('health'), { key: made.key })).status).toBe(200);
    expect((await stage.call('/v2/other/health', { key: made.key })).status).toBe(401);
    expect((await stage.call('/api/v1/endpoints/echo', { key: made.key })).status).toBe(200);
    const shown = await stage.call('/api/v1/endpoints/echo/releases', { key: made.key });
    expect(shown.json).toMatchObject({ items: [{ spec: { env: { GREETING: '***' } } }] });
    expect((await stage.call('/api/v1/endpoints/echo/releases')).json).toMatchObject({ items: [{ spec: { env: { GREETING: 'hello' } } }] });
    expect((await stage.call('/api/v1/keys', { key: made.key })).status).toBe(403);
    expect((await stage.call('/v2/', { key: made.key })).status).toBe(401);
    await stage.cli('keys', 'disable', made.id);
    expect((await stage.call(path('health'), { key: made.key })).status).toBe(401);
    expect(JSON.stringify((await stage.call('/api/v1/keys')).json)).not.toMatch(/hash|wh_/);
  });
});

interface HealthAnswer {
  readonly jobs: Record<'inProgress' | 'inQueue', number>;
  readonly workers: Record<'ready' | 'idle' | 'running', number>;
}

async function health(): Promise<HealthAnswer> {
  return (await stage.call(path('health'))).json as HealthAnswer;
}

async function workers(): Promise<readonly { id: string; state: string }[]> {
  return ((await stage.call('/api/v1/endpoints/echo/workers')).json as { items: { id: string; state: string }[] }).items;
}
