/** Public job states (RunPod's words). The drawing is in docs/states.md; a test compares the two. */
export const JOB_STATES = ['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT'] as const;
export type JobState = (typeof JOB_STATES)[number];
export type TerminalState = Exclude<JobState, 'IN_QUEUE' | 'IN_PROGRESS'>;

/** Every legal edge. IN_QUEUE → FAILED is the crash budget; FAILED and TIMED_OUT → IN_QUEUE is /retry, which opens a new run. */
export const JOB_EDGES: Readonly<Record<JobState, readonly JobState[]>> = {
  IN_QUEUE: ['IN_PROGRESS', 'CANCELLED', 'TIMED_OUT', 'FAILED'],
  IN_PROGRESS: ['IN_QUEUE', 'COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT'],
  COMPLETED: [],
  FAILED: ['IN_QUEUE'],
  CANCELLED: [],
  TIMED_OUT: ['IN_QUEUE'],
};

/** Whether a job has ended. */
export function isTerminal(state: JobState): state is TerminalState {
  return state !== 'IN_QUEUE' && state !== 'IN_PROGRESS';
}

/** Order of service: a batch runs after normal jobs, low priority last. Low priority alone never starts a worker. */
export const JOB_PRIORITIES = ['normal', 'batch', 'low'] as const;
export type JobPriority = (typeof JOB_PRIORITIES)[number];

/** Limits of the job API (job-api §3): bytes and milliseconds. */
export const JOB_LIMITS = {
  runBytes: 10 * 1024 * 1024,
  runsyncBytes: 20 * 1024 * 1024,
  resultBytes: 20 * 1024 * 1024,
  /** One chunk of a stream; a longer text is cut into several (job-api §14.5). */
  chunkBytes: 1024 * 1024,
  /** All chunks of a job. */
  streamBytes: 64 * 1024 * 1024,
  executionTimeoutMs: { min: 5_000, max: 604_800_000 },
  ttlMs: { min: 10_000, max: 604_800_000 },
  waitMs: { min: 1_000, max: 300_000, initial: 90_000 },
} as const;

/** A job as stored. Moments are milliseconds since the epoch; JSON values are kept as text so they come back unchanged. */
export interface Job {
  /** UUIDv7, prefixed `sync-` when made by /runsync. */
  readonly id: string;
  readonly endpointId: string;
  readonly state: JobState;
  /** JSON text of `input`. */
  readonly input: string;
  /** JSON text of the other keys of the request that go to the worker as they are (`s3Config`, …), or null. */
  readonly extras: string | null;
  readonly isSync: boolean;
  readonly priority: JobPriority;
  /** Where the end of the job is posted to, or null. */
  readonly webhook: string | null;
  /** The batch it belongs to, or null. */
  readonly batchId: string | null;
  /** Submissions of the endpoint with the same key are the same job. */
  readonly idempotencyKey: string | null;
  readonly executionTimeoutMs: number;
  /** Submission time plus ttl: a hard limit, whatever the state. */
  readonly expiresAt: number;
  /** The only release whose workers may have it, or null. */
  readonly pinnedRelease: number | null;
  readonly submittedAt: number;
  /** When its run began to wait: at the submission, or at the newest /retry. */
  readonly queuedAt: number;
  /** The newest claim. */
  readonly claimedAt: number | null;
  readonly finishedAt: number | null;
  readonly workerId: string | null;
  /** The release that claimed it. */
  readonly release: number | null;
  /** Claims so far. */
  readonly attempt: number;
  /** A sign of the job was seen from its worker (worker-protocol §4.6). */
  readonly isConfirmed: boolean;
  readonly leaseUntil: number | null;
  /** Chunks of this run so far. */
  readonly chunks: number;
  /** JSON text; null when there is none. While IN_PROGRESS the last progress value. */
  readonly output: string | null;
  readonly error: string | null;
  /** The record of an ended job answers until then; after it only a tombstone is left. Null while live. */
  readonly retainUntil: number | null;
}

/** A job without its texts, which may be megabytes: what lists are made of. */
export type JobFacts = Omit<Job, 'input' | 'extras' | 'output' | 'error'>;

/** What a worker or the engine says about a job's end. */
export interface Outcome {
  readonly state: TerminalState;
  /** JSON text or null. */
  readonly output: string | null;
  readonly error: string | null;
}
