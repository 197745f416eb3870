import type { Job } from '../domain/job.js';
import type { Rollout } from '../domain/release.js';
import type { Worker } from '../domain/worker.js';
import type { ModelPlace } from '../runtime/runtime.js';
import type { Births } from './births.js';
import type { Decisions } from './decisions.js';
import type { EngineOptions } from './engine.js';
import type { Logs } from './logs.js';
import type { Polls } from './polls.js';
import type { Crash } from './reports.js';
import type { Host, Places } from './room.js';
import type { Stops } from './stop-list.js';
import type { Waiters } from './waiters.js';

/** What the use-cases share. */
export interface Core extends EngineOptions {
  readonly logs: Logs;
  /** Workers that wait for jobs. */
  readonly polls: Polls;
  /** Workers that wait to be told which jobs to stop; woken when there may be something to say. */
  readonly stopPolls: Waiters<true>;
  readonly stops: Stops;
  readonly jobWaiters: Waiters<Job>;
  /** Readers of a job's stream; woken by each chunk and by the end. */
  readonly streamWaiters: Waiters<true>;
  /** When a confirmed job was first missing from the pings of its worker, by job. */
  readonly missedPings: Map<string, number>;
  /** By `endpointId/to`. */
  readonly rolloutWaiters: Waiters<Rollout>;
  readonly fleet: Fleet;
  readonly freezer: Freezer;
  readonly host: Host;
  readonly places: Places;
  readonly models: ModelStarts;
  readonly decisions: Decisions;
  readonly webhooks: WebhookSender;
  /** Which job each worker had when, to put its output to the right job. */
  readonly occupations: Occupations;
  /** When each worker was heard of last; kept in memory, because it changes with every request and a restart gives a new lease anyway. */
  readonly seen: Map<string, number>;
  /** When this server began: nobody could be heard of before. */
  readonly startedAt: number;
  /** Recent queue lengths by endpoint; `pending` are submissions that are not in the store yet. */
  readonly depths: Map<string, { at: number; count: number; pending: number }>;
  /** When the last request came by endpoint; kept in memory, because it changes with every request. */
  readonly requests: Map<string, number>;
  /** Endpoints whose workers do not all take the same jobs: a wake-up may find nobody who can. Noted by each look of the control loop. */
  readonly split: Set<string>;
  /** What a runtime said last about a worker, for those that wait for it. */
  readonly lastNotes: Map<string, string>;
  /** What is done for the next release of an endpoint before it is stored: its image is pulled. */
  readonly preparations: Map<string, string>;
  /** The worker that crashed last, by endpoint: asked for by everybody who waits. */
  readonly lastCrashes: Map<string, Crash>;
  /** Endpoints that are being removed: nothing of them is started or accepted any more. */
  readonly removals: Map<string, Removal>;
  readonly births: Births;
  /** True from the moment the engine stops: what is under way must not reach for the store any more. */
  readonly life: { isStopped: boolean };
  /** Something changed that may need workers started or stopped. */
  readonly wake: (endpointId: string) => void;
}

/** Starting and stopping of workers, which every use-case may ask for. */
export interface Fleet {
  /**
   * One more worker. Resolves when its row is stored: INITIALIZING, and then it starts beside, or THROTTLED while the host has no room.
   * One that `isExtra` does not wait for room: then there is none. Undefined when there is no worker. Throws RELEASE_UNKNOWN, RUNTIME_REFUSED, RUNTIME_UNAVAILABLE.
   */
  start(
    endpointId: string,
    release: number,
    options: { readonly isCandidate: boolean; readonly isExtra?: boolean },
  ): Promise<{ readonly id: string; readonly isStarted: boolean } | undefined>;
  /** THROTTLED → INITIALIZING when the host has room for it and it is its turn. */
  admit(worker: Worker): Promise<boolean>;
  /** Resolves when no start is under way, of one endpoint or of all. */
  settle(endpointId?: string): Promise<void>;
  /**
   * No more jobs; SIGTERM, `graceMs`, SIGKILL. Without `graceMs` the jobs it holds may run as long as they are allowed to.
   * Resolves when nothing of it runs. Idempotent: the shortest grace asked for counts.
   */
  drain(workerId: string, options: { readonly reason: string; readonly graceMs?: number }): Promise<void>;
  /** True while a stop is under way, and for a moment after one that failed. */
  isStopping(workerId: string): boolean;
  /** First sign of life: INITIALIZING → IDLE; a candidate proves its release. Gives the worker as it is then. Throws WORKER_UNKNOWN. */
  markReady(workerId: string): Promise<Worker>;
  /** The runtime says it is gone. */
  recordExit(workerId: string, exit: WorkerExit): Promise<void>;
  /** Why starts of the endpoint wait for its runtime; undefined when they do not. */
  outageOf(endpointId: string): string | undefined;
  /** A job was settled, so that the release's workers do work; or it serves no more. Without a release: everything begins anew for the endpoint. */
  forgetCrashes(endpointId: string, release?: number): void;
}

/** The frozen workers of all endpoints: suspended with what they have in memory, within the server's budget. */
export interface Freezer {
  /** Whether an idle worker like this one is frozen at all: its runtime can, and there is a budget. */
  isAble(worker: Worker): boolean;
  /** IDLE → FROZEN, unless it got a job meanwhile; one that cannot be frozen is stopped. */
  freeze(worker: Worker): void;
  /** Wakes frozen workers of a release, the last frozen first, for they are the warmest; gives how many of `count` there were. */
  thaw(of: { readonly endpointId: string; readonly release: number }, count: number): number;
  /** Ids of the workers of a release that were woken since this was asked last: some are without a look of the control loop. */
  takeThawed(of: { readonly endpointId: string; readonly release: number }): readonly string[];
  /** While the worker is being thawed: resolves when it may take jobs. */
  waking(workerId: string): Promise<void> | undefined;
  /** Since when a worker that was thawed has not asked for work. */
  awaitedSince(workerId: string): number | undefined;
  /** It asks for work; gives it with its thaw, which is stored a moment later. */
  hear(worker: Worker): Worker;
  /** It is stopped or gone; resolves when no freezing or thawing of it is under way. */
  leave(workerId: string): Promise<void>;
  /** Workers that a former server left: each is brought into the state that the store has. */
  adopt(workers: readonly Worker[]): void;
  /** Waits for what is under way. */
  stop(): Promise<void>;
}

/** Models that workers wait for before they start. */
export interface ModelStarts {
  /** Brings them to this machine; undefined when the wait was given up. Throws MODEL_UNKNOWN, DENIED, MODEL_UNAVAILABLE. */
  bring(worker: Pick<Worker, 'id' | 'endpointId'>, wanted: WantedModels): Promise<readonly ModelPlace[] | undefined>;
  /** Nobody waits any more for the models of a worker, or of an endpoint's. */
  giveUp(of: { readonly workerId: string } | { readonly endpointId: string }): void;
  /** When the worker's time to become ready began, which is after its models came; undefined for one that has none. */
  broughtAt(workerId: string): number | undefined;
  forget(workerId: string): void;
}

export interface WantedModels {
  /** With commits. */
  readonly models: readonly string[];
  /** Of the worker: HF_TOKEN opens private ones. */
  readonly env: Readonly<Record<string, string>>;
}

/** A removal under way. */
export interface Removal {
  readonly done: Promise<void>;
  /** Waits for its workers no longer: that may take longer than a stop may. */
  readonly giveUp: () => void;
}

/** How a worker ended. */
export interface WorkerExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** What the runtime knows besides code and signal. */
  readonly cause?: string;
  /** Why this server ended it, or could not start it. */
  readonly reason?: string;
  /** With the machine, the supervisor, the engine or while no server was there, so that it says nothing about its release. */
  readonly isLost?: boolean;
}

/** Sends what is due. What is on disk decides: after a crash everything due is sent again, with the same id. */
export interface WebhookSender {
  /** Looks at every endpoint; deliveries of an earlier server are due at once. */
  start(): Promise<void>;
  /** Gives up what is under way, which stays due. */
  stop(): Promise<void>;
  /** The endpoint may have something due. Never waits. */
  wake(endpointId: string): void;
}

export interface Occupations {
  begin(workerId: string, jobId: string, at: number): void;
  end(workerId: string, jobId: string, at: number): void;
  /** The job whose line this is: exact for one job at a time. */
  jobAt(workerId: string, at: number): string | null;
  forget(workerId: string): void;
}

interface Span {
  readonly jobId: string;
  readonly from: number;
  to: number;
}

/** Lines are stamped by the supervisor, whose clock may be a little off the server's. */
const CLOCK_SLACK_MS = 50;
/** Spans kept a worker: output arrives a moment after the job ended. */
const SPANS_KEPT = 32;

export function createOccupations(): Occupations {
  const spans = new Map<string, Span[]>();
  return {
    begin: (workerId, jobId, from) => {
      const list = spans.get(workerId) ?? [];
      spans.set(workerId, [...list.slice(-SPANS_KEPT), { jobId, from, to: Number.POSITIVE_INFINITY }]);
    },
    end: (workerId, jobId, at) => {
      const span = spans.get(workerId)?.findLast((candidate) => candidate.jobId === jobId);
      if (span) span.to = at;
    },
    jobAt: (workerId, at) => {
      const within = (slackMs: number) =>
        spans.get(workerId)?.findLast(({ from, to }) => at >= from - slackMs && at <= to + slackMs)?.jobId;
      return within(0) ?? within(CLOCK_SLACK_MS) ?? null;
    },
    forget: (workerId) => {
      spans.delete(workerId);
    },
  };
}

/** Three missed pings and slack (decision 17). */
export const PING_INTERVAL_MS = 10_000;
export const LEASE_MS = 3 * PING_INTERVAL_MS + 5_000;
/** How long polls are held: the oldest SDKs give up after 30 s. */
export const HOLD_MS = 25_000;
/** A job runs at most so often before it fails. */
export const ATTEMPTS = 3;
