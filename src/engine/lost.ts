import type { JobFacts } from '../domain/job.js';
import type { Worker } from '../domain/worker.js';
import { ATTEMPTS, type Core, PING_INTERVAL_MS } from './core.js';
import { endJob } from './jobs.js';
import { stopWork } from './stops.js';

/** An unconfirmed job is given so long before a ping without it counts: two pings and slack (worker-protocol §4.6). */
const UNSEEN_MS = 2 * PING_INTERVAL_MS + 3_000;

/** Jobs the worker has, as the store knows. */
export async function heldJobs({ store }: Core, worker: Worker): Promise<readonly JobFacts[]> {
  if (worker.state !== 'RUNNING' && worker.state !== 'DRAINING') return [];
  return store.listJobs({ endpointId: worker.endpointId, workerId: worker.id, states: ['IN_PROGRESS'], limit: 1_000 });
}

/**
 * A worker that asks for work while it holds a job has lost that job's result (decision 15). A confirmed job fails: it ran.
 * One that was never seen at the worker goes back to the queue once; the worker, which may not have it twice, is replaced. False when
 * nothing was lost.
 */
export async function resolveLost(core: Core, worker: Worker): Promise<boolean> {
  const held = await heldJobs(core, worker);
  for (const job of held) await loseJob(core, job);
  return held.length > 0;
}

/**
 * Pings name the jobs a worker holds. One that is missing twice in a row was lost there: it ended without a result, or its
 * delivery never arrived.
 */
export async function comparePing(core: Core, worker: Worker, named: readonly string[]): Promise<void> {
  const now = core.clock.now();
  for (const job of await heldJobs(core, worker)) {
    if (named.includes(job.id)) core.missedPings.delete(job.id);
    else if (!job.isConfirmed) {
      if (now - (job.claimedAt ?? now) > UNSEEN_MS) await loseJob(core, job);
    } else {
      const missedAt = core.missedPings.get(job.id);
      if (missedAt === undefined) core.missedPings.set(job.id, now);
      // A ping may have been on its way when the job was handed out or reported; the next interval decides.
      else if (now - missedAt >= PING_INTERVAL_MS / 2) await loseJob(core, job);
    }
  }
}

async function loseJob(core: Core, job: JobFacts): Promise<void> {
  core.missedPings.delete(job.id);
  if (job.workerId === null) return;
  if (job.isConfirmed || job.attempt >= 2) {
    await endJob(
      core,
      job,
      { state: 'FAILED', error: 'the worker asked for new work or pinged without the job, and posted no result (RESULT_LOST)' },
      ['IN_PROGRESS'],
    );
    return;
  }
  const requeued = await core.store.requeue({ jobId: job.id, workerId: job.workerId }, 'lost', core.clock.now());
  if (requeued) stopWork(core, job, 'it lost a job before it was seen there');
  core.polls.wake(job.endpointId);
  core.wake(job.endpointId);
}

/** Why a job's worker is gone, and whether the job may be to blame. */
export interface Loss {
  readonly why: string;
  /** The server ended the worker for another reason: the try does not count. */
  readonly isOwnDoing: boolean;
  /** Last lines of the worker, for the job's error. */
  readonly evidence: string;
}

/** Gives a job of a worker that is gone to another one; one that ended several workers is set aside (JOB_QUARANTINED). */
export async function giveBack(core: Core, job: JobFacts, { why, isOwnDoing, evidence }: Loss): Promise<boolean> {
  if (job.workerId === null) return false;
  core.missedPings.delete(job.id);
  if (job.attempt >= ATTEMPTS && !isOwnDoing) {
    const error = `the worker ${why}; the job was tried ${job.attempt} times and is set aside (JOB_QUARANTINED)${evidence}`;
    return (await endJob(core, job, { state: 'FAILED', error }, ['IN_PROGRESS'])) !== undefined;
  }
  const cause = isOwnDoing ? 'withdrawn' : 'lost';
  const requeued = await core.store.requeue({ jobId: job.id, workerId: job.workerId }, cause, core.clock.now());
  if (!requeued) return false;
  core.occupations.end(job.workerId, job.id, core.clock.now());
  core.streamWaiters.notify(job.id, true);
  core.polls.wake(job.endpointId);
  core.wake(job.endpointId);
  return false;
}
