/**
 * The history of a chaos run: one JSON object a line, with `at` in milliseconds of the machine's monotonic clock, which
 * clients, killers and handlers share. Nothing here and in the checker comes from the product.
 */
export type Observation =
  /** A submission and what became of it; `unknown` when the connection broke before an answer. */
  | {
      readonly kind: 'submitted';
      readonly at: number;
      readonly endpoint: string;
      readonly outcome: 'acked' | 'refused' | 'unknown';
      readonly id?: string;
      readonly httpStatus?: number;
      readonly webhook?: boolean;
    }
  | { readonly kind: 'cancel-asked'; readonly at: number; readonly id: string }
  /** An answer about a job: `at` when it arrived, `askedAt` when it was asked for. MISSING is a 404. */
  | {
      readonly kind: 'observed';
      readonly at: number;
      readonly askedAt: number;
      readonly id: string;
      readonly status: string;
      readonly output?: unknown;
      readonly error?: unknown;
    }
  /** A stream chunk as a client got it; handlers number theirs from 0. */
  | { readonly kind: 'chunk'; readonly at: number; readonly id: string; readonly run: string; readonly index: number }
  | { readonly kind: 'webhook'; readonly at: number; readonly id: string; readonly status: string }
  /** Written by the handler itself. `exits` is its own decision to end the process. */
  | {
      readonly kind: 'execution';
      readonly phase: 'begins' | 'returns' | 'throws' | 'exits';
      readonly at: number;
      readonly id: string;
      readonly run: string;
      readonly pid: number;
      readonly worker: string;
      readonly endpoint: string;
      /** The mark of the code that runs: each deploy has its own. */
      readonly code: string;
    }
  | { readonly kind: 'killed'; readonly at: number; readonly target: 'server' | 'worker' | 'supervisor'; readonly worker?: string }
  | { readonly kind: 'paused'; readonly at: number; readonly worker: string; readonly forMs: number }
  | { readonly kind: 'restarted'; readonly at: number; readonly tookMs: number }
  /** Workers of an endpoint that count toward its max, as the API tells, and as processes that exist. */
  | { readonly kind: 'workers'; readonly at: number; readonly endpoint: string; readonly counted: number; readonly processes: number }
  /** The sum of an endpoint's jobs, with what was acked before it was asked for and submitted until it was answered. */
  | {
      readonly kind: 'counted';
      readonly at: number;
      readonly endpoint: string;
      readonly sum: number;
      readonly ackedBefore: number;
      readonly submittedAfter: number;
      readonly cancelsAfter: number;
    };

export type Execution = Extract<Observation, { kind: 'execution' }>;

/** What is left when everything came to rest. */
export interface Snapshot {
  /** Jobs by id, of those acked and of those that a handler saw; `status` is MISSING for a 404. */
  readonly jobs: readonly {
    readonly id: string;
    readonly endpoint: string;
    readonly status: string;
    readonly output?: unknown;
    readonly error?: unknown;
    readonly worker?: string;
    readonly attempt?: number;
    readonly release?: number;
  }[];
  readonly endpoints: readonly {
    readonly id: string;
    readonly max: number;
    readonly min: number;
    readonly attempts: number;
    /** Terminal jobs as the endpoint counts them. */
    readonly completed: number;
    readonly failed: number;
    readonly live: number;
    /** Workers that were awake when idle time and grace had passed. */
    readonly workersAtRest: number;
  }[];
  /** `code` is the mark of the handler that was deployed; `actual` the digest computed over the manifest's bytes on disk. */
  readonly releases: readonly {
    readonly endpoint: string;
    readonly number: number;
    readonly code: string;
    readonly digest: string;
    readonly actual: string | null;
    /** Blobs the manifest names, with what their bytes hash to. */
    readonly blobs: readonly { readonly digest: string; readonly actual: string | null }[];
  }[];
  readonly workers: readonly { readonly id: string; readonly endpoint: string; readonly release: number; readonly state: string }[];
  readonly webhooksFailed: readonly string[];
  /** Whatever should not exist after the stop: processes, sockets, private directories, uploads. */
  readonly leftovers: readonly string[];
  /** Secret values found where they must not be. */
  readonly leaks: readonly { readonly secret: string; readonly place: string }[];
  /** How long the last job took to end after the last kill. */
  readonly settledAfterMs: number;
}

export interface Violation {
  readonly invariant: string;
  readonly subject: string;
  readonly what: string;
}

export const TERMINAL: ReadonlySet<string> = new Set(['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT']);

export interface Facts {
  readonly history: readonly Observation[];
  readonly snapshot: Snapshot;
}

/** Observations of one kind. */
export function ofKind<K extends Observation['kind']>(history: readonly Observation[], kind: K): Extract<Observation, { kind: K }>[] {
  return history.filter((entry): entry is Extract<Observation, { kind: K }> => entry.kind === kind);
}

export function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}
