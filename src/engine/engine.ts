import type { Clock } from '../base/clock.js';
import type { Ending } from '../base/ending.js';
import type { Faults } from '../base/faults.js';
import type { Log } from '../base/log.js';
import type { Seal } from '../base/seal.js';
import type { HostCapacity } from '../domain/capacity.js';
import type { Delivery, DeliveryState } from '../domain/delivery.js';
import type { Endpoint, EndpointSettings, JobCounts, Labels } from '../domain/endpoint.js';
import type { Job, JobFacts, JobPriority } from '../domain/job.js';
import type { JobNotes } from '../domain/job-view.js';
import type { Release, ReleaseImage, ReleaseName, ReleaseSpec, Rollout, RolloutProgress, RolloutStep } from '../domain/release.js';
import type { ScaleRecord } from '../domain/scale-record.js';
import type { Secret } from '../domain/secret.js';
import type { ChunkPart } from '../domain/stream.js';
import type { TestSummary } from '../domain/test-report.js';
import type { Worker } from '../domain/worker.js';
import type { ImageSize } from '../oci/manifest.js';
import type { ChunkRequest, JobFilter, ReleaseRange, Store, WebhookSecret } from '../store/store.js';
import type { Batches } from './batch.js';
import type { DecisionFilter } from './decisions.js';
import type { LogFilter, LogLine } from './log-line.js';
import type { Meter } from './meter.js';
import type { EndpointFigures, EndpointSummary, EndpointWhy, JobWhy } from './reports.js';
import type { HostView } from './room.js';
import type { Runtimes } from './runtimes.js';
import type { WebhookTargets } from './webhook-target.js';

/** How the engine reaches images: functions handed in by compose, so that the engine knows no registry. */
export interface Images {
  /** Resolves a reference to the digest of the platform's manifest and retains every blob in the embedded registry. Throws IMAGE_UNKNOWN, REGISTRY_UNAVAILABLE. */
  resolve(reference: string, retainAs: { readonly endpointId: string; readonly credential?: string }): Promise<ReleaseImage>;
  /** Retains an image of one endpoint for another, without a look at any tag or other registry. Throws IMAGE_UNKNOWN, BLOB_UNKNOWN. */
  retainFor(image: ReleaseImage, retainAs: { readonly endpointId: string }): Promise<ReleaseImage>;
  /** Re-hashes every blob of the image from disk (skipping unchanged files). Throws DIGEST_MISMATCH. */
  verify(image: ReleaseImage): Promise<void>;
  /** Throws IMAGE_UNKNOWN. */
  measure(image: ReleaseImage): Promise<ImageSize>;
  /** `linux/arm64`: what the image's programs are made for. Throws as `verify` does. */
  platformOf(image: ReleaseImage): Promise<string>;
}

/** How the engine reaches models, handed in as images are. Models are texts as `domain/model` reads them. */
export interface Models {
  /** The model with the commit that its revision names now. Throws MODEL_UNKNOWN, DENIED, MODEL_UNAVAILABLE. */
  resolve(model: string, token: string | undefined): Promise<string>;
  /** Brings models to this machine unless they are there; `onProgress` gets lines about it. Throws as `resolve` does. */
  fetch(
    models: readonly string[],
    options: { readonly token: string | undefined; readonly onProgress: (text: string) => void; readonly signal: AbortSignal },
  ): Promise<{ readonly cacheDir: string; readonly folders: readonly string[] }>;
}

export interface EngineOptions {
  readonly store: Store;
  readonly runtimes: Runtimes;
  readonly images: Images;
  readonly modelCache: Models;
  /** Of this machine, as images name it. */
  readonly platform: string;
  readonly clock: Clock;
  /** How far the wall clock was set back between servers: what is ordered by time and cannot be moved begins so much later. */
  readonly clockBehindMs: number;
  readonly log: Log;
  readonly faults: Faults;
  /** Closes the secrets that are stored. */
  readonly seal: Seal;
  readonly webhookTargets: WebhookTargets;
  readonly meter: Meter;
  /** Directory of the log segments. */
  readonly logsDir: string;
  /** How much memory frozen workers may hold together; 0: none is frozen. */
  readonly frozenMemoryBytes: number;
  /** Frees disk that nothing known to the store needs, nor an endpoint that is being made; called from time to time. */
  readonly sweepFiles?: (isBeingMade: (endpointId: string) => boolean) => Promise<void>;
  /** Lets go of what is remembered of an endpoint elsewhere (its keys), once it is removed. */
  readonly forgetEndpoint: (endpointId: string) => void;
  /** What this host has for workers. */
  readonly capacity: HostCapacity;
  /**
   * Base URL under which a worker reaches this server, without a final slash; known once the server listens. Throws RUNTIME_UNAVAILABLE
   * when its runtime is away.
   */
  readonly workerUrl: (worker: Pick<Worker, 'runtime' | 'endpointId'>) => Promise<string>;
}

export interface NewEndpoint {
  readonly id: string;
  readonly name?: string;
  readonly settings: EndpointSettings;
  readonly labels?: Labels;
  /** The server removes it by itself so long after now; absent: never. */
  readonly expiresInMs?: number;
}

/** Fields that are absent stay. */
export interface EndpointUpdate {
  readonly name?: string;
  readonly settings?: EndpointSettings;
  readonly isPaused?: boolean;
  /** Counted from now; null: it is kept until somebody removes it. */
  readonly expiresInMs?: number | null;
}

export interface Submission {
  readonly endpointId: string;
  readonly input: string;
  readonly extras: string | null;
  readonly isSync: boolean;
  /** `normal` when absent. */
  readonly priority?: JobPriority;
  readonly executionTimeoutMs?: number;
  readonly ttlMs?: number;
  /** An http or https URL. */
  readonly webhook?: string;
  readonly batchId?: string;
  /** A second submission with the same key is the first one's job. */
  readonly idempotencyKey?: string;
  /** Only workers of this release may run it. */
  readonly pinnedRelease?: number;
}

export interface Health {
  readonly jobs: JobCounts;
  readonly workers: Readonly<Record<'idle' | 'initializing' | 'ready' | 'running' | 'throttled' | 'unhealthy', number>>;
}

/** A reference, which is resolved once, with the named credential where there is one; or a release, whose image is taken as it was resolved then. */
export type DeployOrigin = { readonly reference: string; readonly credential?: string } | { readonly release: ReleaseName };

export interface DeployRequest {
  /** Makes the endpoint, in one step with its first release. */
  readonly endpoint?: Omit<NewEndpoint, 'id'>;
  readonly from: DeployOrigin;
  readonly spec: ReleaseSpec;
  readonly author: string;
  /** Of a reference; a release has its own. */
  readonly sourceRevision: string | null;
  /** A rollout that is still open gives way instead of refusing this one with ROLLOUT_OPEN. */
  readonly isSuperseding?: boolean;
  /** Percent of new jobs it gets once it is proved, until it is promoted; absent: all. */
  readonly share?: number;
  /** Once it is proved its candidate waits so long to be promoted; absent: it serves at once. */
  readonly holdMs?: number;
}

/** A deploy or rollback that changed no release field makes no release: then `rollout` is null and `release` the active one. */
export interface DeployResult {
  readonly release: Release;
  readonly rollout: Rollout | null;
  readonly warnings: readonly string[];
  readonly size: ImageSize;
}

/** The body of job-done (worker-protocol §6.2), parsed as JSON whatever its content type; undefined when it was not JSON. */
export type JobDoneBody = Readonly<Record<string, unknown>> | undefined;

/** Which job, named as a client does. */
export interface JobName {
  readonly endpointId: string;
  readonly jobId: string;
}

export interface DeliveryFilter {
  readonly endpointId: string;
  readonly state?: DeliveryState;
  readonly jobId?: string;
  readonly limit: number;
}

/** Which delivery, named as a client does. */
export interface DeliveryName {
  readonly endpointId: string;
  readonly deliveryId: string;
}

/** A signing secret without the secret. Moments in milliseconds. */
export type WebhookSecretFacts = Pick<WebhookSecret, 'createdAt' | 'expiresAt'>;

/** A stored secret without its value. */
export interface SecretFacts extends Omit<Secret, 'sealed'> {
  /** Releases in use that refer to it, as `staging@r17`. */
  readonly usedBy: readonly string[];
}

/** How the secret is changed: a new one signs from now on, those before it `overlapMs` longer. */
export interface SecretRotation {
  readonly isRotation: boolean;
  readonly overlapMs: number;
}

/** A look at a job's stream; `after` as in the store's ChunkRequest. */
export interface StreamRead extends JobName {
  readonly after: ChunkRequest['after'];
}

/** What /stream answers: the job and the chunks that were asked for. */
export interface StreamPart extends ChunkPart {
  readonly job: Job;
}

/** A chunk as a worker posts it. */
export interface ChunkPost {
  readonly workerId: string;
  readonly jobId: string;
  /** JSON text. */
  readonly output: string;
  /** Its number in this try, from 1, when the worker counts (ours do). */
  readonly post?: number;
}

/** What a worker says of itself. */
export interface PingReport {
  readonly jobIds: readonly string[];
  /** The worker's own verdict, when it is one: it is then replaced. */
  readonly unhealthy?: string;
}

/** What a worker gets for a job: the body of a take. */
export interface TakenJob {
  readonly id: string;
  /** JSON text of the whole job object (worker-protocol §4.4). */
  readonly body: string;
}

export interface TakeOptions {
  readonly limit: number;
  /** The worker says it holds a job already. */
  readonly isBusy: boolean;
  /** Aborts when the worker's connection closes. */
  readonly signal: Ending;
  /** Called when there is no job at once, each time before it waits. */
  readonly onHold?: () => void;
}

/** What a worker posts about a job. */
export interface Report {
  readonly jobId: string;
  readonly body: JobDoneBody;
  /** Text of `body.output` as it was sent. */
  readonly rawOutput?: string | undefined;
  /** The worker asks for its next job with its result (ADR 11); aborts when its connection closes. */
  readonly next?: Ending;
}

export interface Done {
  /** The post ended the job. */
  readonly isEnd: boolean;
  /** The next job, when it was asked for and there was one at once. */
  readonly next: TakenJob | undefined;
}

/** The use-cases and the control loop. Every promise rejects with a WherryError only. */
export interface Engine {
  /** Adopts what runs, begins the control loop. */
  start(): Promise<void>;
  /** Ends held polls and loops; workers stay for the next server. */
  stop(): Promise<void>;
  /** Stops every worker, waiting up to the grace for running jobs. */
  stopWorkers(graceMs: number): Promise<void>;

  /** Durable once resolved. Throws ENDPOINT_UNKNOWN, REQUEST_INVALID (a webhook that cannot be), TOOMANYREQUESTS, IDEMPOTENCY_KEY_REUSED, STORE_UNAVAILABLE. */
  submit(submission: Submission): Promise<Job>;
  /** The job once terminal, or as it is when the time is over or the signal aborts. Throws JOB_UNKNOWN. */
  waitFor(job: { readonly endpointId: string; readonly jobId: string }, timeoutMs: number, signal: Ending): Promise<Job>;
  /** Throws JOB_UNKNOWN, also for a job of another endpoint and past its retention. */
  getJob(endpointId: string, jobId: string): Promise<Job>;
  /** Why a queued job waits, or how the cold start of another one went. */
  noteJob(job: Job): Promise<JobNotes>;
  listJobs(filter: JobFilter): Promise<readonly JobFacts[]>;
  /** Idempotent on terminal jobs. Throws JOB_UNKNOWN. */
  cancel(endpointId: string, jobId: string): Promise<Job>;
  /** A new run of a FAILED or TIMED_OUT job. Throws JOB_UNKNOWN, JOB_EXPIRED, JOB_NOT_RETRYABLE. */
  retry(endpointId: string, jobId: string): Promise<Job>;
  /** Lets the record of an ended job go after `keepMs` when that is earlier. Throws JOB_UNKNOWN, JOB_EXPIRED. */
  shortenRetention(job: JobName, keepMs: number): Promise<void>;
  /** The chunks no reader got yet, held until there is one or the job ended. Throws JOB_UNKNOWN, JOB_EXPIRED. */
  readStream(read: StreamRead, timeoutMs: number, signal: Ending): Promise<StreamPart>;
  /** All chunks from the first on, whoever else reads them, until the job ended. Throws JOB_UNKNOWN, JOB_EXPIRED, JOB_RESTARTED. */
  followStream(job: JobName, signal: Ending): AsyncIterable<readonly string[]>;
  /** Many requests sent together. */
  readonly batches: Batches;
  /** Number of queued jobs ended. */
  purge(endpointId: string): Promise<number>;
  health(endpointId: string): Promise<Health>;

  /** That worker when the token is its own, of whatever endpoint; else undefined. */
  authenticateWorker(token: string, workerId: string): Promise<Worker | undefined>;
  /** Held up to 25 s; empty when there is no job. */
  take(workerId: string, options: TakeOptions): Promise<readonly TakenJob[]>;
  /** Ids of jobs the worker should stop; held up to 25 s. */
  stops(workerId: string, signal: Ending): Promise<readonly string[]>;
  ping(worker: Worker, report: PingReport): Promise<void>;
  /** A chunk of a job's stream. Late, foreign and repeated ones are ignored. */
  addChunk(post: ChunkPost): Promise<void>;
  /** Settles, or records progress. Late and foreign posts are ignored. Durable once resolved. */
  done(worker: Worker, report: Report): Promise<Done>;

  /** Throws NAME_TAKEN, NAME_INVALID. */
  createEndpoint(request: NewEndpoint): Promise<Endpoint>;
  /** Throws ENDPOINT_UNKNOWN. */
  updateEndpoint(id: string, change: EndpointUpdate): Promise<Endpoint>;
  /** Throws ENDPOINT_UNKNOWN. */
  getEndpoint(id: string): Promise<Endpoint>;
  listEndpoints(): Promise<readonly Endpoint[]>;
  /** Stops its workers and removes everything of it. */
  removeEndpoint(id: string): Promise<void>;
  /** Throws what {@link Images} and {@link Models} do, RUNTIME_REFUSED, ROLLOUT_OPEN, ENDPOINT_UNKNOWN, and NAME_TAKEN when it was to make one that is there. */
  deploy(endpointId: string, request: DeployRequest): Promise<DeployResult>;
  /** Without `release`: the one that served before the active one. */
  rollback(endpointId: string, request: { readonly release?: number; readonly author: string }): Promise<DeployResult>;
  /** Throws ENDPOINT_UNKNOWN, RELEASE_UNKNOWN. */
  getRelease(endpointId: string, number: number): Promise<Release>;
  /** Newest first. */
  listReleases(endpointId: string, range?: ReleaseRange): Promise<readonly Release[]>;
  /** Keeps the report of a release's tests in place of an earlier one; `text` is JSON. Throws ENDPOINT_UNKNOWN, RELEASE_UNKNOWN. */
  putReport(name: ReleaseName, report: { readonly summary: TestSummary; readonly text: string }): Promise<void>;
  /** As it was given. Throws ENDPOINT_UNKNOWN, RELEASE_UNKNOWN, REPORT_UNKNOWN. */
  getReport(name: ReleaseName): Promise<string>;
  /** How the tests of releases of one endpoint went, by number; without those that have no report. */
  readTests(releases: readonly Release[]): Promise<ReadonlyMap<number, TestSummary>>;
  /** Newest first, with how far the newest is. */
  listRollouts(endpointId: string, range?: ReleaseRange): Promise<readonly RolloutProgress[]>;
  /** Promotes or aborts the open rollout (`to`, when it is given), or changes its share. Throws ROLLOUT_UNKNOWN, ROLLOUT_NOT_READY. */
  stepRollout(endpointId: string, step: RolloutStep & { readonly to?: number }): Promise<Rollout>;
  /** The rollout to that release once nothing more happens to it by itself, or as it is when time is over. */
  waitRollout(endpointId: string, to: number, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<Rollout>;

  /** Newest first. Throws ENDPOINT_UNKNOWN. */
  listDeliveries(filter: DeliveryFilter): Promise<readonly Delivery[]>;
  /** Throws ENDPOINT_UNKNOWN, DELIVERY_UNKNOWN. */
  getDelivery(name: DeliveryName): Promise<{ readonly delivery: Delivery; readonly body: string }>;
  /** Sends again, with the same id and body. Throws ENDPOINT_UNKNOWN, DELIVERY_UNKNOWN. */
  redeliver(name: DeliveryName): Promise<Delivery>;
  /** The secret is shown only here. Throws ENDPOINT_UNKNOWN, SECRET_EXISTS. */
  makeWebhookSecret(endpointId: string, rotation: SecretRotation): Promise<WebhookSecretFacts & { readonly secret: string }>;
  /** Those that sign now, newest first. Throws ENDPOINT_UNKNOWN. */
  listWebhookSecrets(endpointId: string): Promise<readonly WebhookSecretFacts[]>;
  /** Throws ENDPOINT_UNKNOWN. */
  removeWebhookSecrets(endpointId: string): Promise<void>;

  /** Keeps a value in place of the one before; workers that have that one finish their jobs and end. */
  putSecret(name: string, value: string): Promise<SecretFacts>;
  listSecrets(): Promise<readonly SecretFacts[]>;
  /** Throws SECRET_UNKNOWN and, unless `isForced`, SECRET_IN_USE. */
  removeSecret(name: string, isForced: boolean): Promise<void>;

  /** What the scaler decided and why, newest first. Throws ENDPOINT_UNKNOWN. */
  listDecisions(filter: DecisionFilter): Promise<readonly ScaleRecord[]>;
  /** The machine as all endpoints share it. */
  host(): HostView;
  /** With `all` also stopped ones. The reason of a throttled one is what it waits for. */
  listWorkers(endpointId: string, all: boolean): Promise<readonly Worker[]>;
  /** The releases that get jobs. Throws ENDPOINT_UNKNOWN. */
  listServing(endpointId: string): Promise<ReadonlySet<number>>;
  /** Ids of the jobs that each of these workers has. */
  listHeld(workers: readonly Worker[]): Promise<ReadonlyMap<string, readonly string[]>>;
  /** What holds a job, or how it went. Throws JOB_UNKNOWN, JOB_EXPIRED. */
  explainJob(job: { readonly endpointId?: string; readonly jobId: string }): Promise<JobWhy>;
  /** How an endpoint is, and what holds its queue. Throws ENDPOINT_UNKNOWN. */
  explainEndpoint(endpointId: string): Promise<EndpointWhy>;
  /** Each endpoint at a glance, by its id. */
  summarize(): Promise<ReadonlyMap<string, EndpointSummary>>;
  /** What metrics show of each endpoint at this moment. */
  measure(): Promise<readonly EndpointFigures[]>;
  readLogs(filter: LogFilter): Promise<readonly LogLine[]>;
  /** Lines after `afterId` and then live, until the signal aborts. */
  followLogs(filter: LogFilter & { readonly afterId?: string }, signal: AbortSignal): AsyncIterable<LogLine>;
}
