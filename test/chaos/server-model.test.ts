import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSpoken, type Speaker } from '../speaker.js';
import { openStage, type Stage, until } from '../stage.js';
import { type ModelJob, ServerModel } from './server-model.js';

/** Operations; WHERRY_MODEL_STEPS asks for more, WHERRY_MODEL_SEED for the same ones again. */
const STEPS = Number(process.env['WHERRY_MODEL_STEPS'] ?? 1_000);
const SEED = Number(process.env['WHERRY_MODEL_SEED'] ?? Date.now() % 1_000_000);
const WORKERS = 3;
/** Far below the lease. */
const PING_MS = 4_000;

let stage: Stage;
const speakers: Speaker[] = [];
const told = new Set<string>();
beforeAll(async () => {
  stage = await openStage();
  const spoken = await openSpoken(stage, 'model', `scale: { min: ${WORKERS}, max: ${WORKERS}, idle: 1h }\n`);
  while (speakers.length < WORKERS) {
    const speaker = await spoken.next();
    await speaker.ping();
    speakers.push(speaker);
    void listen(speaker);
  }
});
afterAll(() => stage.close());

/** As an SDK does: a worker that listens for stops is not ended by a cancel. */
async function listen(speaker: Speaker): Promise<void> {
  try {
    for (;;) for (const id of await speaker.stops()) told.add(`${speaker.id} ${id}`);
  } catch {
    // The stage is closed.
  }
}

/** The same numbers for the same seed (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const random = createRandom(SEED);
const below = (limit: number) => Math.floor(random() * limit);
const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;
const model = new ServerModel();
const call = (rest: string, method = 'GET', body?: unknown, headers: Record<string, string> = {}) =>
  stage.call(`/v2/model/${rest}`, { method, headers, ...(body !== undefined && { body }) });

const VALUES: readonly unknown[] = [null, 0, '', 'text ☺', [1, [2]], { a: { b: null } }, false, 1.5];
/** Recent ones more often: they are the live ones. */
const someJob = (): ModelJob | undefined => (random() < 0.8 ? pick(model.jobs.slice(-12)) : pick(model.jobs));
const someHeld = (): { job: ModelJob; speaker: Speaker } | undefined => {
  const held = speakers.flatMap((speaker) => model.heldBy(speaker.id).map((job) => ({ job, speaker })));
  if (held.length > 0 && random() < 0.85) return pick(held);
  // Late or foreign.
  const job = someJob();
  return job && { job, speaker: pick(speakers) };
};

function expectJob(json: unknown, job: ModelJob): void {
  const seen = json as Record<string, unknown>;
  expect({ id: seen['id'], status: seen['status'], output: seen['output'], error: seen['error'] }).toEqual({
    id: job.id,
    status: job.state,
    output: job.output,
    error: job.error,
  });
  if (job.state === 'IN_PROGRESS' || job.state === 'COMPLETED') expect(seen['workerId']).toBe(job.workerId);
}

type Operation = () => Promise<void>;

const submit: Operation = async () => {
  const key = random() < 0.3 ? `key-${below(200)}` : undefined;
  const isLow = key === undefined && random() < 0.2;
  const earlier = key === undefined ? undefined : model.keys.get(key);
  const body = { input: { key: key ?? null }, ...(isLow && { policy: { lowPriority: true } }) };
  const { status, json } = await call('run', 'POST', body, key === undefined ? {} : { 'idempotency-key': key });
  const { id } = json as { id: string };
  expect(status).toBe(200);
  if (earlier) expect(id).toBe(earlier.id);
  else model.submit(id, { isLow, key });
};

const readStatus: Operation = async () => {
  const job = someJob();
  if (job) expectJob((await call(`status/${job.id}`, random() < 0.5 ? 'GET' : 'POST')).json, job);
  else expect((await call('status/unknown')).status).toBe(404);
};

const cancel: Operation = async () => {
  const job = someJob();
  if (!job) return;
  const holder = job.state === 'IN_PROGRESS' ? speakers.find(({ id }) => id === job.workerId) : undefined;
  model.cancel(job);
  expectJob((await call(`cancel/${job.id}`, 'POST')).json, job);
  if (!holder) return;
  await until(() => told.has(`${holder.id} ${job.id}`), 'the worker to be told');
  // Without the job: it let go.
  await holder.ping(model.heldBy(holder.id).map(({ id }) => id));
};

const retry: Operation = async () => {
  const job = someJob();
  if (!job) return;
  const isAllowed = model.retry(job);
  const { status } = await call(`retry/${job.id}`, 'POST');
  expect(status === 200).toBe(isAllowed);
};

const purge: Operation = async () => {
  expect((await call('purge-queue', 'POST')).json).toEqual({ removed: model.purge(), status: 'completed' });
};

const take: Operation = async () => {
  const speaker = pick(speakers);
  const held = model.heldBy(speaker.id);
  // Without a job for it, it would be held for long.
  if (model.waitingFor(speaker.id).length === 0 || held.length > 4) return;
  const options = { busy: held.length > 0 };
  const limit = 1 + below(3);
  const jobs = limit === 1 ? [await speaker.take(options)] : await speaker.takeBatch(limit, options);
  expect(jobs.map((job) => job?.id)).toEqual(model.take(speaker.id, limit).map(({ id }) => id));
};

const BODIES: readonly (() => Record<string, unknown>)[] = [
  () => ({ output: pick(VALUES) }),
  () => ({}),
  () => ({ error: pick(['broke', { code: 1 }, ['a']]) }),
  () => ({ output: pick(VALUES), error: 'with output' }),
  () => ({ status: 'IN_PROGRESS', output: pick(VALUES) }),
];

const post: Operation = async () => {
  const found = someHeld();
  if (!found) return;
  const { job, speaker } = found;
  const body = pick(BODIES)();
  const isOnly = model.heldBy(speaker.id).length === 1;
  const isEnd = model.done(job, speaker.id, body);
  if (!isEnd || !isOnly || model.waitingFor(speaker.id).length === 0) {
    expect((await speaker.done(job.id, body)).status).toBe(200);
    return;
  }
  const answer = await speaker.doneAndNext(job.id, body);
  expect(((await answer.next()) as { id?: string }).id).toBe(model.take(speaker.id, 1)[0]?.id);
};

const addChunk: Operation = async () => {
  const found = someHeld();
  if (!found) return;
  const { job, speaker } = found;
  const post = random() < 0.3 ? Math.max(1, job.posts) : job.posts + 1;
  const output = pick(VALUES);
  model.addChunk(job, { workerId: speaker.id, post, output });
  expect((await speaker.stream(job.id, output, post)).status).toBe(200);
};

const readStream: Operation = async () => {
  const unread = model.jobs.filter(({ chunks, delivered }) => delivered < chunks.length);
  const job = unread.length > 0 && random() < 0.7 ? pick(unread) : someJob();
  if (!job || !model.hasNews(job)) return;
  const { json } = await call(`stream/${job.id}?wait=1000`);
  const { status, stream } = json as { status: string; stream: { output: unknown }[] };
  expect({ status, outputs: stream.map(({ output }) => output) }).toEqual({ status: job.state, outputs: model.readStream(job) });
};

const list: Operation = async () => {
  const { items } = (await stage.call('/api/v1/endpoints/model/jobs?limit=50')).json as { items: { id: string; status: string }[] };
  const newest = model.jobs.slice(-50).reverse();
  expect(items.map(({ id, status }) => `${id} ${status}`)).toEqual(newest.map(({ id, state }) => `${id} ${state}`));
};

const health: Operation = async () => {
  expect(((await call('health')).json as { jobs: unknown }).jobs).toEqual(model.counts());
};

/** Each as often as its number says. */
const OPERATIONS: readonly (readonly [number, Operation])[] = [
  [15, submit],
  [10, readStatus],
  [5, cancel],
  [5, retry],
  [1, purge],
  [25, take],
  [25, post],
  [25, addChunk],
  [15, readStream],
  [2, list],
  [5, health],
];
const LOTTERY = OPERATIONS.flatMap(([weight, operation]) => Array.from({ length: weight }, () => operation));

describe('the whole server', () => {
  it(
    `answers ${STEPS} random operations as its model does (F2, seed ${SEED})`,
    async () => {
      let pingedAt = performance.now();
      for (let step = 0; step < STEPS; step++) {
        await pick(LOTTERY)();
        if (performance.now() - pingedAt < PING_MS) continue;
        pingedAt = performance.now();
        for (const speaker of speakers) await speaker.ping(model.heldBy(speaker.id).map(({ id }) => id));
      }
      await health();
      for (const job of model.jobs.slice(-200)) expectJob((await call(`status/${job.id}`)).json, job);
      expect(speakers.every((speaker) => speaker.isAlive())).toBe(true);
    },
    Math.max(120_000, STEPS * 50),
  );
});
