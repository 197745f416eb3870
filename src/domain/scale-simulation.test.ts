import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideThaws } from './frozen.js';
import { decideRest, decideScale } from './scale.js';

/** The decisions under a simulated clock: arrivals, starts that take time, jobs that take time, stops that take time; thaws take none. */
const TICK_MS = 100;
const STOP_MS = 300;

interface SimWorker {
  readonly id: string;
  readyAt: number;
  jobUntil: number | null;
  idleSince: number | null;
  frozenAt: number | null;
  goneAt: number | null;
}

interface Shape {
  /** Arrivals in each tick. */
  readonly arrivals: readonly number[];
  readonly startMs: number;
  readonly jobMs: number;
  readonly policy: Parameters<typeof decideScale>[1];
}

/** Runs the arrivals and then silence; gives the number of workers at each tick, how many of them were awake, the ticks of starts, and the jobs served. */
function simulate({ arrivals, startMs, jobMs, policy }: Shape, silenceTicks: number) {
  let workers: SimWorker[] = [];
  const queue: number[] = [];
  const counts: number[] = [];
  const awakes: number[] = [];
  const starts: number[] = [];
  let served = 0;
  let busyStops = 0;
  let made = 0;
  for (let tick = 0; tick < arrivals.length + silenceTicks; tick++) {
    const now = tick * TICK_MS;
    for (let n = 0; n < (arrivals[tick] ?? 0); n++) queue.push(now);
    workers = workers.filter(({ goneAt }) => goneAt === null || goneAt > now);
    for (const worker of workers) {
      if (worker.jobUntil !== null && worker.jobUntil <= now) {
        worker.jobUntil = null;
        worker.idleSince = now;
        served++;
      }
      if (worker.readyAt <= now && worker.idleSince === null && worker.jobUntil === null && worker.frozenAt === null)
        worker.idleSince = now;
      if (worker.goneAt === null && worker.frozenAt === null && worker.readyAt <= now && worker.jobUntil === null && queue.length > 0) {
        queue.shift();
        worker.jobUntil = now + jobMs;
        worker.idleSince = null;
      }
    }
    const up = workers.filter(({ goneAt }) => goneAt === null);
    const starting = up.filter(({ readyAt }) => readyAt > now).length;
    const sample = {
      queued: queue.length,
      inProgress: up.filter(({ jobUntil }) => jobUntil !== null).length,
      oldestQueuedAt: queue[0] ?? null,
    };
    const { start } = decideScale({ ...sample, starting, ready: up.length - starting, stopping: workers.length - up.length }, policy, now);
    for (let n = 0; n < start; n++) {
      workers.push({ id: `w${made++}`, readyAt: now + startMs, jobUntil: null, idleSince: null, frozenAt: null, goneAt: null });
      starts.push(tick);
    }
    const frozen = up.filter(({ frozenAt }) => frozenAt !== null);
    const idle = up.filter(({ idleSince }) => idleSince !== null).length;
    const count = decideThaws({ queued: queue.length, idle, awake: up.length - frozen.length, frozen: frozen.length }, policy);
    for (const worker of frozen.slice(0, count)) {
      worker.frozenAt = null;
      worker.idleSince = now;
    }
    const rest = policy.keep === 'freeze' ? ('freeze' as const) : ('stop' as const);
    const views = up.map(({ id, readyAt, idleSince, frozenAt }) => ({ id, isStarting: readyAt > now, idleSince, frozenAt, rest }));
    const { stop, freeze } = decideRest(views, policy, now);
    for (const worker of up.filter(({ id }) => stop.includes(id))) {
      if (worker.jobUntil !== null) busyStops++;
      worker.goneAt = now + STOP_MS;
    }
    for (const worker of up.filter(({ id }) => freeze.includes(id))) {
      if (worker.jobUntil !== null) busyStops++;
      worker.frozenAt = now;
      worker.idleSince = null;
    }
    counts.push(workers.length);
    awakes.push(workers.filter(({ frozenAt }) => frozenAt === null).length);
  }
  return { counts, awakes, starts, served, busyStops, left: queue.length };
}

const policy = fc.record({
  min: fc.integer({ min: 0, max: 2 }),
  max: fc.integer({ min: 2, max: 8 }),
  idleMs: fc.integer({ min: 100, max: 10_000 }),
  type: fc.constantFrom('queueDelay' as const, 'requestCount' as const),
  value: fc.integer({ min: 1, max: 5 }),
  keep: fc.constantFrom('freeze' as const, 'none' as const),
});
const times = { startMs: fc.integer({ min: 0, max: 8_000 }), jobMs: fc.integer({ min: 100, max: 5_000 }) };
/** Steps, ramps, spikes, sawtooth and noise are all lists of arrivals; mostly none, now and then many. */
const arrivals = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.constant(0) },
    { weight: 3, arbitrary: fc.nat({ max: 2 }) },
    { weight: 1, arbitrary: fc.nat({ max: 20 }) },
  ),
  { minLength: 1, maxLength: 300 },
);
const shapes = fc.record({ arrivals, ...times, policy });
/** Long enough for every queue above: 300 ticks of at most 20 jobs of 5 s on at least two workers would not be; those are cut. */
const SILENCE = 1_500;

describe('the scaler under simulated load', () => {
  it('never has more than max, serves what comes, goes back to min and stays there (E1, E3)', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const total = shape.arrivals.reduce((sum, count) => sum + count, 0);
        fc.pre(total * shape.jobMs < SILENCE * TICK_MS * 0.5);
        const { counts, awakes, served, left } = simulate(shape, SILENCE + shape.policy.idleMs / TICK_MS);
        expect(Math.max(...counts)).toBeLessThanOrEqual(shape.policy.max);
        expect([served, left]).toEqual([total, 0]);
        const settled = shape.policy.keep === 'freeze' ? awakes : counts;
        expect(settled.slice(-50).every((count) => count === shape.policy.min)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('never stops a busy worker (E5)', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        expect(simulate(shape, 200).busyStops).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('starts nobody for as many jobs at once as there are workers that were frozen after the load (row 78, B7)', () => {
    fc.assert(
      fc.property(shapes, ({ arrivals, policy, ...rest }) => {
        const total = arrivals.reduce((sum, count) => sum + count, 0);
        fc.pre(total * rest.jobMs < SILENCE * TICK_MS * 0.5);
        const pause = Array.from({ length: SILENCE + policy.idleMs / TICK_MS }, () => 0);
        const kept = { ...policy, keep: 'freeze' as const };
        const workers = simulate({ ...rest, arrivals, policy: kept }, pause.length).counts.at(-1) ?? 0;
        const again = simulate({ ...rest, arrivals: [...arrivals, ...pause, workers], policy: kept }, SILENCE);
        expect([again.starts.filter((tick) => tick >= arrivals.length + pause.length), again.left]).toEqual([[], 0]);
      }),
      { numRuns: 30 },
    );
  });

  it('does not grow without traffic, however slow workers start (E3)', () => {
    const quiet = { min: 1, max: 5, idleMs: 1_000, type: 'queueDelay', value: 4 } as const;
    const { counts } = simulate({ arrivals: [], startMs: 60_000, jobMs: 100, policy: quiet }, 36_000);
    expect(new Set(counts)).toEqual(new Set([1]));
  });

  it('turns at most once while the load is steady (E1)', () => {
    for (const type of ['queueDelay', 'requestCount'] as const) {
      const steady = { min: 0, max: 8, idleMs: 5_000, type, value: 1 };
      const { counts } = simulate(
        { arrivals: Array.from({ length: 1_200 }, (_, tick) => Number(tick % 5 === 0)), startMs: 500, jobMs: 1_000, policy: steady },
        0,
      );
      const steps = counts
        .slice(1)
        .map((count, at) => Math.sign(count - (counts[at] ?? 0)))
        .filter((step) => step !== 0);
      const turns = steps.slice(1).filter((step, at) => step !== steps[at]).length;
      expect(turns).toBeLessThanOrEqual(1);
    }
  });
});
