import { timingSafeEqual } from 'node:crypto';
import type { Ending } from '../base/ending.js';
import { hashSecret } from '../base/ids.js';
import type { Job } from '../domain/job.js';
import type { Worker } from '../domain/worker.js';
import { reportTake } from './cold.js';
import { type Core, HOLD_MS, LEASE_MS } from './core.js';
import type { TakenJob, TakeOptions } from './engine.js';
import { requireWorker } from './fleet.js';
import { heldJobs, resolveLost } from './lost.js';
import { confirmStops } from './stops.js';

/** That worker, if the token is its own; compared in constant time. Which endpoint it may speak for is the caller's to check. */
export async function authenticateWorker({ store }: Core, token: string, workerId: string): Promise<Worker | undefined> {
  const worker = await store.getWorker(workerId);
  if (!worker) return undefined;
  return timingSafeEqual(Buffer.from(worker.tokenHash, 'hex'), Buffer.from(hashSecret(token), 'hex')) ? worker : undefined;
}

/** Jobs for a worker that asks; held until there is one or the hold is over. Empty at once for a worker that drains. */
export async function take(core: Core, workerId: string, options: TakeOptions): Promise<readonly TakenJob[]> {
  const end = core.clock.now() + HOLD_MS;
  const waking = core.freezer.waking(workerId);
  if (waking) await waking;
  let worker = await core.fleet.markReady(workerId);
  if (options.isBusy) await confirmHeld(core, worker, end + LEASE_MS);
  else {
    confirmStops(core, workerId, 'none');
    if (await resolveLost(core, worker)) worker = await requireWorker(core, workerId);
  }
  if (worker.state !== 'FROZEN') worker = core.freezer.hear(worker);
  let isAnnounced = false;
  for (let tried: ReadonlySet<string> = new Set(); ; ) {
    const { endpointId } = worker;
    // It was sent before. Held, so that the worker does not ask again and again until it stands still; without a job, for after the thaw its
    // client may have given it up (worker-protocol §4.6).
    if (worker.state === 'FROZEN') {
      if (tried.size > 0) await passOn(core, worker, tried);
      options.onHold?.();
      await core.polls.begin({ endpointId: null, workerId, timeoutMs: end - core.clock.now(), signal: options.signal }).woken;
      return [];
    }
    const poll = core.polls.begin({ endpointId, workerId, timeoutMs: end - core.clock.now(), signal: options.signal });
    const jobs = canTake(worker) ? await claim(core, worker, { isAnnounced, ...options }) : undefined;
    if (!jobs || jobs.length > 0 || options.signal.aborted) {
      poll.cancel();
      const passedOn = (await poll.woken) ?? (jobs && jobs.length > 0 ? undefined : tried);
      if (passedOn) core.polls.wake(endpointId, passedOn);
      return jobs ?? [];
    }
    // Nobody who waits can have it: one may have to be started.
    if (tried.size > 0 && !core.polls.wake(endpointId, tried) && core.split.has(endpointId)) core.wake(endpointId);
    options.onHold?.();
    const woken = await poll.woken;
    if (!woken) return [];
    tried = new Set([...woken, workerId]);
    isAnnounced = true;
    worker = await requireWorker(core, workerId);
  }
}

/** The poll was woken for a job in the moment in which its worker was frozen: somebody else has to take it. */
async function passOn(core: Core, { id, endpointId }: Worker, tried: ReadonlySet<string>): Promise<void> {
  // Behind the commit of the job, which may still be under way.
  await core.store.changeWorker({ id });
  if (!core.polls.wake(endpointId, tried)) core.wake(endpointId);
}

/** Busy means that what it was given arrived. */
async function confirmHeld(core: Core, worker: Worker, leaseUntil: number): Promise<void> {
  const confirmed = (await heldJobs(core, worker)).map(({ id }) => id);
  await core.store.extend(worker.id, { confirmed, leaseUntil }, core.clock.now());
}

/** Candidates too: the store gives them only what is pinned to their release. */
export const canTake = ({ state }: Worker) => state === 'IDLE' || state === 'RUNNING';

async function claim(
  core: Core,
  worker: Worker,
  { limit, signal, isAnnounced }: TakeOptions & { readonly isAnnounced: boolean },
): Promise<readonly TakenJob[]> {
  const { id: workerId, endpointId, release } = worker;
  const now = core.clock.now();
  const jobs = await core.store.claim({ endpointId, workerId, release, limit, leaseUntil: now + LEASE_MS, now, isAnnounced });
  return handOut(core, worker, jobs, signal);
}

/** What the worker gets of jobs that it claimed; none when its connection is gone: they go back, and their claim does not count. */
export async function handOut(core: Core, worker: Worker, jobs: readonly Job[], signal: Ending): Promise<readonly TakenJob[]> {
  const { id: workerId, endpointId } = worker;
  const now = core.clock.now();
  if (signal.aborted) {
    for (const { id: jobId } of jobs) await core.store.requeue({ jobId, workerId }, 'withdrawn', now);
    core.polls.wake(endpointId);
    return [];
  }
  for (const job of jobs) {
    core.occupations.begin(workerId, job.id, now);
    reportTake(core, worker, job);
  }
  return jobs.map((job) => ({ id: job.id, body: formatTaken(job) }));
}

/** The job object of worker-protocol §4.4; `input` and the extras are the submitter's own text. */
function formatTaken({ id, input, extras, executionTimeoutMs, batchId }: Job): string {
  const policy = executionTimeoutMs > 0 ? `,"policy":{"executionTimeout":${executionTimeoutMs}}` : '';
  const more = extras !== null && extras !== '{}' ? `,${extras.slice(1, -1)}` : '';
  const batch = batchId === null ? '' : `,"batchId":${JSON.stringify(batchId)}`;
  return `{"id":${JSON.stringify(id)},"input":${input}${policy}${batch}${more}}`;
}
