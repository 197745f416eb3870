import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EndpointSettings } from './endpoint.js';
import { type Simulation, simulateScale, type TracedRequest } from './simulation.js';

/** The scaler on a simulated clock: arrivals, starts, jobs and stops that take time. Loads are counts of requests for each tenth of a second. */
const TICK_MS = 100;
const TIMES = { ready: 0, thawMs: 5, stopMs: 300 };

type Policy = EndpointSettings['scale'];
interface Shape {
  readonly arrivals: readonly number[];
  readonly startMs: number;
  readonly jobMs: number;
  readonly policy: Policy;
}

function requestsOf(arrivals: readonly number[], runMs: number): TracedRequest[] {
  return arrivals.flatMap((count, tick) => Array.from({ length: count }, () => ({ at: tick * TICK_MS, runMs })));
}

function simulate({ arrivals, jobMs, startMs, policy }: Shape, silenceMs: number): Simulation {
  return simulateScale({ requests: requestsOf(arrivals, jobMs), policy, startMs, silenceMs, ...TIMES });
}

const most = ({ samples }: Simulation) => Math.max(0, ...samples.map(({ workers }) => workers));
const awakeAtEnd = ({ samples }: Simulation) => (samples.at(-1)?.workers ?? 0) - (samples.at(-1)?.frozen ?? 0);
const total = (arrivals: readonly number[]) => arrivals.reduce((sum, count) => sum + count, 0);

/** How often the number of workers turned from growing to shrinking or back. */
function turnsOf({ samples }: Simulation): number {
  const steps = samples
    .slice(1)
    .map(({ workers, frozen }, at) => Math.sign(workers - frozen - ((samples[at]?.workers ?? 0) - (samples[at]?.frozen ?? 0))))
    .filter((step) => step !== 0);
  return steps.slice(1).filter((step, at) => step !== steps[at]).length;
}

const policies = fc.record({
  min: fc.integer({ min: 0, max: 2 }),
  max: fc.integer({ min: 2, max: 8 }),
  idleMs: fc.integer({ min: 100, max: 10_000 }),
  type: fc.constantFrom('queueDelay' as const, 'requestCount' as const),
  value: fc.integer({ min: 1, max: 5 }),
  extra: fc.nat({ max: 3 }),
  keep: fc.constantFrom('freeze' as const, 'none' as const),
});
const times = { startMs: fc.integer({ min: 0, max: 8_000 }), jobMs: fc.integer({ min: 1, max: 5_000 }) };
/** Mostly none, now and then many. */
const arrivals = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.constant(0) },
    { weight: 3, arbitrary: fc.nat({ max: 2 }) },
    { weight: 1, arbitrary: fc.nat({ max: 20 }) },
  ),
  { minLength: 1, maxLength: 300 },
);
const shapes = fc.record({ arrivals, ...times, policy: policies });
/** Long enough for every load that is not cut: see `fc.pre`. */
const SILENCE_MS = 160_000;
const isServable = ({ arrivals: load, jobMs }: Shape) => total(load) * jobMs < SILENCE_MS / 2;

describe('the scaler under simulated load', () => {
  it('never has more than max, serves what comes, goes back to min and stays there (E1, E3)', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        fc.pre(isServable(shape));
        const result = simulate(shape, SILENCE_MS + shape.policy.idleMs);
        expect(most(result)).toBeLessThanOrEqual(shape.policy.max);
        expect([result.delaysMs.length, result.left]).toEqual([total(shape.arrivals), 0]);
        expect(awakeAtEnd(result)).toBe(shape.policy.min);
        if (shape.policy.keep === 'none') expect(result.samples.at(-1)?.workers).toBe(shape.policy.min);
        expect(result.samples.at(-1)?.at).toBeLessThan(shape.arrivals.length * TICK_MS + SILENCE_MS);
      }),
      { numRuns: 300 },
    );
  });

  it('never stops or freezes a busy worker (E5)', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        expect(simulate(shape, 20_000).busyStops).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('starts nobody for as many jobs at once as there are workers that were frozen after the load (row 78, B7)', () => {
    fc.assert(
      fc.property(shapes, (drawn) => {
        const shape = { ...drawn, policy: { ...drawn.policy, keep: 'freeze' as const, extra: 0 } };
        fc.pre(isServable(shape));
        const pauseMs = SILENCE_MS + shape.policy.idleMs;
        const before = simulate(shape, pauseMs);
        const pause = Array.from({ length: Math.ceil(pauseMs / TICK_MS) }, () => 0);
        const again = simulate({ ...shape, arrivals: [...shape.arrivals, ...pause, before.samples.at(-1)?.workers ?? 0] }, SILENCE_MS);
        expect([again.starts.length, again.left]).toEqual([before.starts.length, 0]);
      }),
      { numRuns: 30 },
    );
  });

  it('does not grow without traffic, however slow workers start (E3)', () => {
    const quiet = { min: 1, max: 5, idleMs: 1_000, type: 'queueDelay', value: 4, extra: 2 } as const;
    const result = simulate({ arrivals: [], startMs: 60_000, jobMs: 100, policy: quiet }, 3_600_000);
    expect(result.samples.map(({ workers }) => workers)).toEqual([1]);
  });

  it('lets min workers go without requests for long, and has them again with the next one (row 81)', () => {
    for (const keep of ['none', 'freeze'] as const) {
      const policy = { min: 2, max: 3, idleMs: 1_000, type: 'queueDelay', value: 4, keep, restAfterMs: 60_000 } as const;
      const requests = [0, 200_000].map((at) => ({ at, runMs: 100 }));
      const { samples } = simulateScale({ requests, policy, ready: 2, startMs: 500, thawMs: 5, stopMs: 300, silenceMs: 50_000 });
      const awakeAt = (moment: number) => {
        const { workers, frozen } = samples.findLast(({ at }) => at <= moment) ?? { workers: 0, frozen: 0 };
        return workers - frozen;
      };
      expect([59_999, 62_000, 199_999, 202_000].map(awakeAt)).toEqual([2, 0, 0, 2]);
    }
  });

  it('holds extra workers ready while there is work, and none without (row 79)', () => {
    const policy = { min: 0, max: 8, idleMs: 5_000, type: 'queueDelay', value: 4, extra: 2, keep: 'none' } as const;
    const steady = Array.from({ length: 600 }, (_, tick) => Number(tick % 10 === 0));
    const result = simulate({ arrivals: steady, startMs: 500, jobMs: 300, policy }, 60_000);
    const during = result.samples.filter(({ at }) => at > 2_000 && at < 60_000);
    expect([most(result), turnsOf({ ...result, samples: during })]).toEqual([3, 0]);
    expect(result.samples.at(-1)).toMatchObject({ workers: 0, queued: 0 });
  });
});

/** Loads with a name; each changes its direction so many times. */
const ticks = (seconds: number) => Array.from({ length: (seconds * 1_000) / TICK_MS }, (_, tick) => (tick * TICK_MS) / 1_000);
/** So many requests a second, spread evenly. */
function spread(rates: readonly number[]): number[] {
  let owed = 0;
  return rates.map((rate) => {
    owed += (rate * TICK_MS) / 1_000;
    const whole = Math.floor(owed + 1e-9);
    owed -= whole;
    return whole;
  });
}
const LOADS: Readonly<Record<string, { readonly arrivals: (scale: number) => readonly number[]; readonly changes: number }>> = {
  step: { arrivals: (scale) => spread(ticks(120).map((at) => (at < 60 ? scale : 4 * scale))), changes: 2 },
  ramp: { arrivals: (scale) => spread(ticks(180).map((at) => (scale * 4 * at) / 180)), changes: 2 },
  sine: { arrivals: (scale) => spread(ticks(360).map((at) => scale * 2 * (1 - Math.cos((2 * Math.PI * at) / 360)))), changes: 2 },
  spike: { arrivals: (scale) => ticks(60).map((at) => (at === 30 ? Math.ceil(50 * scale) : 0)), changes: 2 },
  sawtooth: { arrivals: (scale) => spread(ticks(240).map((at) => (scale * 4 * (at % 120)) / 120)), changes: 4 },
  'one-shot': { arrivals: () => [1], changes: 2 },
};

describe.each(Object.entries(LOADS))('a load like a %s', (_name, load) => {
  it.each([1, 300, 60_000])(
    'of jobs of %i ms turns the number of workers once for each change of the load, and stays within max (E1)',
    (jobMs) => {
      const scale = jobMs === 60_000 ? 0.05 : 1;
      for (const type of ['queueDelay', 'requestCount'] as const) {
        const policy = { min: 0, max: 8, idleMs: 30_000, type, value: 1, keep: 'none' } as const;
        const result = simulate({ arrivals: load.arrivals(scale), startMs: 500, jobMs, policy }, 3_600_000);
        expect([result.left, result.busyStops]).toEqual([0, 0]);
        expect(most(result)).toBeLessThanOrEqual(8);
        expect(turnsOf(result), type).toBeLessThanOrEqual(load.changes);
      }
    },
  );
});

describe('a steady load', () => {
  it('turns the number of workers at most once (E1)', () => {
    for (const type of ['queueDelay', 'requestCount'] as const)
      for (const extra of [0, 2]) {
        const policy = { min: 0, max: 8, idleMs: 5_000, type, value: 1, extra, keep: 'none' } as const;
        const load = Array.from({ length: 1_200 }, (_, tick) => Number(tick % 5 === 0));
        expect(turnsOf(simulate({ arrivals: load, startMs: 500, jobMs: 1_000, policy }, 0))).toBeLessThanOrEqual(1);
      }
  });

  it('has at least as many workers as it keeps busy, once they are up (E1)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 200, max: 4_000 }), (perSecond, jobMs) => {
        const load = spread(ticks(300).map(() => perSecond));
        const busy = Math.ceil((perSecond * jobMs) / 1_000);
        const policy = { min: 0, max: 40, idleMs: 5_000, type: 'requestCount', value: 1, keep: 'none' } as const;
        const { samples } = simulate({ arrivals: load, startMs: 500, jobMs, policy }, 0);
        const settled = samples.filter(({ at }) => at > 60_000);
        for (const { workers } of settled) expect(workers).toBeGreaterThanOrEqual(busy);
      }),
      { numRuns: 50 },
    );
  });

  it('of requests at random is served without a worker above max or stopped at work, ten thousand times (E1)', () => {
    // Exponential gaps between requests: a Poisson stream.
    const gaps = fc.array(fc.double({ min: 1e-6, max: 1, noNaN: true }), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(gaps, policies, times.startMs, times.jobMs, (draws, policy, startMs, runMs) => {
        let at = 0;
        const requests = draws.map((draw) => {
          at += Math.round(-Math.log(draw) * 500);
          return { at, runMs };
        });
        const result = simulateScale({ requests, policy, startMs, silenceMs: 1_000, ...TIMES });
        expect(most(result)).toBeLessThanOrEqual(policy.max);
        expect(result.busyStops).toBe(0);
      }),
      { numRuns: 10_000 },
    );
  });
});
