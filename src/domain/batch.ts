import type { JobState } from './job.js';

/** States of a batch (job-api §9). There is no state for "done": it is done when completed and failed make up the total. */
const BATCH_STATES = ['DRAFT', 'FINALIZED', 'CANCELLED'] as const;
export type BatchState = (typeof BATCH_STATES)[number];

/** RunPod's figures (job-api §9). */
export const BATCH_LIMITS = {
  active: 10,
  requests: 5_000,
  queued: 50_000,
  bodyBytes: 10 * 1024 * 1024,
  page: { initial: 50, max: 200 },
} as const;

/** Many requests sent together: collected as a draft, then run as jobs after normal ones, in no promised order. */
export interface Batch {
  readonly id: string;
  readonly endpointId: string;
  /** Free text for people, or null. */
  readonly name: string | null;
  readonly state: BatchState;
  readonly createdAt: number;
  /** Requests once it is finalized; while it is a draft they are counted. */
  readonly total: number;
}

/** A request of a draft; its id becomes the job's. */
export interface BatchRequest {
  readonly id: string;
  readonly batchId: string;
  /** JSON text. */
  readonly input: string;
}

/** How far a batch is. What was cancelled or timed out counts as failed, so that the sum says when it is done. */
export interface BatchCounts {
  readonly total: number;
  readonly inProgress: number;
  readonly completed: number;
  readonly failed: number;
}

/** How far a batch of `total` jobs is, by the states of those that are known. */
export function countBatch(total: number, states: readonly JobState[]): BatchCounts {
  const count = (...wanted: readonly JobState[]) => states.filter((state) => wanted.includes(state)).length;
  return {
    total,
    inProgress: count('IN_PROGRESS'),
    completed: count('COMPLETED'),
    failed: count('FAILED', 'CANCELLED', 'TIMED_OUT'),
  };
}
