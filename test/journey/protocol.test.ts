import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openSpoken, type Speaker, type SpokenEndpoint } from '../speaker.js';
import { openStage, type Stage, until } from '../stage.js';

/** The worker protocol in its corners: the test speaks for real worker processes of the real server. */
let stage: Stage;
let spoken: SpokenEndpoint;
let worker: Speaker;
beforeAll(async () => {
  stage = await openStage();
  spoken = await openSpoken(stage, 'spoken', 'scale: { min: 1, max: 1, idle: 1h }\n');
  worker = await spoken.next();
});
afterAll(() => stage.close());
beforeEach(async () => {
  await call('purge-queue', 'POST');
});

const run = async (input: unknown = {}, more = {}) => (await stage.submit('spoken', input, more)).id;
const statusOf = async (id: string) => (await stage.status('spoken', id)).status;
const call = (rest: string, method = 'GET') => stage.call(`/v2/spoken/${rest}`, { method });
const streamOf = async (id: string) => (await call(`stream/${id}?wait=1000`)).json as { status: string; stream: { output: unknown }[] };
const outputs = (part: { stream: { output: unknown }[] }) => part.stream.map(({ output }) => output);
const nextOf = async (previous: Speaker) => {
  await until(() => !previous.isAlive(), 'the worker to be gone');
  const next = await spoken.next();
  await next.ping();
  return next;
};
const take = async () => {
  const job = await worker.take();
  if (!job) throw new Error('the worker got no job');
  return job.id;
};

describe('streams', () => {
  it('delivers each chunk once and in order, the last ones with the final state (rows 26, 47)', async () => {
    const id = await run();
    expect(await take()).toBe(id);
    await worker.stream(id, 'a');
    await worker.stream(id, { b: [1, null, 'é'] });
    expect(await streamOf(id)).toMatchObject({ id, status: 'IN_PROGRESS', stream: [{ output: 'a' }, { output: { b: [1, null, 'é'] } }] });
    await worker.stream(id, 3);
    await worker.done(id, { output: [] }, true);
    expect(await streamOf(id)).toMatchObject({ status: 'COMPLETED', stream: [{ output: 3 }] });
    expect(await streamOf(id)).toMatchObject({ status: 'COMPLETED', stream: [] });
    expect((await stage.status('spoken', id)).output).toEqual([]);
  });

  it('holds /stream until a chunk comes (row 47)', async () => {
    const id = await run();
    await take();
    const waiting = call(`stream/${id}?wait=20000`);
    await worker.stream(id, 'soon');
    expect(outputs((await waiting).json as never)).toEqual(['soon']);
    await worker.done(id, { output: ['soon'] }, true);
    expect((await stage.status('spoken', id)).output).toEqual(['soon']);
  });

  it('keeps what came before an error and shows both (row 26)', async () => {
    const id = await run();
    await take();
    await worker.stream(id, 1);
    await worker.done(id, { error: 'handler: broke \ntraceback: …' }, true);
    expect(await streamOf(id)).toMatchObject({ status: 'FAILED', stream: [{ output: 1 }] });
  });

  it('ignores chunks after the end and of others, with 200 (B3)', async () => {
    const id = await run();
    await take();
    await worker.done(id, { output: 1 });
    expect((await worker.stream(id, 'late')).status).toBe(200);
    expect(await streamOf(id)).toMatchObject({ status: 'COMPLETED', stream: [] });
    expect((await worker.stream('unknown', 'foreign')).status).toBe(200);
  });

  it('keeps a chunk that is posted again with its number once, also over a kill of the server (I9)', async () => {
    const id = await run();
    await take();
    for (const number of [1, 1, 2]) await worker.stream(id, `n${number}`, number);
    await stage.kill();
    await stage.restart();
    for (const number of [2, 3, 3]) await worker.stream(id, `n${number}`, number);
    await worker.done(id, { output: [] }, true);
    expect(outputs(await streamOf(id))).toEqual(['n1', 'n2', 'n3']);
  });

  it('gives a reader that says what it has the same chunks again, also after a kill of the server that had given them out (I9)', async () => {
    const id = await run();
    await take();
    for (const number of [1, 2, 3]) await worker.stream(id, `n${number}`, number);
    const read = (after: string) => call(`stream/${id}?after=${after}&wait=1000`).then(({ json }) => json as { next: string });
    const all = await read('');
    const three = [1, 2, 3].map((number) => ({ number, output: `n${number}` }));
    expect(all).toEqual({ id, status: 'IN_PROGRESS', delayTime: expect.any(Number), next: expect.any(String), stream: three });
    await stage.kill();
    await stage.restart();
    expect(await read('')).toEqual(all);
    await worker.stream(id, 'n4', 4);
    await worker.done(id, { output: [] }, true);
    const rest = await read(String(all.next));
    expect(rest).toMatchObject({ status: 'COMPLETED', stream: [{ number: 4, output: 'n4' }] });
    expect(await read(String(rest.next))).toEqual({ ...rest, stream: [] });
    expect(outputs(await streamOf(id))).toEqual(['n1', 'n2', 'n3', 'n4']);
    expect(await call(`stream/${id}?after=4`)).toMatchObject({ status: 400, json: { error: expect.stringContaining("'after' is not") } });
  });

  it('cuts a text above 1 MB into chunks that make it up again', async () => {
    const id = await run();
    await take();
    const text = 'wherry☺'.repeat(250_000);
    await worker.stream(id, text);
    await worker.done(id, { output: [] }, true);
    const parts = outputs(await streamOf(id));
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.join('')).toBe(text);
  });

  it('answers an unknown job with 404, and a wait out of range with 400', async () => {
    expect((await call('stream/unknown')).status).toBe(404);
    const id = await run();
    expect(await call(`stream/${id}?wait=10`)).toMatchObject({
      status: 400,
      json: { error: 'wait is invalid; must be between 1000 and 300000' },
    });
    await call(`cancel/${id}`, 'POST');
  });
});

describe('a result that asks for the next job', () => {
  it('brings it when one waits', async () => {
    const [first, second] = [await run({ n: 1 }), await run({ n: 2 })];
    expect(await take()).toBe(first);
    const answer = await worker.doneAndNext(first, { output: 1 });
    expect(answer.status).toBe(200);
    expect(await answer.next()).toMatchObject({ id: second, input: { n: 2 } });
    expect(await stage.status('spoken', second)).toMatchObject({ status: 'IN_PROGRESS', workerId: worker.id });
    await worker.done(second, { output: 2 });
  });

  it('is acknowledged at once when none waits, and gets the one that comes', async () => {
    const first = await run();
    await take();
    const answer = await worker.doneAndNext(first, { output: 1 });
    expect(answer.status).toBe(200);
    expect(await statusOf(first)).toBe('COMPLETED');
    const second = await run({ n: 2 });
    expect(await answer.next()).toMatchObject({ id: second });
    await worker.done(second, { output: 2 });
  });

  it('gets none when it is posted again: the one of the lost answer may be on its way', async () => {
    const [first, second] = [await run(), await run()];
    await take();
    await worker.done(first, { output: 1 });
    expect(await (await worker.doneAndNext(first, { output: 1 })).next()).toEqual({});
    expect(await statusOf(second)).toBe('IN_QUEUE');
  });

  it('leaves a job in the queue whose worker went away while it waited (row 41)', async () => {
    const first = await run();
    await take();
    const answer = await worker.doneAndNext(first, { output: 1 });
    answer.leave();
    await until(async () => ((await call('health')).json as { workers: { idle: number } }).workers.idle === 1, 'an idle worker');
    const second = await run();
    expect(await take()).toBe(second);
    await worker.done(second, { output: 2 });
  });

  it('is answered without a job by a draining worker', async () => {
    const first = await run();
    await take();
    await stage.call('/api/v1/endpoints/spoken', { method: 'PATCH', body: { settings: { scale: { max: 0, min: 0 } } } });
    const answer = await worker.doneAndNext(first, { output: 1 });
    expect(await answer.next()).toEqual({});
    await stage.call('/api/v1/endpoints/spoken', { method: 'PATCH', body: { settings: { scale: { max: 1, min: 1 } } } });
    worker = await nextOf(worker);
  });
});

describe('results', () => {
  it('shows progress while the job runs and ignores it afterwards (row 28)', async () => {
    const id = await run();
    await take();
    await worker.done(id, { status: 'IN_PROGRESS', output: 'step 1' });
    expect(await stage.status('spoken', id)).toMatchObject({ status: 'IN_PROGRESS', output: 'step 1' });
    await worker.done(id, { output: 'end' });
    await worker.done(id, { status: 'IN_PROGRESS', output: 'late' });
    expect(await stage.status('spoken', id)).toMatchObject({ status: 'COMPLETED', output: 'end' });
  });

  it('accepts one result of a job and ignores repetitions (B9, B3)', async () => {
    const id = await run();
    await take();
    expect((await worker.done(id, { output: 'first' })).status).toBe(200);
    expect((await worker.done(id, { output: 'second' })).status).toBe(200);
    expect((await worker.done(id, { error: 'third' })).status).toBe(200);
    expect(await stage.status('spoken', id)).toMatchObject({ status: 'COMPLETED', output: 'first' });
  });

  it('fails a job whose result is NaN or no JSON, with 200 to the worker', async () => {
    for (const body of ['{"output": NaN}', 'output=1', '']) {
      const id = await run();
      await take();
      expect((await worker.done(id, body)).status).toBe(200);
      expect((await stage.status('spoken', id)).status).toBe('FAILED');
    }
  });

  it('fails a job whose result is too large, with the limit in the text (row 40)', async () => {
    const id = await run();
    await take();
    expect((await worker.done(id, { output: 'x'.repeat(21 * 1024 * 1024) })).status).toBe(200);
    expect(await stage.status('spoken', id)).toMatchObject({ status: 'FAILED', error: expect.stringContaining('20971520') });
  });

  it('fails a confirmed job whose worker asks for work without a result (row 30)', async () => {
    const id = await run();
    await take();
    await worker.ping([id]);
    const next = await run();
    expect(await take()).toBe(next);
    expect(await stage.status('spoken', id)).toMatchObject({ status: 'FAILED', error: expect.stringContaining('RESULT_LOST') });
    await worker.done(next, { output: 1 });
  });

  it('fails a confirmed job that two pings in a row do not name (row 30)', async () => {
    const id = await run();
    await take();
    await worker.ping([id]);
    const startedAt = Date.now();
    await until(async () => {
      await worker.ping([]);
      return (await statusOf(id)) === 'FAILED';
    }, 'the lost result to be noticed');
    expect(Date.now() - startedAt).toBeLessThan(30_000);
    expect(await stage.status('spoken', id)).toMatchObject({ error: expect.stringContaining('RESULT_LOST') });
  });
});

describe('batch takes', () => {
  it('gives up to batch_size jobs at once, to a busy worker too, and never more (rows 23, 36)', async () => {
    const ids = [];
    for (let n = 0; n < 6; n++) ids.push(await run({ n }));
    const first = await worker.takeBatch(4);
    expect(first.map(({ id }) => id)).toEqual(ids.slice(0, 4));
    const second = await worker.takeBatch(4, { busy: true });
    expect(second.map(({ id }) => id)).toEqual(ids.slice(4));
    for (const id of ids) await worker.done(id, { output: id });
    for (const id of ids) expect(await statusOf(id)).toBe('COMPLETED');
  });
});

describe('/retry', () => {
  it('runs a failed job again under its id, on another worker, without what the first run left (row 49)', async () => {
    const id = await run({ again: true });
    await take();
    await worker.stream(id, 'old');
    await worker.done(id, { error: 'no' }, true);
    expect((await call(`retry/${id}`, 'POST')).json).toEqual({ id, status: 'IN_QUEUE' });
    expect(await stage.status('spoken', id)).toMatchObject({ id, status: 'IN_QUEUE' });
    expect(await stage.status('spoken', id)).not.toHaveProperty('error');
    // The one worker had it already, and no worker gets a job twice: it is replaced.
    expect(await worker.take()).toBeUndefined();
    worker = await nextOf(worker);
    expect(await take()).toBe(id);
    await worker.stream(id, 'new');
    await worker.done(id, { output: ['new'] }, true);
    expect(outputs(await streamOf(id))).toEqual(['new']);
    expect(await stage.status('spoken', id)).toMatchObject({ status: 'COMPLETED', output: ['new'] });
    expect((await call(`retry/${id}`, 'POST')).status).toBe(400);
  });
});

describe('stopping a job', () => {
  it('tells a listening worker to stop a job and leaves the worker alone once it let go (row 34)', async () => {
    const id = await run();
    await take();
    await worker.ping([id]);
    const told = worker.stops();
    await until(async () => (await call(`cancel/${id}`, 'POST')).status === 200, 'the cancel');
    expect(await told).toEqual([id]);
    const next = await run();
    expect(await take()).toBe(next);
    expect(await statusOf(id)).toBe('CANCELLED');
    await worker.done(next, { output: 1 });
    expect(worker.isAlive()).toBe(true);
  });

  it('ends a worker that was told and goes on, within the grace (row 35)', async () => {
    const id = await run();
    await take();
    await worker.ping([id]);
    const told = worker.stops();
    await call(`cancel/${id}`, 'POST');
    expect(await told).toEqual([id]);
    const before = worker;
    worker = await nextOf(before);
    expect(await statusOf(id)).toBe('CANCELLED');
  });

  it('answers both polls of a worker that is to be replaced at once and gives it no other job (rows 32, 33)', async () => {
    const id = await run();
    await take();
    const waiting = await run();
    const stops = worker.stops();
    await worker.done(id, { output: 1, stopPod: true });
    expect(await worker.take()).toBeUndefined();
    expect(await stops).toEqual([]);
    worker = await nextOf(worker);
    expect(await take()).toBe(waiting);
    await worker.done(waiting, { output: 2 });
  });

  it('replaces a worker that says it is unhealthy, with its check and reason (row 37)', async () => {
    await worker.ping([], '&status=unhealthy&check=check_gpu&reason=too%20hot');
    const before = worker;
    worker = await nextOf(before);
    const { items } = (await stage.call('/api/v1/endpoints/spoken/workers?all=true')).json as { items: { id: string; reason: string }[] };
    expect(items.find(({ id }) => id === before.id)?.reason).toContain('check_gpu failed: too hot');
  });
});

describe('records', () => {
  it('makes one job of a hundred submissions with the same key, also after a restart (B1, B9)', async () => {
    const submit = () =>
      stage.call('/v2/spoken/run', { method: 'POST', body: { input: { n: 1 } }, headers: { 'idempotency-key': 'order-1' } });
    const answers = await Promise.all(Array.from({ length: 100 }, submit));
    const [first] = answers.map(({ json }) => json as { id: string });
    for (const { status, json } of answers) expect([status, json]).toEqual([200, { id: first?.id, status: 'IN_QUEUE' }]);
    await stage.kill();
    await stage.restart();
    expect((await submit()).json).toEqual({ id: first?.id, status: 'IN_QUEUE' });
    expect(await take()).toBe(first?.id);
    await worker.done(String(first?.id), { output: 1 });
    const other = await stage.call('/v2/spoken/run', {
      method: 'POST',
      body: { input: { n: 2 } },
      headers: { 'idempotency-key': 'order-1' },
    });
    expect(other.status).toBe(409);
  });

  it('says which limit let a job go, and when (rows 56, 59, B10)', async () => {
    const id = await run();
    await take();
    await worker.done(id, { output: 1 });
    expect((await call(`status/${id}?ttl=0`)).status).toBe(200);
    const gone = await call(`status/${id}`);
    expect(gone.status).toBe(404);
    expect(gone.json).toMatchObject({ code: 'JOB_EXPIRED', expired: { limit: 'retention', at: expect.any(String), status: 'COMPLETED' } });
    const short = await run({}, { policy: { ttl: 10_000 } });
    expect(await take()).toBe(short);
    await worker.ping([short]);
    await until(async () => (await call(`status/${short}`)).status === 404, 'the ttl to pass');
    expect((await call(`status/${short}`)).json).toMatchObject({ expired: { limit: 'ttl' } });
    worker = await nextOf(worker);
  });
});

describe('quarantine', () => {
  it('sets a job aside that ends its workers, with the evidence, and the queue moves on (B11, row 31)', async () => {
    const id = await run({ poison: true });
    const healthy = await run({ poison: false });
    for (let tries = 0; tries < 3; tries++) {
      expect(await take()).toBe(id);
      process.kill(worker.pid, 'SIGKILL');
      worker = await nextOf(worker);
    }
    expect(await stage.status('spoken', id)).toMatchObject({ status: 'FAILED', error: expect.stringContaining('JOB_QUARANTINED') });
    expect(await take()).toBe(healthy);
    await worker.done(healthy, { output: 1 });
    expect((await stage.call('/api/v1/endpoints/spoken')).json).toMatchObject({ pausedReason: null });
  });
});
