import { timingSafeEqual } from 'node:crypto';
import { WherryError } from '../base/errors.js';
import { hashSecret } from '../base/ids.js';
import type { Job, JobFacts } from '../domain/job.js';
import type { Worker } from '../domain/worker.js';
import { ATTEMPTS, type Core, HOLD_MS, LEASE_MS } from './core.js';
import type { TakenJob } from './engine.js';
import { endJob, stopWork } from './jobs.js';

/** The worker whose token this is, if it is that worker of that endpoint; compared in constant time. */
export async function authenticateWorker(
  { store }: Core,
  token: string,
  { endpointId, workerId }: { endpointId: string; workerId: string },
) {
  const worker = await store.getWorker(workerId);
  if (!worker || worker.endpointId !== endpointId) return undefined;
  return timingSafeEqual(Buffer.from(worker.tokenHash, 'hex'), Buffer.from(hashSecret(token), 'hex')) ? worker : undefined;
}

export interface TakeOptions {
  readonly limit: number;
  /** The worker says it holds a job already. */
  readonly isBusy: boolean;
  /** Aborts when the worker's connection closes. */
  readonly signal: AbortSignal;
}

/** Jobs for a worker that asks; held until there is one or the hold is over. Empty at once for a worker that drains. */
export async function take(core: Core, workerId: string, options: TakeOptions): Promise<readonly TakenJob[]> {
  const end = core.clock.now() + HOLD_MS;
  await core.fleet.markReady(workerId);
  let worker = await requireWorker(core, workerId);
  if (options.isBusy)
    await core.store.extend(workerId, { confirmed: await heldIds(core, worker), leaseUntil: end + LEASE_MS }, core.clock.now());
  else await resolveLost(core, worker);
  let isAnnounced = false;
  for (let tried: ReadonlySet<string> = new Set(); ; ) {
    worker = await requireWorker(core, workerId);
    const { endpointId } = worker;
    const poll = core.polls.begin({ endpointId, workerId, timeoutMs: end - core.clock.now(), signal: options.signal });
    const jobs = canTake(worker) ? await claim(core, worker, { ...options, isAnnounced }) : undefined;
    if (!jobs || jobs.length > 0 || options.signal.aborted) {
      poll.cancel();
      const passedOn = (await poll.woken) ?? (jobs && jobs.length > 0 ? undefined : tried);
      if (passedOn) core.polls.wake(endpointId, passedOn);
      return jobs ?? [];
    }
    if (tried.size > 0) core.polls.wake(endpointId, tried);
    const woken = await poll.woken;
    if (!woken) return [];
    tried = new Set([...woken, workerId]);
    isAnnounced = true;
  }
}

const canTake = ({ state, isCandidate }: Worker) => !isCandidate && (state === 'IDLE' || state === 'RUNNING');

async function claim(
  core: Core,
  worker: Worker,
  { limit, signal, isAnnounced }: TakeOptions & { readonly isAnnounced: boolean },
): Promise<readonly TakenJob[]> {
  const { id: workerId, endpointId, release } = worker;
  const now = core.clock.now();
  const jobs = await core.store.claim({ endpointId, workerId, release, limit, leaseUntil: now + LEASE_MS, now, isAnnounced });
  if (signal.aborted) {
    for (const job of jobs) await core.store.unclaim(job.id, workerId, now);
    return [];
  }
  for (const job of jobs) core.occupations.begin(workerId, job.id, now);
  return jobs.map((job) => ({ id: job.id, body: formatTaken(job) }));
}

/** The job object of worker-protocol §4.4; `input` and the extras are the submitter's own text. */
function formatTaken({ id, input, extras, executionTimeoutMs }: Job): string {
  const policy = executionTimeoutMs > 0 ? `,"policy":{"executionTimeout":${executionTimeoutMs}}` : '';
  const more = extras !== null && extras !== '{}' ? `,${extras.slice(1, -1)}` : '';
  return `{"id":${JSON.stringify(id)},"input":${input}${policy}${more}}`;
}

/**
 * A worker that asks for work while it holds a job has lost that job's result (decision 15). A confirmed job fails: it ran.
 * One that was never seen at the worker goes back to the queue once; the worker, which may not have it twice, is replaced.
 */
async function resolveLost(core: Core, worker: Worker): Promise<void> {
  for (const job of await heldJobs(core, worker)) {
    if (job.isConfirmed || job.attempt >= 2) {
      await endJob(core, job, { state: 'FAILED', error: 'the worker asked for new work without posting a result (RESULT_LOST)' });
      continue;
    }
    const requeued = await core.store.requeue(job.id, worker.id, core.clock.now());
    if (requeued) stopWork(core, job, 'it lost a job before it was seen there');
    core.wake(worker.endpointId);
  }
}

async function heldJobs({ store }: Core, worker: Worker): Promise<readonly JobFacts[]> {
  if (worker.state !== 'RUNNING') return [];
  return store.listJobs({ endpointId: worker.endpointId, workerId: worker.id, states: ['IN_PROGRESS'], limit: 1_000 });
}

async function heldIds(core: Core, worker: Worker): Promise<string[]> {
  return (await heldJobs(core, worker)).map(({ id }) => id);
}

async function requireWorker({ store }: Core, workerId: string): Promise<Worker> {
  const worker = await store.getWorker(workerId);
  if (worker) return worker;
  throw new WherryError('WORKER_UNKNOWN', `there is no worker '${workerId}'`, { hint: '`wherry status` lists the workers' });
}

/** Which jobs the worker should stop; held like a take. */
export async function takeStops(core: Core, workerId: string, signal: AbortSignal): Promise<readonly string[]> {
  const worker = await requireWorker(core, workerId);
  if (worker.state === 'DRAINING' || worker.state === 'STOPPED') return [];
  return (await core.stopPolls.wait(workerId, HOLD_MS, signal)) ?? [];
}

/** A heartbeat: extends the leases of what the worker holds. `unhealthy` is the worker's own verdict; it is then replaced. */
export async function ping(
  core: Core,
  workerId: string,
  report: { readonly jobIds: readonly string[]; readonly unhealthy?: string },
): Promise<void> {
  const now = core.clock.now();
  if (report.unhealthy !== undefined) return reportUnhealthy(core, workerId, report.unhealthy);
  await core.fleet.markReady(workerId);
  await core.store.extend(workerId, { confirmed: report.jobIds, leaseUntil: now + LEASE_MS }, now);
}

async function reportUnhealthy(core: Core, workerId: string, reason: string): Promise<void> {
  await core.store.changeWorker({ id: workerId, state: 'UNHEALTHY', reason });
  await core.fleet.drain(workerId, { reason, graceMs: 1_000 });
}

/** Gives a job of a worker that is gone to another one, or fails it when it was tried often enough. */
export async function giveBack(core: Core, job: JobFacts, why: string): Promise<void> {
  if (job.workerId === null) return;
  if (job.attempt >= ATTEMPTS) {
    await endJob(core, job, { state: 'FAILED', error: `the worker ${why}; the job was tried ${job.attempt} times` }, ['IN_PROGRESS']);
    return;
  }
  const requeued = await core.store.requeue(job.id, job.workerId, core.clock.now());
  if (!requeued) return;
  core.occupations.end(job.workerId, job.id, core.clock.now());
  core.polls.wake(job.endpointId);
  core.wake(job.endpointId);
}
