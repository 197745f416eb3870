import type { DeliveryAttempt, DeliveryState } from '../domain/delivery.js';
import type { EndpointSettings, Labels } from '../domain/endpoint.js';
import type { JobState, TerminalState } from '../domain/job.js';
import type { KeyScope } from '../domain/key.js';
import type { ReleaseImage, ReleaseName, ReleaseSpec, RolloutState } from '../domain/release.js';
import type { WaitReason } from '../domain/waiting.js';
import type { StartPath, Timeline, WorkerState } from '../domain/worker.js';
import type { ImageSize } from '../oci/manifest.js';
import type { HostView } from './scaling.js';

/** What /api/v1 sends and takes. Moments are RFC 3339; `schema.ts` describes the same for the OpenAPI document. */
export interface EndpointView {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly settings: EndpointSettings;
  readonly activeRelease: number | null;
  readonly pausedReason: string | null;
  readonly createdAt: string;
  readonly labels: Labels;
  /** When the server removes it by itself; null: never. */
  readonly expiresAt: string | null;
}

export interface EndpointQuery {
  /** `NAME=VALUE`, or `NAME` for any value. */
  readonly label?: string;
}

export interface ReleaseView {
  readonly endpointId: string;
  readonly number: number;
  readonly createdAt: string;
  readonly author: string;
  readonly source: string;
  readonly sourceRevision: string | null;
  readonly image: ReleaseImage;
  readonly spec: ReleaseSpec;
  /** Of the report that was kept with it; null: none was. */
  readonly tests: TestSummaryView | null;
}

/** How the tests of a release went. */
export interface TestSummaryView {
  readonly passed: number;
  readonly failed: number;
  readonly at: string;
}

/** What is kept with a release: the summary, and whatever else who tested has to say. At most 1 MiB of JSON. */
export type TestReport = TestSummaryView & Readonly<Record<string, unknown>>;

export interface RolloutView {
  readonly endpointId: string;
  readonly from: number | null;
  readonly to: number;
  readonly share: number;
  readonly state: RolloutState;
  /** Why it was reverted, or why the server itself began it. */
  readonly reason: string | null;
  /** How long its proved candidate waits to be promoted; null: it does not wait. */
  readonly holdMs: number | null;
  /** When its candidate became ready. */
  readonly provedAt: string | null;
  readonly startedAt: string;
  readonly endedAt: string | null;
}

export interface RolloutProgressView extends RolloutView {
  /** Percent of the workers that run the release; null for all but the newest rollout, and when that was reverted. */
  readonly percentOnLatest: number | null;
}

/** What is to be done with the open rollout; `to` says which one is meant. */
export type RolloutStepBody =
  | { readonly action: 'promote'; readonly to?: number }
  | { readonly action: 'abort'; readonly to?: number; readonly reason?: string }
  | { readonly action: 'share'; readonly to?: number; readonly share: number };

export interface DeployView {
  readonly release: ReleaseView;
  readonly rollout: RolloutView | null;
  readonly warnings: readonly string[];
  readonly size: ImageSize;
}

/** What a release is made of: a reference to resolve, or the image of a release as it is. */
export type ReleaseOrigin = { readonly reference: string } | { readonly from: ReleaseName };

export interface WorkerView {
  readonly id: string;
  readonly endpointId: string;
  readonly release: number;
  readonly state: WorkerState;
  /** Of a release that does not serve any more (RunPod: outdated). */
  readonly isStale: boolean;
  readonly isCandidate: boolean;
  readonly createdAt: string;
  readonly readyAt: string | null;
  readonly lastSeenAt: string | null;
  readonly idleSince: string | null;
  readonly frozenAt: string | null;
  /** Held while it is frozen. */
  readonly memoryBytes: number | null;
  /** Ids of the GPUs that it has for itself. */
  readonly gpus: readonly string[];
  readonly runtime: string;
  /** How it came to run; null until it does. */
  readonly path: StartPath | null;
  /** Ids of the jobs that it has. */
  readonly jobs: readonly string[];
  readonly stoppedAt: string | null;
  readonly exitCode: number | null;
  readonly reason: string | null;
}

/** A job as the job API shows it (job-api §4), with what the management API knows besides. */
export interface JobView {
  readonly id: string;
  readonly status: JobState;
  readonly delayTime?: number;
  readonly executionTime?: number;
  readonly workerId?: string;
  readonly output?: unknown;
  readonly error?: unknown;
  /** Why it waits (extension B1). */
  readonly waiting?: WaitingView;
  /** How its cold start went (extension B8). */
  readonly timeline?: Timeline;
}

/** The new chunks of a stream. */
export interface StreamView {
  readonly id: string;
  readonly status: JobState;
  readonly stream: readonly { readonly output: unknown }[];
}

export interface JobRecordView extends JobView {
  readonly submittedAt: string;
  readonly finishedAt: string | null;
  readonly release: number | null;
  readonly attempt: number;
}

export interface HealthView {
  readonly jobs: Readonly<Record<'completed' | 'failed' | 'inProgress' | 'inQueue' | 'retried', number>>;
  readonly workers: Readonly<Record<'idle' | 'initializing' | 'ready' | 'running' | 'throttled' | 'unhealthy', number>>;
}

export interface LogLineView {
  readonly id: string;
  readonly at: string;
  readonly source: 'system' | 'container';
  readonly workerId: string;
  readonly jobId: string | null;
  readonly text: string;
}

/** A delivery of a webhook, of the log. */
export interface DeliveryView {
  readonly id: string;
  readonly endpointId: string;
  readonly jobId: string;
  readonly jobStatus: TerminalState;
  readonly url: string;
  readonly state: DeliveryState;
  readonly createdAt: string;
  readonly dueAt: string | null;
  /** Oldest first. */
  readonly attempts: readonly (Omit<DeliveryAttempt, 'at'> & { readonly at: string })[];
}

export interface DeliveryQuery {
  readonly state?: DeliveryState;
  readonly job?: string;
  readonly limit?: number;
}

/** When a secret was made, and until when it signs: null for the newest. */
export interface WebhookSecretView {
  readonly createdAt: string;
  readonly expiresAt: string | null;
}

/** How an endpoint's webhooks are sent. */
export interface WebhookView {
  /** How long a failing delivery is tried beyond the three tries (`limits.webhookRetryMs`). */
  readonly retryMs: number;
  /** Empty: deliveries are not signed. */
  readonly secrets: readonly WebhookSecretView[];
}

export interface KeyView {
  readonly id: string;
  readonly name: string;
  readonly scope: KeyScope;
  readonly endpointId: string | null;
  readonly isEnabled: boolean;
  readonly createdAt: string;
}

/** What opens a private registry, without its secret. */
export interface CredentialView {
  /** `host[:port]`, or with a path for the repositories below it. */
  readonly registry: string;
  /** Null for an identity token. */
  readonly username: string | null;
  readonly createdAt: string;
}

/** A secret without its value. */
export interface SecretView {
  readonly name: string;
  readonly createdAt: string;
  /** When it got the value that it has. */
  readonly updatedAt: string;
  /** Releases in use that refer to it, as `staging@r17`. */
  readonly usedBy: readonly string[];
}

/** The frozen workers of an endpoint, which its health counts as idle. */
export interface FrozenView {
  readonly workers: number;
  /** What they hold together. */
  readonly bytes: number;
  /** Since when the longest frozen one is; null without any. */
  readonly since: string | null;
}

export interface StatusView {
  readonly version: string;
  readonly startedAt: string;
  readonly host: HostView;
  /** `summary` is its health in one sentence; `rollout` the newest one, while it is open or workers of other releases are left. */
  readonly endpoints: readonly (EndpointView & {
    readonly health: HealthView;
    readonly summary: string;
    readonly frozen: FrozenView;
    readonly rollout: RolloutProgressView | null;
  })[];
}

/** What the embedded registry holds. */
export interface RegistryView {
  readonly blobs: number;
  readonly bytes: number;
  readonly unnamedBlobs: number;
  readonly unnamedBytes: number;
  readonly repositories: readonly {
    readonly repository: string;
    readonly tags: readonly string[];
    readonly manifests: number;
    readonly bytes: number;
    readonly exclusiveBytes: number;
  }[];
  readonly quotaBytes: number | null;
  readonly isReadOnly: boolean;
}

/** What a collection removed, or would. */
export interface CollectedView {
  readonly isDryRun: boolean;
  readonly repositories: readonly {
    readonly repository: string;
    readonly tags: readonly string[];
    readonly manifests: readonly string[];
    readonly blobs: number;
  }[];
  readonly skipped: readonly { readonly repository: string; readonly reason: string }[];
  readonly blobs: number;
  readonly freedBytes: number;
}

/** One line of a verification: progress, a fault, the end; `error` when it could not go on. */
export type VerifyLineView =
  | { readonly kind: 'progress'; readonly blobs: number; readonly bytes: number; readonly totalBlobs: number; readonly totalBytes: number }
  | VerifyFaultView
  | { readonly kind: 'end'; readonly blobs: number; readonly bytes: number; readonly faults: number }
  | { readonly kind: 'error'; readonly message: string };

export interface VerifyFaultView {
  readonly kind: 'fault';
  readonly fault: 'damaged' | 'missing' | 'size' | 'unreadable';
  readonly digest: string;
  readonly message: string;
  readonly neededBy: readonly string[];
  /** Where damaged bytes were moved to, on the server. */
  readonly setAside: string | null;
}

export interface LogQuery {
  readonly worker?: string;
  readonly job?: string;
  readonly release?: number;
  readonly source?: 'system' | 'container';
  /** RFC 3339: lines at or after, and before. */
  readonly since?: string;
  readonly until?: string;
  /** A regular expression (RE2) that the text has to match somewhere. */
  readonly grep?: string;
  readonly limit?: number;
}

/** Part of a list of releases or rollouts, newest first: only numbers below `before`. */
export interface ReleaseQuery {
  readonly before?: number;
  readonly limit?: number;
}

/** Why a job waits (extension B1). */
export interface WaitingView {
  readonly reason: WaitReason;
  readonly since: string;
  readonly evidence: string;
  readonly next: string;
}

/** What is known of one job: why it waits, or how it went. */
export interface JobWhyView {
  readonly endpointId: string;
  /** Without output. */
  readonly job: JobRecordView;
  readonly waiting: WaitingView | null;
  /** Of a job that waited for a cold start. */
  readonly timeline: Timeline | null;
  readonly worker: WorkerView | null;
  readonly image: { readonly release: number; readonly reference: string; readonly digest: string } | null;
  /** Its last lines; those of its worker when it printed none and failed. */
  readonly lines: readonly LogLineView[];
}

/** A row of workers that ended without finishing a job. */
export interface CrashLoopView {
  readonly crashes: number;
  /** So many pause the endpoint. */
  readonly budget: number;
  readonly nextStartAt: string;
  readonly last: {
    readonly workerId: string;
    readonly release: number;
    readonly at: string;
    readonly reason: string;
    readonly exitCode: number | null;
    readonly lines: readonly string[];
  } | null;
}

/** How an endpoint is, and what holds its queue. */
export interface EndpointWhyView {
  readonly endpointId: string;
  readonly summary: string;
  readonly pausedReason: string | null;
  readonly image: { readonly release: number; readonly reference: string; readonly digest: string } | null;
  readonly queue: { readonly waiting: number; readonly running: number; readonly oldestAt: string | null };
  readonly workers: Readonly<Record<WorkerState, number>>;
  /** Why the oldest job waits; null when none does. */
  readonly waiting: WaitingView | null;
  readonly crashLoop: CrashLoopView | null;
  /** The newest one, while it is open or workers of other releases are left. */
  readonly rollout: RolloutProgressView | null;
  /** How far the image of the next release is, while it is deployed; null while nobody deploys. */
  readonly preparing: string | null;
}

export interface JobQuery {
  readonly state?: string;
  readonly worker?: string;
  readonly limit?: number;
}
