import type { Endpoint, EndpointSettings, JobCounts } from '../domain/endpoint.js';
import type { Job, JobFacts, JobState, Outcome } from '../domain/job.js';
import type { Key } from '../domain/key.js';
import type { Release, Rollout, RolloutState } from '../domain/release.js';
import type { Worker, WorkerState } from '../domain/worker.js';

/** Plain records kept through the generic contract, by kind. `setting` is server state (instance id, port). */
export interface RecordKinds {
  readonly key: Key;
  readonly setting: { readonly value: string };
}
export type RecordKind = keyof RecordKinds;

export interface NewJob {
  readonly id: string;
  readonly endpointId: string;
  readonly input: string;
  readonly extras: string | null;
  readonly isSync: boolean;
  readonly isLowPriority: boolean;
  readonly executionTimeoutMs: number;
  readonly expiresAt: number;
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
  /** Submission (or requeue) time of the oldest queued normal-priority job; null when none waits. */
  readonly oldestQueuedAt: number | null;
  /** Queued jobs of normal priority: the ones that may start workers. */
  readonly queuedNormal: number;
}

/** Fields of a worker that change; undefined ones stay. `from` guards the edge. */
export interface WorkerChange {
  readonly id: string;
  readonly state?: WorkerState;
  readonly handle?: string;
  readonly isCandidate?: boolean;
  readonly readyAt?: number;
  readonly lastSeenAt?: number;
  readonly idleSince?: number | null;
  readonly stoppedAt?: number;
  readonly exitCode?: number | null;
  readonly reason?: string;
}

export interface JobFilter {
  readonly endpointId: string;
  readonly states?: readonly JobState[];
  readonly workerId?: string;
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
  updateEndpoint(id: string, change: { name?: string; settings?: EndpointSettings; pausedReason?: string | null }): Promise<Endpoint>;
  getEndpoint(id: string): Promise<Endpoint | undefined>;
  listEndpoints(): Promise<readonly Endpoint[]>;
  /** Durable. Removes the endpoint with its releases, rollouts, workers, jobs and keys. */
  removeEndpoint(id: string): Promise<void>;
  /** Durable. Gives the release its number (last + 1) and opens its rollout in state PROVING. Throws ROLLOUT_OPEN, ENDPOINT_UNKNOWN. */
  addRelease(release: Omit<Release, 'number'>, now: number): Promise<{ release: Release; rollout: Rollout }>;
  getRelease(endpointId: string, number: number): Promise<Release | undefined>;
  /** Newest first. */
  listReleases(endpointId: string): Promise<readonly Release[]>;
  /** Newest first. */
  listRollouts(endpointId: string): Promise<readonly Rollout[]>;
  /** Durable. Ends the open rollout; DONE also makes its `to` the active release, in the same step. Undefined when that rollout is not open. */
  endRollout(
    end: {
      readonly endpointId: string;
      readonly to: number;
      readonly state: Extract<RolloutState, 'DONE' | 'REVERTED'>;
      readonly reason: string | null;
    },
    now: number,
  ): Promise<Rollout | undefined>;

  // queue
  /** Durable. The job is IN_QUEUE. */
  enqueue(job: NewJob, now: number): Promise<Job>;
  /**
   * Oldest first, normal priority before low. Each job becomes IN_PROGRESS with attempt + 1, the worker RUNNING.
   * Never gives a job to a worker that had it before. Empty when nothing is queued or the worker is not IDLE/INITIALIZING/RUNNING.
   */
  claim(request: ClaimRequest): Promise<readonly Job[]>;
  /** Confirms the named jobs of the worker and sets the lease of every live job of it; also its lastSeenAt. */
  extend(workerId: string, change: { readonly confirmed: readonly string[]; readonly leaseUntil: number }, now: number): Promise<void>;
  /** Sets the progress value shown as `output`; ignored unless the worker holds the job. */
  setProgress(job: { readonly jobId: string; readonly workerId: string; readonly output: string }): Promise<void>;
  /** Durable. Undefined when (job, worker) does not hold a live lease: late or foreign. The worker becomes IDLE when it holds no other job. */
  settle(request: SettleRequest): Promise<Job | undefined>;
  /** Durable. Undefined when the job is not in one of `from`. Frees the worker's slot as settle does. */
  end(request: EndRequest): Promise<Job | undefined>;
  /** Durable. IN_PROGRESS → IN_QUEUE at the front, counted as retried; undefined when it is not held by that worker. */
  requeue(jobId: string, workerId: string, now: number): Promise<Job | undefined>;
  /** Takes a claim back whose answer was never sent: as if it had not happened. Undefined when it is not held by that worker. */
  unclaim(jobId: string, workerId: string, now: number): Promise<Job | undefined>;
  /** Durable. Ends every queued job of the endpoint as CANCELLED and gives their number and ids. */
  purge(endpointId: string, retainUntil: number, now: number): Promise<readonly string[]>;
  getJob(id: string): Promise<Job | undefined>;
  /** Newest first. */
  listJobs(filter: JobFilter): Promise<readonly JobFacts[]>;
  /** Live jobs that need attention: lease passed, execution time over, or ttl passed; at most `limit`. */
  listOverdue(now: number, limit: number): Promise<readonly JobFacts[]>;
  /** Deletes terminal jobs whose retention passed, and stopped workers older than the log retention; gives the number of jobs deleted. */
  sweep(now: number): Promise<number>;
  sampleQueue(endpointId: string): Promise<QueueSample>;

  // workers
  addWorker(worker: Worker): Promise<void>;
  /** Undefined when the edge is not in WORKER_EDGES or the worker is unknown. A change without `state` always applies. */
  changeWorker(change: WorkerChange): Promise<Worker | undefined>;
  getWorker(id: string): Promise<Worker | undefined>;
  /** Not STOPPED only, unless `all`; oldest first. */
  listWorkers(endpointId: string | undefined, all?: boolean): Promise<readonly Worker[]>;

  // records
  getRecord<K extends RecordKind>(kind: K, id: string): Promise<RecordKinds[K] | undefined>;
  listRecords<K extends RecordKind>(kind: K): Promise<readonly { readonly id: string; readonly value: RecordKinds[K] }[]>;
  /** Durable. */
  putRecord<K extends RecordKind>(kind: K, id: string, value: RecordKinds[K]): Promise<void>;
  /** Durable. */
  removeRecord(kind: RecordKind, id: string): Promise<void>;

  close(): Promise<void>;
}
