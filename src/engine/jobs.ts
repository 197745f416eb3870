import { WherryError } from '../base/errors.js';
import { createUuid } from '../base/ids.js';
import type { Endpoint } from '../domain/endpoint.js';
import { isTerminal, type Job, type Outcome, type TerminalState } from '../domain/job.js';
import type { Core } from './core.js';
import type { Submission } from './engine.js';

/** The endpoint or ENDPOINT_UNKNOWN. */
export async function requireEndpoint({ store }: Core, id: string): Promise<Endpoint> {
  const endpoint = await store.getEndpoint(id);
  if (endpoint) return endpoint;
  throw new WherryError('ENDPOINT_UNKNOWN', `there is no endpoint '${id}'`, { hint: '`wherry status` lists the endpoints' });
}

/** The job of that endpoint or JOB_UNKNOWN; past its ttl or retention it is unknown too. */
export async function requireJob({ store, clock }: Core, endpointId: string, jobId: string): Promise<Job> {
  const job = await store.getJob(jobId);
  const now = clock.now();
  if (!job || job.endpointId !== endpointId) throw unknownJob(jobId, 'no job of this endpoint has that id');
  if (job.expiresAt <= now) throw unknownJob(jobId, 'its ttl passed');
  if (job.retainUntil !== null && job.retainUntil <= now) throw unknownJob(jobId, 'its result was kept as long as the endpoint says');
  return job;
}

function unknownJob(jobId: string, why: string): WherryError {
  return new WherryError('JOB_UNKNOWN', `job '${jobId}' is not known: ${why}`, { hint: '`wherry jobs` lists recent jobs' });
}

/** Puts a job on disk, then wakes who can run it. Throws ENDPOINT_UNKNOWN, TOOMANYREQUESTS, STORE_UNAVAILABLE. */
export async function submit(core: Core, submission: Submission): Promise<Job> {
  const { store, clock } = core;
  const endpoint = await requireEndpoint(core, submission.endpointId);
  const { limits } = endpoint.settings;
  await refuseFlood(core, endpoint);
  const now = clock.now();
  const { endpointId, input, extras, isSync, isLowPriority } = submission;
  const id = isSync ? `sync-${createUuid(now)}` : createUuid(now);
  const executionTimeoutMs = submission.executionTimeoutMs ?? limits.executionMs;
  const expiresAt = now + (submission.ttlMs ?? limits.ttlMs);
  const enqueued = store.enqueue({ id, endpointId, input, extras, isSync, isLowPriority, executionTimeoutMs, expiresAt }, now);
  // A worker that waits is woken before the commit, so that its claim shares it: one flush, and the job leaves with it.
  const isWoken = core.polls.wake(endpointId);
  const job = await enqueued;
  // One that came meanwhile looked before the commit; else one may have to be started.
  if (!isWoken && !core.polls.wake(endpointId)) core.wake(endpointId);
  return job;
}

/** How old a count of the queue may be: counting at every submission would cost more than the submission. */
const COUNT_AGE_MS = 250;

/** The queue limit of the endpoint. Throws TOOMANYREQUESTS. */
async function refuseFlood(core: Core, { id, settings }: Endpoint): Promise<void> {
  const limit = settings.limits.queueJobs ?? Math.max(50, settings.scale.max * 500);
  if (limit === 0) return;
  const now = core.clock.now();
  let depth = core.depths.get(id);
  if (!depth || now - depth.at > COUNT_AGE_MS) {
    depth = { at: now, count: (await core.store.sampleQueue(id)).inQueue };
    core.depths.set(id, depth);
  }
  if (++depth.count <= limit) return;
  throw new WherryError('TOOMANYREQUESTS', `${limit} jobs wait at endpoint '${id}' already`, {
    hint: 'try again when some are done, or raise scale.max',
  });
}

/** Ends a job by the server's decision; undefined when it was not in one of `from` any more. Wakes who waits for it. */
export async function endJob(
  core: Core,
  job: Job,
  { state, error }: { readonly state: TerminalState; readonly error: string | null },
  from: readonly Job['state'][] = ['IN_QUEUE', 'IN_PROGRESS'],
): Promise<Job | undefined> {
  const now = core.clock.now();
  const outcome: Outcome = { state, output: null, error: error === null ? null : JSON.stringify(error) };
  const ended = await core.store.end({ jobId: job.id, outcome, from, retainUntil: await retainUntil(core, job), now });
  if (!ended) return undefined;
  if (ended.workerId) core.occupations.end(ended.workerId, ended.id, now);
  core.jobWaiters.notify(ended.id, ended);
  core.wake(ended.endpointId);
  return ended;
}

/** Until when a job that ends now is kept. */
export async function retainUntil({ store, clock }: Core, job: Pick<Job, 'endpointId' | 'isSync'>): Promise<number> {
  const endpoint = await store.getEndpoint(job.endpointId);
  const limits = endpoint?.settings.limits;
  const keepMs = (job.isSync ? limits?.retentionSyncMs : limits?.retentionMs) ?? 0;
  return clock.now() + keepMs;
}

/** Waits until the job is terminal. Throws JOB_UNKNOWN. */
export async function waitForJob(
  core: Core,
  { endpointId, jobId }: { readonly endpointId: string; readonly jobId: string },
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Job> {
  const changed = core.jobWaiters.wait(jobId, timeoutMs, signal);
  const job = await requireJob(core, endpointId, jobId);
  if (isTerminal(job.state)) return job;
  const ended = await changed;
  return ended ?? requireJob(core, endpointId, jobId);
}

/** Grace for work that was cancelled or is over time; then its processes are killed. */
const STOP_GRACE_MS = 2_000;

/** Ends a live job as CANCELLED and stops its work. Terminal jobs stay as they are. Throws JOB_UNKNOWN. */
export async function cancel(core: Core, endpointId: string, jobId: string): Promise<Job> {
  const job = await requireJob(core, endpointId, jobId);
  if (isTerminal(job.state)) return job;
  const ended = await endJob(core, job, { state: 'CANCELLED', error: null });
  if (!ended) return requireJob(core, endpointId, jobId);
  if (job.state === 'IN_PROGRESS') stopWork(core, ended, 'its job was cancelled');
  return ended;
}

/**
 * Makes a worker let go of a job that was ended. A worker that listens on job-stop is told; one that does not, or that
 * still has not asked for new work after the grace, is stopped.
 */
export function stopWork(core: Core, { workerId, id }: Job, reason: string): void {
  if (workerId === null) return;
  core.stopPolls.notify(workerId, [id]);
  const drained = core.fleet.drain(workerId, { reason, graceMs: STOP_GRACE_MS, mayFinish: true });
  drained.catch((cause: unknown) => core.log.error({ err: cause, workerId }, 'a worker could not be stopped'));
}

/** Ends every queued job. Gives their number. Throws ENDPOINT_UNKNOWN. */
export async function purge(core: Core, endpointId: string): Promise<number> {
  const endpoint = await requireEndpoint(core, endpointId);
  const now = core.clock.now();
  const ids = await core.store.purge(endpointId, now + endpoint.settings.limits.retentionMs, now);
  for (const id of ids) {
    const job = await core.store.getJob(id);
    if (job) core.jobWaiters.notify(id, job);
  }
  core.wake(endpointId);
  return ids.length;
}
