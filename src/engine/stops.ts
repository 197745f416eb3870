import type { Ending } from '../base/ending.js';
import type { JobFacts } from '../domain/job.js';
import { type Core, HOLD_MS, PING_INTERVAL_MS } from './core.js';
import { findDue, type Stop } from './stop-list.js';

/** Grace of a worker that cannot be told to stop a job: then its processes are killed. */
const DEAF_GRACE_MS = 2_000;
/** Grace of one that can: the next ping, at most an interval away, shows whether it let go. */
const TOLD_GRACE_MS = PING_INTERVAL_MS + 5_000;
/** A worker that asked for stops so recently will ask again. */
const LISTENING_MS = 5_000;
/** A stop before the job's first step leaves the job with the SDK for ever (worker-protocol §5). */
const SETTLE_MS = 1_000;

/**
 * Makes a worker let go of a job that was ended. One that listens on job-stop is told and has time to show that it obeyed,
 * by asking for work or by a ping without the job; one that does not listen, or does not obey, is stopped.
 */
export function stopWork(core: Core, job: JobFacts, reason: string): void {
  const { workerId, id, claimedAt } = job;
  if (workerId === null) return;
  const now = core.clock.now();
  const settledAt = (claimedAt ?? 0) + SETTLE_MS;
  const isHeard = isListening(core, workerId);
  // A worker that got the job a moment ago may be about to listen.
  if (!isHeard && settledAt <= now) {
    endWorker(core, workerId, reason);
    return;
  }
  const open = core.stops.open.get(workerId) ?? new Map<string, Stop>();
  if (open.has(id)) return;
  const judge = () => {
    open.delete(id);
    if (core.life.isStopped) return;
    if (!isHeard && isListening(core, workerId)) return stopWork(core, job, reason);
    forgetWorker(core, workerId);
    endWorker(core, workerId, `${reason} and it did not stop it`);
  };
  const timer = setTimeout(judge, isHeard ? TOLD_GRACE_MS : settledAt - now);
  core.stops.open.set(workerId, open.set(id, { dueAt: Math.max(now, settledAt), isTold: false, timer }));
  core.stopPolls.notify(workerId, true);
}

function isListening(core: Core, workerId: string): boolean {
  return core.stopPolls.isAwaited(workerId) || core.clock.now() - (core.stops.heardAt.get(workerId) ?? 0) < LISTENING_MS;
}

function endWorker(core: Core, workerId: string, reason: string): void {
  const drained = core.fleet.drain(workerId, { reason, graceMs: DEAF_GRACE_MS });
  drained.catch((cause: unknown) => core.log.error({ err: cause, workerId }, 'a worker could not be stopped'));
}

/**
 * The worker shows what it holds: stops of other jobs are done. `none` is a worker that asks for work with nothing in its
 * hands; a list of ids (a ping) may be older than a stop that was not told yet, and proves nothing for that one.
 */
export function confirmStops(core: Core, workerId: string, heldIds: readonly string[] | 'none'): void {
  const open = core.stops.open.get(workerId);
  if (!open) return;
  for (const [jobId, { isTold, timer }] of open) {
    if (heldIds !== 'none' && (!isTold || heldIds.includes(jobId))) continue;
    clearTimeout(timer);
    open.delete(jobId);
  }
  if (open.size === 0) core.stops.open.delete(workerId);
}

/** The worker is gone: nothing is left to stop. */
export function forgetWorker(core: Core, workerId: string): void {
  for (const { timer } of core.stops.open.get(workerId)?.values() ?? []) clearTimeout(timer);
  core.stops.open.delete(workerId);
  core.stops.heardAt.delete(workerId);
}

/** Which jobs the worker should stop; held up to 25 s. Empty at once for a worker that drains. */
export async function takeStops(core: Core, workerId: string, signal: Ending): Promise<readonly string[]> {
  const end = core.clock.now() + HOLD_MS;
  while (core.clock.now() < end && !signal.aborted) {
    const worker = await core.store.getWorker(workerId);
    if (!worker || worker.state === 'DRAINING' || worker.state === 'STOPPED') return [];
    const now = core.clock.now();
    core.stops.heardAt.set(workerId, now);
    const { due, nextAt } = findDue(core.stops.open.get(workerId), { now, intervalMs: PING_INTERVAL_MS });
    if (due.length > 0) return due;
    await core.stopPolls.wait(workerId, Math.min(end, nextAt) - now, signal);
  }
  if (!signal.aborted) core.stops.heardAt.set(workerId, core.clock.now());
  return [];
}
