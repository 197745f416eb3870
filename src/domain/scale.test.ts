import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from './endpoint.js';
import { decideRest, decideScale, type IdleView, type ScaleSample } from './scale.js';

const POLICY = DEFAULT_SETTINGS.scale;
const NOW = 1_000_000;
const NOBODY = { starting: 0, ready: 0, busy: 0, workedAt: null, stopping: 0 };
const QUIET: ScaleSample = { ...NOBODY, queued: 0, inProgress: 0, oldestQueuedAt: null, requestedAt: 0 };

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

describe('decideScale with extra workers', () => {
  const extra = { ...POLICY, extra: 2, max: 5 };
  const working: ScaleSample = { ...QUIET, ready: 1, busy: 1, inProgress: 1 };

  it('holds so many ready beside those at work, started with the first (row 79)', () => {
    expect(decideScale({ ...QUIET, queued: 1, oldestQueuedAt: NOW }, extra, NOW)).toMatchObject({ needed: 1, wanted: 3, start: 3 });
    expect(decideScale(working, extra, NOW)).toMatchObject({ needed: 1, wanted: 3, start: 2, floor: 3, rule: 'extra' });
    expect(decideScale({ ...working, ready: 3 }, extra, NOW)).toMatchObject({ start: 0, floor: 3 });
  });

  it('wants them on top of what the requests ask for, within max', () => {
    const policy = { ...extra, type: 'requestCount', value: 2 } as const;
    expect(decideScale({ ...QUIET, queued: 4, oldestQueuedAt: NOW }, policy, NOW)).toMatchObject({ needed: 2, wanted: 4 });
    expect(decideScale({ ...QUIET, queued: 8, oldestQueuedAt: NOW }, policy, NOW)).toMatchObject({ needed: 4, wanted: 5 });
  });

  it('holds them for the idle time after the last job, then none, so that the endpoint goes to zero', () => {
    const idle = { ...QUIET, ready: 3 };
    expect(decideScale({ ...idle, workedAt: NOW - 4_999 }, extra, NOW).floor).toBe(2);
    expect(decideScale({ ...idle, workedAt: NOW - 5_000 }, extra, NOW)).toMatchObject({ start: 0, floor: 0 });
    expect(decideScale({ ...QUIET, ready: 1 }, extra, NOW)).toMatchObject({ start: 0, floor: 0 });
  });
});

describe('decideScale without requests for long (row 81)', () => {
  const HOUR = 3_600_000;
  const rests = { ...POLICY, min: 2, restAfterMs: 72 * HOUR };
  const now = 100 * HOUR;
  const quiet = { ...QUIET, ready: 2, requestedAt: now - 72 * HOUR };

  it('counts min as 0 and says so, not a millisecond before', () => {
    const reason = 'min of 2 counts as 0: no request for 72 h';
    expect(decideScale(quiet, rests, now)).toMatchObject({ floor: 0, start: 0, rule: 'rest', reason });
    expect(decideScale({ ...quiet, ready: 0 }, rests, now)).toMatchObject({ wanted: 0, start: 0, rule: 'rest', reason });
    expect(decideScale({ ...quiet, ready: 0, requestedAt: quiet.requestedAt + 1 }, rests, now)).toMatchObject({ start: 2, rule: 'min' });
    expect(decideScale(quiet, rests, now - 1)).toMatchObject({ floor: 2, rule: 'quiet' });
  });

  it('counts it again with the next request, and while a job waits or runs', () => {
    expect(decideScale({ ...quiet, ready: 0, requestedAt: now }, rests, now)).toMatchObject({ start: 2, rule: 'min' });
    expect(decideScale({ ...quiet, ready: 0, queued: 1, oldestQueuedAt: now }, rests, now)).toMatchObject({ start: 2, rule: 'min' });
    expect(decideScale({ ...quiet, busy: 1, inProgress: 1 }, rests, now)).toMatchObject({ floor: 2 });
  });

  it('holds no extra workers ready either', () => {
    const extra = { ...rests, min: 0, extra: 1, idleMs: 80 * HOUR };
    const worked = { ...quiet, workedAt: now - 70 * HOUR };
    expect(decideScale(worked, extra, now)).toMatchObject({ floor: 0, reason: 'extra of 1 counts as 0: no request for 72 h' });
    expect(decideScale({ ...worked, requestedAt: now - 71 * HOUR }, extra, now).floor).toBe(1);
  });

  it('is never so without the setting, and says nothing where nothing is held', () => {
    for (const restAfterMs of [undefined, 0]) {
      const never = { ...POLICY, min: 2, ...(restAfterMs !== undefined && { restAfterMs }) };
      expect(decideScale({ ...quiet, ready: 0 }, never, now)).toMatchObject({ start: 2, rule: 'min' });
    }
    expect(decideScale(quiet, { ...rests, min: 0 }, now).rule).toBe('quiet');
  });
});

const samples = fc.record({
  queued: fc.nat(1000),
  inProgress: fc.nat(100),
  oldestQueuedAt: fc.option(fc.nat(NOW)),
  starting: fc.nat(5),
  ready: fc.nat(20),
  busy: fc.nat(20),
  workedAt: fc.option(fc.nat(NOW)),
  stopping: fc.nat(5),
  requestedAt: fc.nat(NOW),
});
const policies = fc
  .record({
    min: fc.nat(5),
    extra: fc.nat(20),
    idleMs: fc.nat(10_000),
    restAfterMs: fc.nat(NOW),
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
    fc.assert(
      fc.property(fleets, policies, (views, policy) => {
        const { stop, freeze } = decideRest(views, policy, NOW);
        const chosen = [...stop, ...freeze];
        expect(new Set(chosen).size).toBe(chosen.length);
        const isBusy = ({ isStarting, idleSince, frozenAt }: IdleView) => !isStarting && idleSince === null && frozenAt === null;
        expect(views.filter((view) => chosen.includes(view.id) && isBusy(view))).toEqual([]);
        expect(views.filter(({ id, rest }) => freeze.includes(id) && rest !== 'freeze')).toEqual([]);
        expect(views.length - stop.length).toBeGreaterThanOrEqual(Math.min(views.length, policy.max) - views.filter(isStopped).length);
        const awake = views.filter(({ frozenAt }) => frozenAt === null);
        const left = awake.filter(({ id }) => !chosen.includes(id)).length;
        const surplus = Math.max(0, views.length - policy.max);
        expect(left).toBeGreaterThanOrEqual(Math.min(awake.length - surplus, policy.min));
      }),
    );
  });

  it('leaves at most max workers, frozen ones counted, unless they are busy (row 71)', () => {
    fc.assert(
      fc.property(fleets, policies, (views, policy) => {
        const { stop } = decideRest(views, policy, NOW);
        const left = views.filter(({ id }) => !stop.includes(id));
        const idle = left.filter(({ isStarting, idleSince, frozenAt }) => isStarting || idleSince !== null || frozenAt !== null);
        if (left.length > policy.max) expect(idle).toEqual([]);
      }),
    );
  });
});

const isStopped = ({ rest, idleSince, frozenAt }: IdleView) => rest === 'stop' && (idleSince !== null || frozenAt !== null);
const kinds = fc.constantFrom('busy', 'starting', 'idle', 'frozen');
/** Workers in any state, each with what may become of it. */
const fleets = fc
  .array(fc.record({ kind: kinds, at: fc.nat(NOW), rest: fc.constantFrom('freeze', 'stop', 'wait') }), { maxLength: 30 })
  .map((list) => list.map(({ kind, at, rest }, index) => viewOf(String(index), kind, { at, rest: rest as IdleView['rest'] })));

function viewOf(id: string, kind: string, { at = 1, rest = 'stop' }: { at?: number; rest?: IdleView['rest'] } = {}): IdleView {
  return { id, isStarting: kind === 'starting', idleSince: kind === 'idle' ? at : null, frozenAt: kind === 'frozen' ? at : null, rest };
}

describe('decideRest', () => {
  const policy = { ...POLICY, idleMs: 1 };
  const rest = 'freeze' as const;

  it('stops the longest idle first', () => {
    const views = [3, 1, 2].map((at) => viewOf(`w${at}`, 'idle', { at }));
    expect(decideRest(views, { ...policy, min: 1 }, 100)).toEqual({ stop: ['w1', 'w2'], freeze: [] });
  });

  it('freezes what was idle long enough, and leaves min workers awake (row 74)', () => {
    const views = [viewOf('old', 'frozen', { rest }), ...[3, 1, 2].map((at) => viewOf(`w${at}`, 'idle', { at, rest }))];
    expect(decideRest(views, { ...policy, max: 9, min: 1 }, 100)).toEqual({ stop: [], freeze: ['w1', 'w2'] });
    expect(decideRest(views, { ...policy, max: 9, min: 3 }, 100)).toEqual({ stop: [], freeze: [] });
  });

  it('above max stops the starting first, then the longest frozen, then the longest idle, and no busy one (E5)', () => {
    const views = [
      viewOf('busy', 'busy'),
      viewOf('idle', 'idle', { at: 99, rest }),
      viewOf('warm', 'frozen', { at: 9, rest }),
      viewOf('cold', 'frozen', { at: 8, rest }),
      viewOf('starting', 'starting'),
    ];
    const stops = [4, 3, 2, 1, 0].map((max) => decideRest(views, { ...policy, idleMs: 50, max }, 100).stop);
    expect(stops[0]).toEqual(['starting']);
    expect(stops[1]).toEqual(['starting', 'cold']);
    expect(stops[2]).toEqual(['starting', 'cold', 'warm']);
    expect(stops[3]).toEqual(['starting', 'cold', 'warm', 'idle']);
    expect(stops[4]).toEqual(stops[3]);
  });

  it('stops frozen ones when their endpoint keeps none any more, and leaves those alone whose time has not come', () => {
    expect(decideRest([viewOf('w1', 'frozen'), viewOf('w2', 'idle', { rest: 'wait' })], policy, 100)).toEqual({ stop: ['w1'], freeze: [] });
  });
});
