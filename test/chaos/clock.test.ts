import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openReceiver, type Receiver } from '../journey/receiver.js';
import { openStage, type Stage, until } from '../stage.js';
import { needsWall, openWall, untilWall, type Wall } from '../wall.js';

/** What each limit of the endpoints below is, in milliseconds; nothing may end before, or long after. */
const EXECUTION_MS = 5_000;
const TTL_MS = 10_000;
const WEBHOOK_MS = 10_000;
const RATE_MS = 10_000;
const IDLE_MS = 3_000;
/** The reaper and the reconciler look twice a second; the machine has other things to do. */
const SLACK_MS = 5_000;

interface Site {
  readonly stage: Stage;
  readonly wall: Wall;
  readonly receiver: Receiver;
  close(): Promise<void>;
}

/** A server whose wall clock a test sets: `live` serves, `parked` keeps its jobs waiting, `bare` has a limit of rates. */
async function openSite(): Promise<Site> {
  const wall = openWall();
  // The first try of a webhook to /fails fails.
  const receiver = await openReceiver((path, number) => (path === '/fails' && number === 0 ? 500 : 200));
  const stage = await openStage({ ...wall.env, WHERRY_WEBHOOK_ALLOW: '127.0.0.1' });
  const settings = 'scale: { max: 3, type: requestCount, value: 1, idle: 3s, keep: none }\n';
  await stage.cli('deploy', stage.project('live', nodeProject('live', ECHO, settings)));
  await stage.cli('deploy', stage.project('parked', nodeProject('parked', ECHO, 'scale: { max: 1 }\n')));
  await stage.call('/api/v1/endpoints/parked', { method: 'PATCH', body: { settings: { scale: { max: 0 } } } });
  await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'bare', settings: { limits: { rate: 1 } } } });
  return {
    stage,
    wall,
    receiver,
    close: async () => {
      await stage.close();
      await receiver.close();
      wall.close();
    },
  };
}

/** Begins one of everything that takes its time; the result watches each end, in milliseconds from its beginning. */
async function beginTimers({ stage, receiver }: Site) {
  const began = performance.now();
  const since = () => performance.now() - began;
  const hook = (path: string) => ({ webhook: `${receiver.url}${path}` });
  const limited = await stage.submit('live', { sleepMs: 60_000 }, { policy: { executionTimeout: EXECUTION_MS } });
  const steady = await stage.submit('live', { sleepMs: 3_500, value: 'steady', log: 'heard' }, { policy: { executionTimeout: 3_600_000 } });
  const told = await stage.submit('live', { value: 'told' }, hook('/fails'));
  await stage.submit('parked', { value: 'mortal' }, { policy: { ttl: TTL_MS }, ...hook('/ttl') });
  await until(() => receiver.received.some(({ path }) => path === '/fails'), 'the first try of the webhook');
  for (const { id } of [limited, steady])
    await until(async () => (await stage.status('live', id)).status === 'IN_PROGRESS', `job ${id} to run`);
  for (let n = 0; n < 2; n++) expect((await purge(stage)).status).toBe(200);
  const { workerId: idleWorker } = await stage.finished('live', told.id);
  const idleFrom = performance.now();
  const receivedAt = async (path: string, number: number) =>
    (await until(() => receiver.received.filter((got) => got.path === path)[number], `the webhook of ${path}`)).at;
  return {
    began,
    since,
    limited,
    steady,
    idleWorker,
    idleFrom,
    retriedAfter: async () => (await receivedAt('/fails', 1)) - (await receivedAt('/fails', 0)),
    expiredAfter: async () => {
      await receivedAt('/ttl', 0);
      return since();
    },
  };
}

const purge = (stage: Stage) => stage.call('/v2/bare/purge-queue', { method: 'POST', body: {} });
const within = (ms: number) => ({ from: ms - 500, to: ms + SLACK_MS });

function expectBetween(elapsedMs: number, { from, to }: { readonly from: number; readonly to: number }, what: string): void {
  expect(elapsedMs, what).toBeGreaterThanOrEqual(from);
  expect(elapsedMs, what).toBeLessThan(to);
}

const JUMPS = [
  ['an hour forward', 3_600],
  ['an hour back', -3_600],
  ['ten seconds back', -10],
] as const;
const ABSENT: readonly (readonly [string, number, string])[] = [
  ...JUMPS.map(([what, seconds]) => [what, seconds, 'UTC'] as const),
  ['to another time zone', 0, 'Pacific/Apia'],
];

describe.runIf(needsWall()).concurrent('a wall clock that jumps (needs faketime)', () => {
  it.each(JUMPS)('%s under the server ends nothing early and holds nothing back (B5)', async (_, seconds) => {
    await withSite(async (site) => {
      const timers = await beginTimers(site);
      const before = await submitWaiting(site, 'before');
      site.wall.set(seconds);
      await untilWall(site.stage, seconds);
      const after = await submitWaiting(site, 'after');
      await Promise.all([expectTimers(site, timers), expectRate(site, timers), expectIdle(site, timers)]);
      await expectOrder(site, [before, after]);
    });
  });

  it.each(ABSENT)('%s while the server is away ends nothing early and holds nothing back (B5)', async (_, seconds, zone) => {
    await withSite(async (site) => {
      const timers = await beginTimers(site);
      const before = await submitWaiting(site, 'before');
      await site.stage.kill();
      site.wall.set(seconds);
      await site.stage.restart({ TZ: zone });
      await untilWall(site.stage, seconds);
      const after = await submitWaiting(site, 'after');
      await Promise.all([expectTimers(site, timers), expectIdle(site, timers)]);
      await expectOrder(site, [before, after]);
      await expectLogs(site);
    });
  });
});

async function withSite(test: (site: Site) => Promise<void>): Promise<void> {
  const site = await openSite();
  await test(site).finally(() => site.close());
}

const submitWaiting = async ({ stage }: Site, value: string): Promise<string> =>
  (await stage.submit('parked', { value, log: `job ${value}`, sleepMs: 200, file: `${stage.dir}/order` })).id;

type Timers = Awaited<ReturnType<typeof beginTimers>>;

async function expectTimers({ stage }: Site, timers: Timers): Promise<void> {
  const checks = [
    async () => {
      const job = await stage.finished('live', timers.limited.id);
      expect(job.status).toBe('TIMED_OUT');
      expectBetween(job.executionTime ?? 0, within(EXECUTION_MS), 'the execution time-out');
      expectBetween(timers.since(), { from: EXECUTION_MS, to: EXECUTION_MS + 2 * SLACK_MS }, 'the execution time-out as a client sees it');
    },
    async () => {
      const job = await stage.finished('live', timers.steady.id);
      expect(job).toMatchObject({ status: 'COMPLETED', output: 'steady' });
      expectBetween(job.executionTime ?? 0, within(3_500), 'the run of a job');
      expectBetween(job.delayTime ?? -1, { from: 0, to: SLACK_MS }, 'the wait of a job');
    },
    async () => expectBetween(await timers.retriedAfter(), within(WEBHOOK_MS), 'the wait between two tries of a webhook'),
    async () => expectBetween(await timers.expiredAfter(), within(TTL_MS), 'the ttl'),
  ];
  await Promise.all(checks.map((check) => check()));
  expect((await stage.call('/v2/live/health')).json).toMatchObject({ jobs: { retried: 0, failed: 1, inQueue: 0, inProgress: 0 } });
}

/** Two in ten seconds are used up; the third has to wait for its time, whatever the wall says. */
async function expectRate({ stage }: Site, { since }: Timers): Promise<void> {
  await until(async () => (await purge(stage)).status === 200, 'the rate to let another request in');
  expectBetween(since(), { from: RATE_MS - 2_000, to: RATE_MS + 2 * SLACK_MS }, 'the window of the rate');
}

async function expectIdle({ stage }: Site, { idleWorker, idleFrom }: Timers): Promise<void> {
  await until(async () => {
    const { items } = (await stage.call('/api/v1/endpoints/live/workers')).json as { items: { id: string }[] };
    return !items.some(({ id }) => id === idleWorker);
  }, 'the idle worker to stop');
  expectBetween(performance.now() - idleFrom, within(IDLE_MS), 'the idle time-out');
}

/** Jobs are listed and served in the order they came in. */
async function expectOrder({ stage }: Site, ids: readonly string[]): Promise<void> {
  const listed = (await stage.call('/v2/parked/requests')).json as { requests: { id: string; status: string }[] };
  const waiting = listed.requests.filter(({ status }) => status === 'IN_QUEUE').map(({ id }) => id);
  expect(waiting).toEqual([...ids].reverse());
  await stage.call('/api/v1/endpoints/parked', { method: 'PATCH', body: { settings: { scale: { max: 1 } } } });
  for (const id of ids) {
    const job = await stage.finished('parked', id);
    expect(job.status).toBe('COMPLETED');
    expectBetween(job.delayTime ?? -1, { from: 1, to: 60_000 }, 'the wait of a job');
    expectBetween(job.executionTime ?? -1, { from: 0, to: SLACK_MS }, 'the run of a job');
    const path = `/api/v1/endpoints/parked/logs?job=${id}`;
    await until(async () => JSON.stringify((await stage.call(path)).json).includes('job '), 'what the job printed to be its own');
  }
  expect(readFileSync(`${stage.dir}/order`, 'utf8').trim().split('\n')).toEqual(ids);
}

/** What is printed after the clock was set comes after what was printed before. */
async function expectLogs({ stage }: Site): Promise<void> {
  await stage.runsync('live', { value: 1, log: 'later' });
  const printed = await until(async () => {
    const { items } = (await stage.call('/api/v1/endpoints/live/logs?limit=1000')).json as { items: { text: string; source: string }[] };
    const texts = items.filter(({ source }) => source === 'container').map(({ text }) => text);
    return texts.includes('later') ? texts : undefined;
  }, 'the line to be kept');
  expect(printed).toEqual(['heard', 'later']);
}
