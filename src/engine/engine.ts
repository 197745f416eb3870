import type { Clock } from '../base/clock.js';
import type { Log } from '../base/log.js';
import type { Endpoint, EndpointSettings, JobCounts } from '../domain/endpoint.js';
import type { Job, JobFacts } from '../domain/job.js';
import type { Release, ReleaseImage, ReleaseSpec, Rollout } from '../domain/release.js';
import type { Worker } from '../domain/worker.js';
import type { Runtime } from '../runtime/runtime.js';
import type { JobFilter, Store } from '../store/store.js';

/** How the engine reaches images: functions handed in by compose, so that the engine knows no registry. */
export interface Images {
  /** Resolves a reference to the digest of the platform's manifest and retains every blob in the embedded registry. Throws IMAGE_UNKNOWN, REGISTRY_UNAVAILABLE. */
  resolve(reference: string, retainAs: { readonly endpointId: string }): Promise<ReleaseImage>;
  /** Re-hashes every blob of the image from disk (skipping unchanged files). Throws DIGEST_MISMATCH. */
  verify(image: ReleaseImage): Promise<void>;
}

export interface EngineOptions {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly images: Images;
  readonly clock: Clock;
  readonly log: Log;
  /** Directory of the log segments. */
  readonly logsDir: string;
  /** Frees disk that nothing known to the store needs; called from time to time. */
  readonly sweepFiles?: () => Promise<void>;
  /** Base URL that workers reach, without a final slash; known once the server listens. */
  readonly workerUrl: () => string;
}

export interface Submission {
  readonly endpointId: string;
  readonly input: string;
  readonly extras: string | null;
  readonly isSync: boolean;
  readonly isLowPriority: boolean;
  readonly executionTimeoutMs?: number;
  readonly ttlMs?: number;
}

export interface Health {
  readonly jobs: JobCounts;
  readonly workers: Readonly<Record<'idle' | 'initializing' | 'ready' | 'running' | 'throttled' | 'unhealthy', number>>;
}

export interface DeployRequest {
  readonly reference: string;
  readonly spec: ReleaseSpec;
  readonly author: string;
  readonly sourceRevision: string | null;
}

/** A deploy or rollback that changed no release field makes no release: then `rollout` is null and `release` the active one. */
export interface DeployResult {
  readonly release: Release;
  readonly rollout: Rollout | null;
  readonly warnings: readonly string[];
}

/** The body of job-done (worker-protocol §6.2), parsed as JSON whatever its content type; undefined when it was not JSON. */
export type JobDoneBody = Readonly<Record<string, unknown>> | undefined;

export interface LogLine {
  /** `worker/segment:offset`. */
  readonly id: string;
  readonly at: number;
  readonly source: 'system' | 'container';
  readonly workerId: string;
  readonly jobId: string | null;
  readonly text: string;
}

export interface LogFilter {
  readonly endpointId: string;
  readonly workerId?: string;
  readonly jobId?: string;
  readonly release?: number;
  /** Last so many lines. */
  readonly limit: number;
}

/** What a worker gets for a job: the body of a take. */
export interface TakenJob {
  readonly id: string;
  /** JSON text of the whole job object (worker-protocol §4.4). */
  readonly body: string;
}

/** The use-cases and the control loop. Every promise rejects with a WherryError only. */
export interface Engine {
  /** Adopts what runs, begins the control loop. */
  start(): Promise<void>;
  /** Ends held polls and loops; workers stay for the next server. */
  stop(): Promise<void>;
  /** Stops every worker, waiting up to the grace for running jobs. */
  stopWorkers(graceMs: number): Promise<void>;

  /** Durable once resolved. Throws ENDPOINT_UNKNOWN, TOOMANYREQUESTS, STORE_UNAVAILABLE. */
  submit(submission: Submission): Promise<Job>;
  /** The job once terminal, or as it is when the time is over or the signal aborts. Throws JOB_UNKNOWN. */
  waitFor(job: { readonly endpointId: string; readonly jobId: string }, timeoutMs: number, signal: AbortSignal): Promise<Job>;
  /** Throws JOB_UNKNOWN, also for a job of another endpoint and past its retention. */
  getJob(endpointId: string, jobId: string): Promise<Job>;
  listJobs(filter: JobFilter): Promise<readonly JobFacts[]>;
  /** Idempotent on terminal jobs. Throws JOB_UNKNOWN. */
  cancel(endpointId: string, jobId: string): Promise<Job>;
  /** Number of queued jobs ended. */
  purge(endpointId: string): Promise<number>;
  health(endpointId: string): Promise<Health>;

  /** The worker whose token this is, when it belongs to that endpoint and id; else undefined. */
  authenticateWorker(token: string, endpointId: string, workerId: string): Promise<Worker | undefined>;
  /** Held up to 25 s; empty when there is no job. */
  take(
    workerId: string,
    options: { readonly limit: number; readonly isBusy: boolean; readonly signal: AbortSignal },
  ): Promise<readonly TakenJob[]>;
  /** Ids of jobs the worker should stop; held up to 25 s. */
  stops(workerId: string, signal: AbortSignal): Promise<readonly string[]>;
  ping(workerId: string, report: { readonly jobIds: readonly string[]; readonly unhealthy?: string }): Promise<void>;
  /** Settles, or records progress. Late and foreign posts are ignored. `rawOutput` is the text of `body.output` as it was sent. Durable once resolved. */
  done(workerId: string, jobId: string, body: JobDoneBody, rawOutput?: string): Promise<void>;

  /** Throws NAME_TAKEN, NAME_INVALID. */
  createEndpoint(request: { readonly id: string; readonly name?: string; readonly settings: EndpointSettings }): Promise<Endpoint>;
  updateEndpoint(
    id: string,
    change: { readonly name?: string; readonly settings?: EndpointSettings; readonly isPaused?: boolean },
  ): Promise<Endpoint>;
  /** Throws ENDPOINT_UNKNOWN. */
  getEndpoint(id: string): Promise<Endpoint>;
  listEndpoints(): Promise<readonly Endpoint[]>;
  /** Stops its workers and removes everything of it. */
  removeEndpoint(id: string): Promise<void>;
  deploy(endpointId: string, request: DeployRequest): Promise<DeployResult>;
  /** Without `release`: the one that served before the active one. */
  rollback(endpointId: string, request: { readonly release?: number; readonly author: string }): Promise<DeployResult>;
  listReleases(endpointId: string): Promise<readonly Release[]>;
  listRollouts(endpointId: string): Promise<readonly Rollout[]>;
  /** The rollout to that release once it is DONE or REVERTED, or as it is when time is over. */
  waitRollout(endpointId: string, to: number, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<Rollout>;

  /** With `all` also stopped ones. */
  listWorkers(endpointId: string, all: boolean): Promise<readonly Worker[]>;
  readLogs(filter: LogFilter): Promise<readonly LogLine[]>;
  /** Lines after `afterId` and then live, until the signal aborts. */
  followLogs(filter: LogFilter & { readonly afterId?: string }, signal: AbortSignal): AsyncIterable<LogLine>;
}
