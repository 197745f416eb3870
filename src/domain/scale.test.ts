import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from './endpoint.js';
import { decideScale, decideStops, type ScaleSample } from './scale.js';

const POLICY = DEFAULT_SETTINGS.scale;
const QUIET: ScaleSample = { queued: 0, inProgress: 0, oldestQueuedAt: null, starting: 0, ready: 0, stopping: 0 };
const NOW = 1_000_000;

describe('decideScale by queue delay', () => {
  it('starts one worker at once for the first job (row 68)', () => {
    expect(decideScale({ ...QUIET, queued: 1, oldestQueuedAt: NOW }, POLICY, NOW).start).toBe(1);
  });

  it('adds one when the oldest job waited longer than the value, not before (row 72)', () => {
    const waiting = (waitedMs: number) => decideScale({ ...QUIET, queued: 1, oldestQueuedAt: NOW - waitedMs, ready: 1 }, POLICY, NOW);
    expect(waiting(4_000).start).toBe(0);
    expect(waiting(4_001).start).toBe(1);
  });

  it('counts a starting worker as capacity: no start storm', () => {
    expect(decideScale({ ...QUIET, queued: 100, oldestQueuedAt: NOW - 60_000, starting: 1 }, POLICY, NOW).start).toBe(0);
  });

  it('keeps min workers without a job (row 70)', () => {
    expect(decideScale(QUIET, { ...POLICY, min: 2 }, NOW)).toMatchObject({ wanted: 2, start: 2 });
  });

  it('never starts anything at max 0', () => {
    expect(decideScale({ ...QUIET, queued: 5, oldestQueuedAt: 0 }, { ...POLICY, max: 0 }, NOW).start).toBe(0);
  });
});

describe('decideScale by requests', () => {
  it('wants the queued and running jobs divided by the value, rounded up (row 73)', () => {
    const policy = { ...POLICY, type: 'requestCount', value: 4, max: 10 } as const;
    expect(decideScale({ ...QUIET, queued: 5, inProgress: 4, oldestQueuedAt: NOW }, policy, NOW).wanted).toBe(3);
  });
});

const samples = fc.record({
  queued: fc.nat(1000),
  inProgress: fc.nat(100),
  oldestQueuedAt: fc.option(fc.nat(NOW)),
  starting: fc.nat(5),
  ready: fc.nat(20),
  stopping: fc.nat(5),
});
const policies = fc
  .record({
    min: fc.nat(5),
    extra: fc.nat(20),
    idleMs: fc.nat(10_000),
    type: fc.constantFrom('queueDelay', 'requestCount'),
    value: fc.integer({ min: 1, max: 50 }),
  })
  .map(({ extra, type, ...rest }) => ({ ...rest, type: type as 'queueDelay' | 'requestCount', max: rest.min + extra }));

describe('laws', () => {
  it('never starts above max, whatever still stops (row 71)', () => {
    fc.assert(
      fc.property(samples, policies, (sample, policy) => {
        const { start } = decideScale(sample, policy, NOW);
        expect(start).toBeGreaterThanOrEqual(0);
        if (start > 0) expect(sample.starting + sample.ready + sample.stopping + start).toBeLessThanOrEqual(policy.max);
      }),
    );
  });

  it('stops nobody with a job, and never below min unless above max (row 74)', () => {
    const workers = fc.array(fc.record({ idleSince: fc.option(fc.nat(NOW)), isStarting: fc.boolean() }), { maxLength: 30 });
    fc.assert(
      fc.property(workers, policies, (list, policy) => {
        const views = list.map((worker, index) => ({ ...worker, id: String(index) }));
        const stopped = decideStops(views, policy, NOW);
        expect(new Set(stopped).size).toBe(stopped.length);
        for (const id of stopped)
          expect(views[Number(id)]).toSatisfy((view: (typeof views)[number]) => view.isStarting || view.idleSince !== null);
        expect(views.length - stopped.length).toBeGreaterThanOrEqual(Math.min(views.length, policy.min));
      }),
    );
  });

  it('stops the longest idle first', () => {
    const views = [3, 1, 2].map((idleSince) => ({ id: `w${idleSince}`, idleSince, isStarting: false }));
    expect(decideStops(views, { ...POLICY, min: 1, idleMs: 1 }, 100)).toEqual(['w1', 'w2']);
  });
});
