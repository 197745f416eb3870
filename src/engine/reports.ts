import type { CrashLoop } from '../domain/crashes.js';
import type { Endpoint } from '../domain/endpoint.js';
import type { FrozenTotal } from '../domain/frozen.js';
import type { Job } from '../domain/job.js';
import type { JobNotes } from '../domain/job-view.js';
import type { Release, RolloutProgress } from '../domain/release.js';
import type { Waiting } from '../domain/waiting.js';
import type { Worker, WorkerState } from '../domain/worker.js';
import type { QueueSample } from '../store/store.js';
import type { LogLine } from './log-line.js';

/** An endpoint in numbers, as it is at one moment. */
export interface EndpointFigures {
  readonly endpoint: Endpoint;
  readonly queue: QueueSample;
  /** STOPPED: those whose records and logs are kept. */
  readonly workers: Readonly<Record<WorkerState, number>>;
  /** Live workers of releases that do not serve. */
  readonly outdated: number;
  readonly frozen: FrozenTotal;
  /** Of the release that serves; null without crashes since its last success. */
  readonly crashLoop: CrashLoop | null;
  /** Why it is at rest, with fewer workers than min; null while it is not. */
  readonly rest: string | null;
  /** The newest one, while it is open or workers of other releases are left. */
  readonly rollout: RolloutProgress | null;
}

/** An endpoint at a glance. */
export interface EndpointSummary extends Pick<EndpointFigures, 'frozen' | 'rollout'> {
  /** Its health in one sentence. */
  readonly text: string;
}

/** A worker that ended by itself, or could not be started. */
export interface Crash {
  readonly workerId: string;
  readonly release: number;
  readonly at: number;
  readonly reason: string;
  /** False when the runtime could not start it. */
  readonly isStarted: boolean;
  readonly exitCode: number | null;
  /** What it printed last, oldest first. */
  readonly lines: readonly string[];
}

/** All there is to say about one job: why it waits, or how it went. */
export interface JobWhy {
  readonly job: Job;
  readonly notes: JobNotes;
  /** The one that has or had it; undefined before its first claim, and once its record is gone. */
  readonly worker: Worker | undefined;
  readonly release: Release | undefined;
  /** Its last lines; those of its worker when it printed none and failed. */
  readonly lines: readonly LogLine[];
}

/** A row of crashes, with the newest. */
export interface CrashReport extends Pick<CrashLoop, 'crashes' | 'nextStartAt'> {
  /** So many pause the endpoint. */
  readonly budget: number;
  readonly last: Crash | null;
}

/** How an endpoint is, and what holds its queue. */
export interface EndpointWhy {
  readonly endpoint: Endpoint;
  readonly summary: string;
  readonly queue: QueueSample;
  readonly workers: Readonly<Record<WorkerState, number>>;
  /** Why the oldest queued job waits; null when none does. */
  readonly waiting: Waiting | null;
  readonly crashLoop: CrashReport | null;
  /** The newest one, while it is open or workers of other releases are left. */
  readonly rollout: RolloutProgress | null;
  /** How far the next release is that is not stored yet; null while nobody deploys. */
  readonly preparing: string | null;
  /** The one that serves. */
  readonly release: Release | null;
}
