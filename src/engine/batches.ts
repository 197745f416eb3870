import { WherryError } from '../base/errors.js';
import { createUuid } from '../base/ids.js';
import { BATCH_LIMITS, type Batch, type BatchRequest, countBatch } from '../domain/batch.js';
import { JOB_LIMITS, type JobFacts } from '../domain/job.js';
import type { Batches, BatchName, BatchStatus } from './batch.js';
import type { Core } from './core.js';
import { endJob, requireEndpoint } from './jobs.js';
import { noteRequest } from './requests.js';

/** Records of a batch go when its jobs cannot be known any more: their longest ttl, and a day. */
const KEEP_MS = JOB_LIMITS.ttlMs.max + 86_400_000;

/** The batch API over plain records for drafts and jobs of priority `batch` for what is finalized. */
export function createBatches(core: Core): Batches {
  return {
    async create(endpointId, inputs) {
      await requireEndpoint(core, endpointId);
      await refuseMany(core, endpointId);
      const now = core.clock.now();
      const batch: Batch = { id: `batch_${createUuid(now)}`, endpointId, name: null, state: 'DRAFT', createdAt: now, total: 0 };
      await putBatch(core, batch);
      await addRequests(core, batch, inputs);
      return readStatus(core, batch);
    },
    async add(name, inputs) {
      return addRequests(core, requireDraft(await requireBatch(core, name)), inputs);
    },
    async removeRequest(name, requestId) {
      const { id } = requireDraft(await requireBatch(core, name));
      const recordId = `${id}/${requestId}`;
      if (!(await core.store.getRecord('batch-request', recordId))) {
        throw new WherryError('JOB_UNKNOWN', `batch '${id}' has no request '${requestId}'`, { hint: 'list its requests' });
      }
      await core.store.removeRecord('batch-request', recordId);
    },
    async rename(name, text) {
      const batch = { ...(await requireBatch(core, name)), name: text };
      await putBatch(core, batch);
      return readStatus(core, batch);
    },
    async finalize(name) {
      const batch = await requireBatch(core, name);
      if (batch.state === 'CANCELLED') throw notDraft(batch);
      return readStatus(core, batch.state === 'DRAFT' ? await finalizeDraft(core, batch) : batch);
    },
    async cancel(name) {
      const batch = { ...(await requireBatch(core, name)), state: 'CANCELLED' as const };
      await putBatch(core, batch);
      await removeRequests(core, batch.id, await listRequests(core, batch.id));
      for (const job of await listJobs(core, batch)) {
        if (job.state === 'IN_QUEUE') await endJob(core, job, { state: 'CANCELLED', error: null }, ['IN_QUEUE']);
      }
      return readStatus(core, batch);
    },
    get: async (name) => readStatus(core, await requireBatch(core, name)),
    async list(endpointId) {
      await requireEndpoint(core, endpointId);
      return Promise.all((await listBatches(core, endpointId)).map((batch) => readStatus(core, batch)));
    },
    async page(name, { offset, limit }) {
      const batch = await requireBatch(core, name);
      const drafts = (await listRequests(core, batch.id)).map(({ id }) => id);
      const ids = [...(await listJobs(core, batch)).map(({ id }) => id), ...drafts];
      const requests = [];
      for (const id of ids.slice(offset, offset + limit)) requests.push({ id, job: (await core.store.getJob(id)) ?? null });
      return { requests, total: ids.length };
    },
  };
}

/** After a crash between finalizing and the last job: what is still a request becomes a job now. */
export async function resumeBatches(core: Core): Promise<void> {
  for (const { value: batch } of await core.store.listRecords('batch')) {
    if (batch.state === 'FINALIZED') await enqueueRequests(core, batch);
  }
}

/** The records of an endpoint that is removed; its jobs go with it. */
export async function removeBatches(core: Core, endpointId: string): Promise<void> {
  for (const { id, value } of await core.store.listRecords('batch', { prefix: `${endpointId}/` })) {
    await removeRequests(core, value.id, await listRequests(core, value.id));
    await core.store.removeRecord('batch', id);
  }
}

const putBatch = ({ store }: Core, batch: Batch) => store.putRecord('batch', `${batch.endpointId}/${batch.id}`, batch);

async function requireBatch({ store }: Core, { endpointId, batchId }: BatchName): Promise<Batch> {
  const batch = await store.getRecord('batch', `${endpointId}/${batchId}`);
  if (batch) return batch;
  throw new WherryError('BATCH_UNKNOWN', `endpoint '${endpointId}' has no batch '${batchId}'`, { hint: 'GET /batch lists them' });
}

function requireDraft(batch: Batch): Batch {
  if (batch.state === 'DRAFT') return batch;
  throw notDraft(batch);
}

function notDraft({ id, state }: Batch): WherryError {
  return new WherryError('BATCH_NOT_DRAFT', `batch '${id}' cannot be changed: it is ${state}`, { hint: 'make a new batch' });
}

async function refuseMany(core: Core, endpointId: string): Promise<void> {
  const statuses = await Promise.all((await listBatches(core, endpointId)).map((batch) => readStatus(core, batch)));
  const active = statuses.filter(({ batch, total, completed, failed }) => batch.state === 'DRAFT' || completed + failed < total);
  if (active.length < BATCH_LIMITS.active) return;
  throw new WherryError('TOOMANYREQUESTS', `endpoint '${endpointId}' has ${active.length} batches that are not done`, {
    hint: 'wait until one is done, or cancel one',
  });
}

/** Newest first; what is too old to have jobs is removed on the way. */
async function listBatches(core: Core, endpointId: string): Promise<readonly Batch[]> {
  const listed = await core.store.listRecords('batch', { prefix: `${endpointId}/`, isNewestFirst: true });
  const old = listed.filter(({ value }) => value.createdAt < core.clock.now() - KEEP_MS);
  for (const { id } of old) await core.store.removeRecord('batch', id);
  return listed.filter((record) => !old.includes(record)).map(({ value }) => value);
}

const listRequests = async ({ store }: Core, batchId: string): Promise<readonly BatchRequest[]> =>
  (await store.listRecords('batch-request', { prefix: `${batchId}/` })).map(({ value }) => value);

async function removeRequests({ store }: Core, batchId: string, requests: readonly BatchRequest[]): Promise<void> {
  await store.changeRecords(requests.map(({ id }) => ({ kind: 'batch-request', id: `${batchId}/${id}`, value: null })));
}

async function addRequests(core: Core, { id: batchId }: Batch, inputs: readonly string[]): Promise<readonly string[]> {
  const there = (await listRequests(core, batchId)).length;
  if (there + inputs.length > BATCH_LIMITS.requests) {
    throw new WherryError(
      'INPUT_TOO_LARGE',
      `batch '${batchId}' would have ${there + inputs.length} requests, more than ${BATCH_LIMITS.requests}`,
      {
        hint: 'make another batch for the rest',
      },
    );
  }
  const now = core.clock.now();
  const requests = inputs.map((input) => ({ id: createUuid(now), batchId, input }));
  await core.store.changeRecords(requests.map((value) => ({ kind: 'batch-request', id: `${batchId}/${value.id}`, value })));
  return requests.map(({ id }) => id);
}

/** First it is finalized on disk; then each request becomes the job of its id, so that doing it twice makes no second job. */
async function finalizeDraft(core: Core, batch: Batch): Promise<Batch> {
  const requests = await listRequests(core, batch.id);
  const { inQueue } = await core.store.sampleQueue(batch.endpointId);
  if (inQueue + requests.length > BATCH_LIMITS.queued) {
    throw new WherryError('TOOMANYREQUESTS', `${inQueue} jobs wait at endpoint '${batch.endpointId}' already`, {
      hint: `finalize when fewer wait: at most ${BATCH_LIMITS.queued} with this batch`,
    });
  }
  const finalized: Batch = { ...batch, state: 'FINALIZED', total: requests.length };
  await putBatch(core, finalized);
  await enqueueRequests(core, finalized);
  return finalized;
}

async function enqueueRequests(core: Core, { id: batchId, endpointId }: Batch): Promise<void> {
  const { limits } = (await requireEndpoint(core, endpointId)).settings;
  const now = core.clock.now();
  const requests = await listRequests(core, batchId);
  noteRequest(core, endpointId);
  const fixed = { endpointId, extras: null, isSync: false, priority: 'batch', webhook: null, batchId, pinnedRelease: null } as const;
  const times = { executionTimeoutMs: limits.executionMs, expiresAt: now + JOB_LIMITS.ttlMs.max };
  await Promise.all(
    requests.map(({ id, input }) => core.store.enqueue({ ...fixed, ...times, id, input, idempotencyKey: `${batchId}/${id}` }, now)),
  );
  await removeRequests(core, batchId, requests);
  core.polls.wake(endpointId);
  core.wake(endpointId);
}

/** Oldest first. */
async function listJobs({ store }: Core, { id: batchId, endpointId }: Batch): Promise<readonly JobFacts[]> {
  return (await store.listJobs({ endpointId, batchId, limit: BATCH_LIMITS.requests })).toReversed();
}

/** A batch that was cancelled is shown as such once nothing of it runs any more. */
async function readStatus(core: Core, batch: Batch): Promise<BatchStatus> {
  const jobs = await listJobs(core, batch);
  const total = batch.state === 'DRAFT' ? (await listRequests(core, batch.id)).length : batch.total;
  const counts = countBatch(
    total,
    jobs.map(({ state }) => state),
  );
  const isStopping = batch.state === 'CANCELLED' && counts.inProgress > 0;
  return { ...counts, batch: isStopping ? { ...batch, state: 'FINALIZED' } : batch };
}
