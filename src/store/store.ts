import type { Batch, BatchRequest } from '../domain/batch.js';
import type { CrashLoop } from '../domain/crashes.js';
import type { Delivery } from '../domain/delivery.js';
import type { Endpoint, JobCounts } from '../domain/endpoint.js';
import type { Job, JobFacts, JobPriority, JobState, Outcome } from '../domain/job.js';
import type { Key } from '../domain/key.js';
import type { NamedCredential, RegistryCredential } from '../domain/registry-credential.js';
import type { Release, Rollout, RolloutPlan, RolloutState } from '../domain/release.js';
import type { ScaleRecord } from '../domain/scale-record.js';
import type { Secret } from '../domain/secret.js';
import type { ChunkPart, StreamMark } from '../domain/stream.js';
import type { Binding, Template } from '../domain/template.js';
import type { TestSummary } from '../domain/test-report.js';
import type { Worker, WorkerStart, WorkerState } from '../domain/worker.js';

/** Plain records kept through the generic contract, by kind. `setting` is server state (instance id, port). */
export interface RecordKinds {
  readonly key: Key;
  readonly setting: { readonly value: string };
  /** The delivery log; written by the store itself when a job with a webhook ends. Ids by `deliveryKeyOf`. */
  readonly delivery: Delivery;
  /** Body of the delivery of the same id. */
  readonly 'delivery-body': { readonly text: string };
  /** Deliveries under way by the time they are due, so that finding them does not depend on how long the log is. Ids by `dueKeyOf`. */
  readonly 'delivery-due': Readonly<Record<string, never>>;
  /** Batches by `endpoint/batch`. */
  readonly batch: Batch;
  /** Requests of drafts by `batch/request`. */
  readonly 'batch-request': BatchRequest;
  /** Secrets that sign the deliveries of an endpoint, by its id. */
  readonly 'webhook-secrets': { readonly secrets: readonly WebhookSecret[] };
  /** By name. */
  readonly secret: Secret;
  /** By registry. */
  readonly 'registry-credential': RegistryCredential;
  readonly 'named-credential': NamedCredential;
  readonly template: Template;
  /** What endpoints were made of, by their ids; removed with them. */
  readonly binding: Binding;
  /** The same by template, so that finding a template's endpoints does not depend on how many there are. Ids by `boundKeyOf`. */
  readonly 'bound-endpoint': Readonly<Record<string, never>>;
  /** Workers in a row that ended without finishing a job, by endpoint; gone with the first job that is finished. */
  readonly 'crash-loop': CrashLoop;
  /** Ids by `recordKeyOf`. */
  readonly 'scale-decision': ScaleRecord;
  /** How the tests of releases went. Ids by `reportKeyOf`. */
  readonly 'test-report': TestSummary;
  /** The whole report of the same id, as it was given. */
  readonly 'test-report-body': { readonly text: string };
}
export type RecordKind = keyof RecordKinds;

/** A signing secret, sealed; the newest first. */
export interface WebhookSecret {
  readonly sealed: string;
  readonly createdAt: number;
  /** When it stops to sign, because it was rotated away; null for the newest. */
  readonly expiresAt: number | null;
}

/** Part of the records of a kind, in the order of their ids (by bytes). */
export interface RecordRange {
  readonly prefix?: string;
  /** Only ids after this one, or before it when the newest come first. */
  readonly after?: string;
  readonly isNewestFirst?: boolean;
  readonly limit?: number;
}

/** A record that comes, or goes when its value is null. */
export type RecordChange = {
  readonly [K in RecordKind]: { readonly kind: K; readonly id: string; readonly value: RecordKinds[K] | null };
}[RecordKind];

export interface NewJob {
  readonly id: string;
  readonly endpointId: string;
  readonly input: string;
  readonly extras: string | null;
  readonly isSync: boolean;
  readonly priority: JobPriority;
  readonly webhook: string | null;
  readonly batchId: string | null;
  readonly idempotencyKey: string | null;
  readonly executionTimeoutMs: number;
  readonly expiresAt: number;
  /** Only workers of this release may have it. */
  readonly pinnedRelease: number | null;
}

export interface ClaimRequest {
  readonly endpointId: string;
  readonly workerId: string;
  readonly release: number;
  /** At most so many jobs. */
  readonly limit: number;
  readonly leaseUntil: number;
  readonly now: number;
  /** A job was announced that may not be committed yet: look in the same transaction as its submission. */
  readonly isAnnounced?: boolean;
}

/** Which job by which worker: (job, worker) is the fencing token (decision 16). */
export interface SettleRequest {
  readonly jobId: string;
  readonly endpointId: string;
  readonly workerId: string;
  readonly outcome: Outcome;
  readonly retainUntil: number;
  readonly now: number;
  /** The worker takes its next job in the same step, unless it holds another one. */
  readonly next?: Pick<ClaimRequest, 'release' | 'leaseUntil'>;
}

/** The ended job, and the one that was claimed with it when one was asked for and there was one. */
export interface Settled {
  readonly job: Job;
  readonly next: Job | undefined;
}

/** What a worker says of a job that it holds, before its end: a progress value, or chunks of its stream. JSON texts. */
export interface ReportRequest {
  readonly jobId: string;
  readonly workerId: string;
  readonly progress?: string;
  readonly chunks?: readonly string[];
  /** Which post of this try the chunks came with, from 1; one that is known already is not kept again. Absent: a new one. */
  readonly post?: number;
}

/**
 * Why a job goes back to the queue. `lost`: its worker is gone or does not have it; counted as retried. `withdrawn`: the
 * answer of the take was never sent, or the server itself ended the worker, so the claim does not count. `retry`: an ended job gets a new run, with attempts counted anew.
 */
export type RequeueCause = 'lost' | 'withdrawn' | 'retry';

/** Part of a job's stream, in order. */
export interface ChunkRequest {
  readonly jobId: string;
  /** How far its reader is, null at the beginning; `delivered` goes on where the last such read ended and moves that place. */
  readonly after: StreamMark | null | 'delivered';
}

/** An end decided by the server (cancel, time-out, lost result, crash budget), whoever holds the job. */
export interface EndRequest {
  readonly jobId: string;
  readonly outcome: Outcome;
  /** Only when the job is in one of these states. */
  readonly from: readonly JobState[];
  readonly retainUntil: number;
  readonly now: number;
}

export interface QueueSample extends JobCounts {
  /** Since when the oldest of `queuedNormal` waits; null when none does. */
  readonly oldestQueuedAt: number | null;
  /** Queued jobs above low priority: the ones that may start workers. */
  readonly queuedNormal: number;
  /** Since when the oldest queued job of any priority waits; null when none does. */
  readonly oldestAt: number | null;
  /** Ends over the endpoint's whole life; `failed` has those that timed out in it. */
  readonly cancelled: number;
  readonly timedOut: number;
}

/** Fields of an endpoint that change; undefined ones stay. */
export type EndpointChange = Partial<Pick<Endpoint, 'name' | 'settings' | 'pausedReason' | 'expiresAt'>>;

/** Fields of a worker that change; undefined ones stay. */
export interface WorkerChange {
  readonly id: string;
  readonly state?: WorkerState;
  /** Only when it is in this state. */
  readonly from?: WorkerState;
  readonly tokenHash?: string;
  readonly admittedAt?: number;
  readonly gpus?: readonly string[];
  readonly handle?: string;
  readonly start?: WorkerStart;
  readonly readyAt?: number;
  readonly lastSeenAt?: number;
  readonly idleSince?: number | null;
  readonly frozenAt?: number | null;
  readonly memoryBytes?: number | null;
  readonly thaws?: string;
  readonly stoppedAt?: number;
  readonly exitCode?: number | null;
  readonly reason?: string;
}

export interface FleetView {
  readonly endpoint: Endpoint;
  /** Not STOPPED; oldest first. */
  readonly workers: readonly Worker[];
  /** The one that is open. */
  readonly rollout: Rollout | undefined;
  /** Releases that queued jobs are pinned to. */
  readonly pinned: readonly number[];
}

/** Fields of an open rollout that change; undefined ones stay. */
export interface RolloutChange {
  readonly endpointId: string;
  readonly to: number;
  readonly state?: Exclude<RolloutState, 'PROVING'>;
  readonly share?: number;
  readonly provedAt?: number;
  readonly reason?: string | null;
}

/** Part of a list, newest first: only numbers below `before`. */
export interface ReleaseRange {
  readonly before?: number;
  readonly limit?: number;
}

export interface JobFilter {
  readonly endpointId: string;
  readonly states?: readonly JobState[];
  readonly workerId?: string;
  readonly batchId?: string;
  /** Only queued jobs that this worker may have. */
  readonly claimableBy?: Pick<Worker, 'id' | 'release' | 'isCandidate'>;
  /** Only jobs that are pinned to this release. */
  readonly pinnedTo?: number;
  readonly limit: number;
}

/**
 * Durable state. Each verb is one atomic step; no connection, row or transaction type crosses this line. Time comes in
 * as `now` (ms). A resolved promise of a verb marked *durable* means: on disk (fsync), it survives power loss. Others
 * survive the death of the process. All verbs throw STORE_UNAVAILABLE when the disk refuses (nothing is then changed).
 */
export interface Store {
  // endpoints and releases
  /** Durable. Throws NAME_TAKEN. */
  addEndpoint(endpoint: Endpoint): Promise<void>;
  /** Durable. Undefined fields stay. Throws ENDPOINT_UNKNOWN. */
  updateEndpoint(id: string, change: EndpointChange): Promise<Endpoint>;
  getEndpoint(id: string): Promise<Endpoint | undefined>;
  /** What decides over an endpoint's workers, as it was at one moment: read apart, a release could begin to serve in between. */
  viewFleet(endpointId: string): Promise<FleetView | undefined>;
  listEndpoints(): Promise<readonly Endpoint[]>;
  /** Durable. Removes the endpoint with its releases, rollouts, workers, jobs and keys, its binding and the template that is its own, unless another is bound to that. */
  removeEndpoint(id: string): Promise<void>;
  /** Deletes at most `limit` jobs of an endpoint that is being removed. Gives their number. */
  removeJobs(endpointId: string, limit: number): Promise<number>;
  /**
   * Durable. Gives the release its number (last + 1) and opens its rollout in state PROVING. With `endpoint` that one is added in the same
   * step. Throws ROLLOUT_OPEN, ENDPOINT_UNKNOWN, NAME_TAKEN.
   */
  addRelease(
    release: Omit<Release, 'number'>,
    plan: RolloutPlan,
    now: number,
    made?: { readonly endpoint: Endpoint },
  ): Promise<{ release: Release; rollout: Rollout }>;
  getRelease(endpointId: string, number: number): Promise<Release | undefined>;
  /** Newest first. */
  listReleases(endpointId: string, range?: ReleaseRange): Promise<readonly Release[]>;
  /** Newest first; `isOpen`: only the one that is open. */
  listRollouts(endpointId: string, range?: ReleaseRange & { readonly isOpen?: boolean }): Promise<readonly Rollout[]>;
  /**
   * Durable. Changes the open rollout. CANARY gives its candidate jobs like other workers and splits the queue by `share`; DONE makes its
   * `to` the active release besides, all in the same step. Undefined when that rollout is not open or may not become that.
   */
  changeRollout(change: RolloutChange, now: number): Promise<Rollout | undefined>;

  // queue
  /** Durable. The job is IN_QUEUE. Gives the earlier job of the endpoint when there is one with the same idempotency key. */
  enqueue(job: NewJob, now: number): Promise<Job>;
  /**
   * Oldest first within a priority. Each job becomes IN_PROGRESS with attempt + 1, the worker RUNNING. Never gives a job to a worker that
   * had it before. First come jobs that are pinned to the worker's release, then those of its lane (`laneOf`). Empty when there are none
   * or the worker is not IDLE/INITIALIZING/RUNNING.
   */
  claim(request: ClaimRequest): Promise<readonly Job[]>;
  /** Confirms the named jobs of the worker and sets the lease of every live job of it; also its lastSeenAt. */
  extend(workerId: string, change: { readonly confirmed: readonly string[]; readonly leaseUntil: number }, now: number): Promise<void>;
  /** Keeps what a worker reports and confirms the job; undefined, and nothing kept, unless the worker holds the job. */
  report(request: ReportRequest): Promise<{ readonly chunks: number; readonly streamBytes: number } | undefined>;
  /** Chunks of the job's newest run: from its first on when the reader has read another run. */
  readChunks(request: ChunkRequest): Promise<ChunkPart>;
  /** Durable. Undefined when (job, worker) does not hold a live lease: late or foreign. The worker becomes IDLE when it holds no other job. */
  settle(request: SettleRequest): Promise<Settled | undefined>;
  /** Durable. Undefined when the job is not in one of `from`. Frees the worker's slot as settle does. */
  end(request: EndRequest): Promise<Job | undefined>;
  /**
   * Durable, but for `withdrawn`. Back to IN_QUEUE at its old place, without the output and chunks of the last try. Undefined when
   * the worker does not hold it or, for `retry` (no worker), when it is not FAILED or TIMED_OUT with its record kept.
   */
  requeue(job: { readonly jobId: string; readonly workerId: string | null }, cause: RequeueCause, now: number): Promise<Job | undefined>;
  /** Durable. Ends every queued job of the endpoint as CANCELLED and gives their number and ids. */
  purge(endpointId: string, retainUntil: number, now: number): Promise<readonly string[]>;
  /** Makes queued low-priority jobs normal that were queued at or before `queuedUntil`, some hundred at once; gives their number. */
  promote(endpointId: string, queuedUntil: number): Promise<number>;
  getJob(id: string): Promise<Job | undefined>;
  /** Newest first, without tombstones. */
  listJobs(filter: JobFilter): Promise<readonly JobFacts[]>;
  /** Live jobs that need attention: lease passed, execution time over, or ttl passed; at most `limit`. */
  listOverdue(now: number, limit: number): Promise<readonly JobFacts[]>;
  /** Lets an ended job's record go at `retainUntil` when that is earlier than planned. */
  shortenRetention(jobId: string, retainUntil: number): Promise<void>;
  /**
   * Ended jobs whose retention passed become tombstones (no input, output, error or chunks), which are deleted an hour later;
   * stopped workers older than the log retention are deleted. At most `limit` of each kind, so that nobody waits long for it. Gives
   * the number of new tombstones, and whether there may be more to do.
   */
  sweep(now: number, limit: number): Promise<{ readonly buried: number; readonly isMore: boolean }>;
  /**
   * With `release` the jobs of the moment are those that a worker of it may have or has; beyond some thousand the count of a lane that is
   * not the whole queue says at least how many.
   */
  sampleQueue(endpointId: string, release?: number): Promise<QueueSample>;

  // workers
  addWorker(worker: Worker): Promise<void>;
  /** Undefined when the edge is not in WORKER_EDGES, the worker is not in `from`, or unknown. A change without both always applies. */
  changeWorker(change: WorkerChange): Promise<Worker | undefined>;
  getWorker(id: string): Promise<Worker | undefined>;
  /** Oldest first. Without those that are STOPPED, unless `stopped` is true, or the number of those that stopped last. */
  listWorkers(endpointId: string | undefined, stopped?: boolean | number): Promise<readonly Worker[]>;
  /** How many STOPPED ones each endpoint has; those without any are left out. */
  countStopped(): Promise<ReadonlyMap<string, number>>;

  // records
  getRecord<K extends RecordKind>(kind: K, id: string): Promise<RecordKinds[K] | undefined>;
  /** By id; costs what the given range holds, not what the kind does. */
  listRecords<K extends RecordKind>(
    kind: K,
    range?: RecordRange,
  ): Promise<readonly { readonly id: string; readonly value: RecordKinds[K] }[]>;
  /** Durable. */
  putRecord<K extends RecordKind>(kind: K, id: string, value: RecordKinds[K]): Promise<void>;
  /** Durable. */
  removeRecord(kind: RecordKind, id: string): Promise<void>;
  /** All of them or none. Durable, unless `isDurable` is false: what tells of the past waits for no flush. */
  changeRecords(changes: readonly RecordChange[], options?: { readonly isDurable?: boolean }): Promise<void>;

  /**
   * Durable. The wall clock was set: adds `byMs` to every moment of jobs, workers, deliveries under way and to the expiry of endpoints, so that ages and
   * time left stay what they were, and keeps `mark` as the setting `clock`. One step, so that it is never done twice.
   */
  moveMoments(byMs: number, mark: string): Promise<void>;

  close(): Promise<void>;
}
