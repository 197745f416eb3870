import type { Ending } from '../base/ending.js';
import { WherryError } from '../base/errors.js';
import { createUuid } from '../base/ids.js';
import type { Endpoint } from '../domain/endpoint.js';
import { isTerminal, type Job, type JobFacts, type Outcome, type TerminalState } from '../domain/job.js';
import { formatRelease, type Release } from '../domain/release.js';
import type { NewJob } from '../store/store.js';
import type { Core } from './core.js';
import type { JobName, Submission } from './engine.js';
import { noteRequest } from './requests.js';
import { stopWork } from './stops.js';

/** The endpoint or ENDPOINT_UNKNOWN. */
export async function requireEndpoint({ store, removals }: Core, id: string): Promise<Endpoint> {
  const endpoint = removals.has(id) ? undefined : await store.getEndpoint(id);
  if (endpoint) return endpoint;
  throw new WherryError('ENDPOINT_UNKNOWN', `there is no endpoint '${id}'`, { hint: '`wherry status` lists the endpoints' });
}

/** The job of that endpoint. Throws JOB_UNKNOWN, and JOB_EXPIRED past its ttl or retention while its tombstone lasts. */
export async function requireJob({ store, clock }: Core, endpointId: string, jobId: string): Promise<Job> {
  const job = await store.getJob(jobId);
  const now = clock.now();
  if (!job || job.endpointId !== endpointId) {
    throw new WherryError('JOB_UNKNOWN', `there is no job '${jobId}' of endpoint '${endpointId}'`, {
      hint: '`wherry jobs` lists recent jobs',
    });
  }
  if (job.expiresAt <= now) throw expired(job, 'ttl', job.expiresAt);
  if (job.retainUntil !== null && job.retainUntil <= now) throw expired(job, 'retention', job.retainUntil);
  return job;
}

/** What is left of a job whose time passed: which limit it was, and when. */
function expired({ id, state }: Job, limit: 'ttl' | 'retention', at: number): WherryError {
  const passedAt = new Date(at).toISOString();
  return new WherryError('JOB_EXPIRED', `job '${id}' is not kept any more: its ${limit} passed at ${passedAt}`, {
    hint: `set limits.${limit} higher to keep jobs longer`,
    detail: { limit, at: passedAt, ...(isTerminal(state) && { status: state }) },
  });
}

/** That release or RELEASE_UNKNOWN. */
export async function requireRelease({ store }: Core, endpointId: string, number: number): Promise<Release> {
  const release = await store.getRelease(endpointId, number);
  if (release) return release;
  throw new WherryError('RELEASE_UNKNOWN', `endpoint '${endpointId}' has no release ${formatRelease(number)}`, {
    hint: '`wherry releases` lists them',
  });
}

/** Puts a job on disk, then wakes who can run it. Throws ENDPOINT_UNKNOWN, RELEASE_UNKNOWN (the one it is pinned to), REQUEST_INVALID, TOOMANYREQUESTS, IDEMPOTENCY_KEY_REUSED, STORE_UNAVAILABLE. */
export async function submit(core: Core, submission: Submission): Promise<Job> {
  const { store, clock } = core;
  const endpoint = await requireEndpoint(core, submission.endpointId);
  const { limits } = endpoint.settings;
  checkWebhook(core, submission.webhook);
  if (submission.pinnedRelease !== undefined) await requireRelease(core, endpoint.id, submission.pinnedRelease);
  const admitted = await admit(core, endpoint);
  noteRequest(core, endpoint.id);
  const now = clock.now();
  const { endpointId, isSync } = submission;
  const id = isSync ? `sync-${createUuid(now)}` : createUuid(now);
  const executionTimeoutMs = submission.executionTimeoutMs ?? limits.executionMs;
  const expiresAt = now + (submission.ttlMs ?? limits.ttlMs);
  const enqueued = store.enqueue({ id, executionTimeoutMs, expiresAt, ...contentOf(submission) }, now).finally(admitted);
  // A worker that waits is woken before the commit, so that its claim shares it: one flush, and the job leaves with it.
  const isWoken = core.polls.wake(endpointId);
  // Thawed beside the commit, too. Low priority wakes nobody, as it starts nobody.
  const release = submission.pinnedRelease ?? endpoint.activeRelease;
  if (!isWoken && submission.priority !== 'low' && endpoint.pausedReason === null && release !== null)
    core.freezer.thaw({ endpointId, release }, 1);
  const job = await enqueued;
  if (job.id !== id) checkSame(job, submission);
  // One that came meanwhile looked before the commit; else one may have to be started.
  if ((!isWoken && !core.polls.wake(endpointId)) || job.pinnedRelease !== null) core.wake(endpointId);
  return job;
}

function contentOf(submission: Submission): Omit<NewJob, 'id' | 'executionTimeoutMs' | 'expiresAt'> {
  const { endpointId, input, extras, isSync, priority = 'normal', webhook = null, batchId = null } = submission;
  const { idempotencyKey = null, pinnedRelease = null } = submission;
  return { endpointId, input, extras, isSync, priority, webhook, batchId, idempotencyKey, pinnedRelease };
}

/** A key that was used is for the same request only. Throws IDEMPOTENCY_KEY_REUSED. */
function checkSame(earlier: Job, { idempotencyKey, input, extras }: Submission): void {
  if (earlier.input === input && earlier.extras === extras) return;
  throw new WherryError(
    'IDEMPOTENCY_KEY_REUSED',
    `idempotency key '${idempotencyKey}' was used for job '${earlier.id}' with another input`,
    {
      hint: 'use a new key for a new request',
    },
  );
}

/** Addresses that webhooks may not go to are refused here already; names when they are resolved. Throws REQUEST_INVALID. */
function checkWebhook({ webhookTargets }: Core, url: string | undefined): void {
  const refused = url === undefined ? undefined : webhookTargets.refuseUrl(url);
  if (refused === undefined) return;
  throw new WherryError('REQUEST_INVALID', `webhook ${refused}`, {
    hint: 'use an http or https URL of the open internet; the operator can allow more with WHERRY_WEBHOOK_ALLOW',
  });
}

/** How old a count of the queue may be: counting at every submission would cost more than the submission. */
const COUNT_AGE_MS = 250;

const NOTHING = () => {};

/** Lets a submission in below the queue limit of the endpoint; call the result when it is stored. Throws TOOMANYREQUESTS. */
async function admit(core: Core, { id, settings }: Endpoint): Promise<() => void> {
  const limit = settings.limits.queueJobs ?? Math.max(50, settings.scale.max * 500);
  if (limit === 0) return NOTHING;
  const now = core.clock.now();
  const depth = core.depths.get(id) ?? { at: 0, count: 0, pending: 0 };
  core.depths.set(id, depth);
  const recount = async () => {
    const { inQueue } = await core.store.sampleQueue(id);
    depth.at = now;
    depth.count = inQueue + depth.pending;
  };
  if (now - depth.at > COUNT_AGE_MS) await recount();
  // Jobs that left since the last count make room: nobody is refused by an old one.
  if (depth.count >= limit) await recount();
  if (depth.count >= limit) {
    throw new WherryError('TOOMANYREQUESTS', `${limit} jobs wait at endpoint '${id}' already`, {
      hint: 'try again when some are done, or raise scale.max',
    });
  }
  depth.count++;
  depth.pending++;
  return () => void depth.pending--;
}

/** Ends a job by the server's decision; undefined when it was not in one of `from` any more. Wakes who waits for it. */
export async function endJob(
  core: Core,
  job: JobFacts,
  { state, error }: { readonly state: TerminalState; readonly error: string | null },
  from: readonly Job['state'][] = ['IN_QUEUE', 'IN_PROGRESS'],
): Promise<Job | undefined> {
  const now = core.clock.now();
  const outcome: Outcome = { state, output: null, error: error === null ? null : JSON.stringify(error) };
  const ended = await core.store.end({ jobId: job.id, outcome, from, retainUntil: await retainUntil(core, job), now });
  if (!ended) return undefined;
  if (ended.workerId) core.occupations.end(ended.workerId, ended.id, now);
  if (job.state === 'IN_PROGRESS') core.meter.recordRun(job.endpointId, now - (job.claimedAt ?? now));
  announceEnd(core, ended);
  core.wake(ended.endpointId);
  return ended;
}

/** Tells everybody who waits that a job reached a terminal state. */
export function announceEnd(core: Core, job: Job): void {
  core.missedPings.delete(job.id);
  core.jobWaiters.notify(job.id, job);
  core.streamWaiters.notify(job.id, true);
  if (job.webhook !== null) core.webhooks.wake(job.endpointId);
}

const BATCH_RETENTION_MS = 86_400_000;

/** Until when a job that ends now is kept; its ttl is a hard limit. */
export async function retainUntil(
  { store, clock }: Core,
  job: Pick<Job, 'endpointId' | 'isSync' | 'batchId' | 'expiresAt'>,
): Promise<number> {
  const endpoint = await store.getEndpoint(job.endpointId);
  const limits = endpoint?.settings.limits;
  // A batch is read when all of it is done, which may be long after its first job.
  const keepMs = job.batchId !== null ? BATCH_RETENTION_MS : ((job.isSync ? limits?.retentionSyncMs : limits?.retentionMs) ?? 0);
  return Math.min(job.expiresAt, clock.now() + keepMs);
}

/** Waits until the job is terminal. Throws JOB_UNKNOWN. */
export async function waitForJob(
  core: Core,
  { endpointId, jobId }: { readonly endpointId: string; readonly jobId: string },
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: Ending },
): Promise<Job> {
  const wait = core.jobWaiters.begin(jobId, timeoutMs, signal);
  try {
    const job = await requireJob(core, endpointId, jobId);
    if (isTerminal(job.state)) return job;
    return (await wait.value) ?? (await requireJob(core, endpointId, jobId));
  } finally {
    wait.cancel();
  }
}

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
 * A new run of a FAILED or TIMED_OUT job, under the same id, with the same input, without what the last run left. Throws
 * JOB_UNKNOWN, JOB_EXPIRED, JOB_NOT_RETRYABLE.
 */
export async function retry(core: Core, endpointId: string, jobId: string): Promise<Job> {
  const job = await requireJob(core, endpointId, jobId);
  const again = await core.store.requeue({ jobId, workerId: null }, 'retry', core.clock.now());
  if (!again) {
    throw new WherryError('JOB_NOT_RETRYABLE', `job '${jobId}' cannot be tried again: it is ${job.state}`, {
      hint: 'only FAILED and TIMED_OUT jobs get a new run; submit the input as a new job',
    });
  }
  noteRequest(core, endpointId);
  core.polls.wake(endpointId);
  // The workers there are may have had it already.
  core.wake(endpointId);
  return again;
}

/** Lets the record of an ended job go earlier. Throws JOB_UNKNOWN, JOB_EXPIRED. */
export async function shortenRetention(core: Core, { endpointId, jobId }: JobName, keepMs: number): Promise<void> {
  await requireJob(core, endpointId, jobId);
  await core.store.shortenRetention(jobId, core.clock.now() + keepMs);
}

/** Ends every queued job. Gives their number. Throws ENDPOINT_UNKNOWN. */
export async function purge(core: Core, endpointId: string): Promise<number> {
  const { settings } = await requireEndpoint(core, endpointId);
  return endQueued(core, endpointId, settings.limits.retentionMs);
}

/** Ends every queued job of an endpoint and tells who waits for one. Gives their number. */
export async function endQueued(core: Core, endpointId: string, keepMs: number): Promise<number> {
  const now = core.clock.now();
  const ids = await core.store.purge(endpointId, now + keepMs, now);
  for (const id of ids) {
    if (!core.jobWaiters.isAwaited(id) && !core.streamWaiters.isAwaited(id)) continue;
    const job = await core.store.getJob(id);
    if (job) announceEnd(core, job);
  }
  if (ids.length > 0) core.webhooks.wake(endpointId);
  core.wake(endpointId);
  return ids.length;
}
