import fc from 'fast-check';
import { JOB_PRIORITIES, type JobState } from '../../src/domain/job.js';

/** Places for workers. */
export const WORKERS = 4;

const pick = fc.noBias(fc.nat({ max: 1_000 }));
const workerAt = fc.nat({ max: WORKERS - 1 });
const state = fc.constantFrom('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT');
/** The server itself completes nothing: that is a worker's word. */
const endState = fc.constantFrom('FAILED', 'CANCELLED', 'TIMED_OUT');
/** Whole seconds, few of them: moments must often be equal, not only before or after. */
const secondsMs = (max: number) => fc.nat({ max }).map((seconds) => seconds * 1_000);
const keepMs = secondsMs(20);
const leaseMs = secondsMs(12);
/** The lease a request shows: that of a running job, the last one of any job, or any worker's, which mostly is a past or foreign one. */
const by = fc.oneof(fc.constantFrom('holder', 'last'), workerAt);
const from = fc.subarray<JobState>(['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED', 'FAILED']);

const priority = fc.constantFrom(...JOB_PRIORITIES);
/** Few keys, so that they meet. */
const key = fc.option(fc.constantFrom('k1', 'k2', 'k3'), { freq: 3 });

/** The release a job is pinned to: the one that serves, or the newest. */
const pin = fc.option(fc.constantFrom('active', 'newest'), { freq: 4 });

/** Generated operations; `job` picks one of the known jobs, `worker` the place of a worker. */
const operation = fc.oneof(
  { weight: 9, arbitrary: fc.record({ verb: fc.constant('enqueue'), priority, key, pin, ttlMs: keepMs, timeoutMs: keepMs }) },
  { weight: 6, arbitrary: fc.record({ verb: fc.constant('claim'), worker: workerAt, limit: fc.integer({ min: 1, max: 3 }), leaseMs }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant('claimTogether'), limit: fc.integer({ min: 1, max: 2 }), leaseMs }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant('extend'), worker: workerAt, jobs: fc.array(pick, { maxLength: 2 }), leaseMs }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('progress'), job: pick, by, value: fc.nat() }) },
  { weight: 6, arbitrary: fc.record({ verb: fc.constant('settle'), job: pick, by, state, keepMs, nextLeaseMs: fc.option(leaseMs) }) },
  { weight: 4, arbitrary: fc.record({ verb: fc.constant('end'), job: pick, state: endState, from, keepMs }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant('race'), job: pick, isCancelFirst: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant('chunks'), job: pick, by, count: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant('readChunks'), job: pick }) },
  { weight: 4, arbitrary: fc.record({ verb: fc.constant('requeue'), job: pick, by, cause: fc.constantFrom('lost', 'withdrawn') }) },
  { weight: 3, arbitrary: fc.record({ verb: fc.constant('retry'), job: pick }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('shorten'), job: pick, keepMs }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('purge'), keepMs }) },
  { weight: 3, arbitrary: fc.record({ verb: fc.constant('expire') }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('sweep') }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('drain'), worker: workerAt }) },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('reopen') }) },
  // The next step of a rollout: begins a canary when none is open.
  {
    weight: 3,
    arbitrary: fc.record({
      verb: fc.constant('roll'),
      share: fc.constantFrom(1, 30, 50, 99),
      step: fc.constantFrom('share', 'DONE', 'REVERTED'),
    }),
  },
);
export type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;
/** Operations in a row, with the time that passes before each. */
export const steps = fc.array(fc.record({ passedMs: secondsMs(2), operation }), { minLength: 1, maxLength: 40, size: 'max' });
