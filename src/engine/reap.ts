import type { JobFacts } from '../domain/job.js';
import type { Core } from './core.js';
import { sweepDeliveries } from './deliveries.js';
import { createExpiry } from './expire.js';
import { endJob } from './jobs.js';
import { giveBack } from './lost.js';
import { stopWork } from './stops.js';

const TICK_MS = 500;
/** Jobs looked at together: others have their turn in between. */
const PAGE = 100;
/** Terminal jobs, and logs of workers that are forgotten, are removed so often. */
const SWEEP_MS = 60_000;

export interface Reaper {
  start(): void;
  /** No further looks; removals that were begun go on. */
  stop(): Promise<void>;
  /** Resolves when these have ended. */
  settle(): Promise<void>;
}

/** Ends what is overdue: execution time-outs, ttl, leases of workers that were not heard of, endpoints; `remove` is for the last. */
export function createReaper(core: () => Core, remove: (endpointId: string) => Promise<void>): Reaper {
  const expiry = createExpiry(core, remove);
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  /** On its own: a long one keeps no job running past its time. */
  let sweeping: Promise<void> | undefined;
  let sweptAt = 0;
  const tick = () => {
    running ??= attempt('overdue jobs could not be ended', () => reap(core()))
      .then(() => attempt('low-priority jobs could not be promoted', () => promoteStarved(core())))
      .then(() => attempt('endpoints that expired could not be looked for', () => expiry.look()))
      .finally(() => {
        running = undefined;
      });
    sweeping ??= attempt('what is old could not be swept', sweep).finally(() => {
      sweeping = undefined;
    });
  };
  // One that fails does not keep the others from their turn.
  const attempt = (failure: string, work: () => Promise<void>) =>
    work().catch((cause: unknown) => core().log.error({ err: cause }, failure));
  const sweep = async () => {
    const now = core().clock.now();
    if (now - sweptAt < SWEEP_MS) return;
    sweptAt = now;
    while ((await core().store.sweep(now, PAGE)).isMore && !core().life.isStopped);
    for (const { id } of await core().store.listEndpoints()) {
      const known = await core().store.listWorkers(id, true);
      await sweepDeliveries(core(), id);
      await core().decisions.sweep(id);
      await core().logs.removeWorkersExcept(id, new Set(known.map((worker) => worker.id)));
    }
    const { sweepFiles, births } = core();
    await sweepFiles?.((id) => births.get(id) !== undefined);
  };
  return {
    start: () => {
      timer = setInterval(tick, TICK_MS);
    },
    stop: async () => {
      clearInterval(timer);
      await Promise.all([running, sweeping]);
    },
    settle: () => expiry.settle(),
  };
}

/** Low-priority jobs run after all others, but not later than their endpoint allows (decision 19). */
async function promoteStarved(core: Core): Promise<void> {
  for (const { id, settings } of await core.store.listEndpoints()) {
    const { lowPriorityWaitMs = 0 } = settings.limits;
    if (lowPriorityWaitMs > 0 && (await core.store.promote(id, core.clock.now() - lowPriorityWaitMs)) > 0) core.wake(id);
  }
}

/** One page at a time; the next one at once, unless this one could not be worked off. */
async function reap(core: Core): Promise<void> {
  for (let isMore = true; isMore && !core.life.isStopped; ) {
    const now = core.clock.now();
    const page = await core.store.listOverdue(now, PAGE);
    let failures = 0;
    for (const job of page) {
      await reapOne(core, job, now).catch((cause: unknown) => {
        failures++;
        core.log.error({ err: cause, jobId: job.id }, 'an overdue job could not be ended');
      });
    }
    isMore = page.length === PAGE && failures === 0;
  }
}

async function reapOne(core: Core, job: JobFacts, now: number): Promise<void> {
  if (job.expiresAt < now) await timeOut(core, job, 'its ttl passed before it was done');
  else if (job.executionTimeoutMs > 0 && (job.claimedAt ?? now) + job.executionTimeoutMs < now)
    await timeOut(core, job, `it ran longer than its execution time-out of ${job.executionTimeoutMs} ms`, await stateAtTimeOut(core, job));
  else await expireLease(core, job);
}

/** The endpoint may say that its clients know no TIMED_OUT (job-api §14.1). */
async function stateAtTimeOut({ store }: Core, { endpointId }: JobFacts): Promise<'TIMED_OUT' | 'FAILED'> {
  return (await store.getEndpoint(endpointId))?.settings.limits.timeoutState ?? 'TIMED_OUT';
}

async function timeOut(core: Core, job: JobFacts, why: string, state: 'TIMED_OUT' | 'FAILED' = 'TIMED_OUT'): Promise<void> {
  const ended = await endJob(core, job, { state, error: `the job timed out: ${why}` }, [job.state]);
  if (ended && job.state === 'IN_PROGRESS') stopWork(core, ended, 'its job timed out');
}

/** The worker is killed first, so that the job never runs twice at once; then the job goes back. */
async function expireLease(core: Core, job: JobFacts): Promise<void> {
  if (job.workerId === null) return;
  const reason = 'it was not heard of while it had a job';
  await core.store.changeWorker({ id: job.workerId, state: 'UNHEALTHY', reason });
  await core.fleet.drain(job.workerId, { reason, graceMs: 0 });
  await giveBack(core, job, { why: 'was not heard of any more', isOwnDoing: false, evidence: '' });
}
