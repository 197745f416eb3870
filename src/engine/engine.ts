import type { Clock } from '../base/clock.js';
import type { Faults } from '../base/faults.js';
import type { Log } from '../base/log.js';
import type { JobCounts } from '../domain/endpoint.js';
import type { Release, ReleaseImage, ReleaseSpec, Rollout } from '../domain/release.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Store } from '../store/store.js';

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
  readonly faults: Faults;
  /** Directory of the log segments. */
  readonly logsDir: string;
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
  /** `segment:offset`. */
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
