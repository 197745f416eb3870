/** Worker states; the drawing is in docs/states.md. THROTTLED means wanted but nothing runs. */
export const WORKER_STATES = ['THROTTLED', 'INITIALIZING', 'IDLE', 'RUNNING', 'FROZEN', 'DRAINING', 'UNHEALTHY', 'STOPPED'] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

export const WORKER_EDGES: Readonly<Record<WorkerState, readonly WorkerState[]>> = {
  THROTTLED: ['INITIALIZING', 'STOPPED'],
  INITIALIZING: ['IDLE', 'DRAINING', 'UNHEALTHY', 'STOPPED'],
  IDLE: ['RUNNING', 'FROZEN', 'DRAINING', 'UNHEALTHY', 'STOPPED'],
  RUNNING: ['IDLE', 'DRAINING', 'UNHEALTHY', 'STOPPED'],
  FROZEN: ['IDLE', 'DRAINING', 'UNHEALTHY', 'STOPPED'],
  DRAINING: ['UNHEALTHY', 'STOPPED'],
  UNHEALTHY: ['STOPPED'],
  STOPPED: [],
};

/** How a worker came to run: a new process, a fork of a prepared one, a container, one whose image had to be fetched, one that was frozen. */
export const START_PATHS = ['spawn', 'fork', 'create', 'pull', 'thaw'] as const;
export type StartPath = (typeof START_PATHS)[number];

/** How a worker was started, beside its own moments. Milliseconds since the epoch. */
export interface WorkerStart {
  readonly path: StartPath;
  /** The image was ready to run. */
  readonly preparedAt: number;
  /** Bytes that had to be brought here; 0 when they were here. */
  readonly bytes: number;
  readonly isCached: boolean;
  /** Its place (directories, container) was made. */
  readonly madeAt: number;
  /** The runtime said that it runs. */
  readonly startedAt: number;
}

/** One time that a frozen worker was woken. Milliseconds since the epoch. */
export interface Thaw {
  readonly decidedAt: number;
  /** The runtime said that it goes on. */
  readonly startedAt: number;
  /** It asked for work. */
  readonly readyAt: number;
}

/** So many are kept of a worker: enough for the jobs whose results are. */
const THAWS_KEPT = 32;

/** The text that keeps thaws, with one more; the oldest go. */
export function addThaw(thaws: string | null, { decidedAt, startedAt, readyAt }: Thaw): string {
  const known = (JSON.parse(thaws ?? '[]') as unknown[]).slice(1 - THAWS_KEPT);
  return JSON.stringify([...known, [decidedAt, startedAt, readyAt]]);
}

/** The thaws in a text of {@link addThaw}, oldest first. */
export function parseThaws(thaws: string | null): readonly Thaw[] {
  const known = JSON.parse(thaws ?? '[]') as readonly (readonly [number, number, number])[];
  return known.map(([decidedAt, startedAt, readyAt]) => ({ decidedAt, startedAt, readyAt }));
}

/** The cold start of a job, step by step: milliseconds after its submission, null for a step that is not known. */
export interface Timeline {
  /** RFC 3339. */
  readonly acceptedAt: string;
  readonly path: StartPath | null;
  readonly decide: number | null;
  readonly pull: { readonly at: number | null; readonly bytes: number; readonly cached: boolean } | null;
  readonly create: number | null;
  readonly start: number | null;
  readonly ready: number | null;
  readonly take: number | null;
  readonly done: number | null;
}

/** One running instance of one release. */
export interface Worker {
  readonly id: string;
  readonly endpointId: string;
  readonly release: number;
  readonly state: WorkerState;
  /** SHA-256 hex of the worker's token; the token opens only this worker's routes. */
  readonly tokenHash: string;
  readonly runtime: string;
  /** Runtime's handle as JSON text; null until it started. */
  readonly handle: string | null;
  /** Ids of the GPUs that it has for itself; null while it is throttled, and in rows of versions that gave numbers of them. */
  readonly gpus: readonly string[] | null;
  /** Started to prove its release; above `max`, counted apart. */
  readonly isCandidate: boolean;
  /** Since when it is wanted. */
  readonly createdAt: number;
  /** When there was room for it on the host, which most find at once; null while it is throttled. */
  readonly admittedAt: number | null;
  /** Null until it runs. */
  readonly start: WorkerStart | null;
  /** First take or ping. */
  readonly readyAt: number | null;
  readonly lastSeenAt: number | null;
  /** Since when it has no job; null while it has one or starts. */
  readonly idleSince: number | null;
  /** Since when it is frozen; null while it is not. */
  readonly frozenAt: number | null;
  /** Memory it holds frozen, in bytes; null while it is not. */
  readonly memoryBytes: number | null;
  /** Its last thaws, as a text that {@link parseThaws} reads: workers are read often, these are not. */
  readonly thaws: string | null;
  readonly stoppedAt: number | null;
  readonly exitCode: number | null;
  /** Why it stopped or is unhealthy. */
  readonly reason: string | null;
}
