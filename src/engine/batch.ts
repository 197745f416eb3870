import type { Batch, BatchCounts } from '../domain/batch.js';
import type { Job } from '../domain/job.js';

/** A batch and how far it is. */
export interface BatchStatus extends BatchCounts {
  readonly batch: Batch;
}

/** One page of a batch's requests, in the order they were added; a draft's have no job yet. */
export interface BatchPage {
  readonly requests: readonly { readonly id: string; readonly job: Job | null }[];
  readonly total: number;
}

/** Which batch, named as a client does. */
export interface BatchName {
  readonly endpointId: string;
  readonly batchId: string;
}

/** The batch API's use-cases (job-api §9). All but `create` and `list` throw BATCH_UNKNOWN. Inputs are JSON texts. */
export interface Batches {
  /** Durable. Throws ENDPOINT_UNKNOWN, TOOMANYREQUESTS, INPUT_TOO_LARGE. */
  create(endpointId: string, inputs: readonly string[]): Promise<BatchStatus>;
  /** Durable; gives the ids. Throws BATCH_NOT_DRAFT, INPUT_TOO_LARGE. */
  add(name: BatchName, inputs: readonly string[]): Promise<readonly string[]>;
  /** Throws BATCH_NOT_DRAFT, JOB_UNKNOWN. */
  removeRequest(name: BatchName, requestId: string): Promise<void>;
  rename(name: BatchName, text: string): Promise<BatchStatus>;
  /** Its requests become jobs; once resolved all of them are on disk. Idempotent. Throws BATCH_NOT_DRAFT when cancelled, TOOMANYREQUESTS. */
  finalize(name: BatchName): Promise<BatchStatus>;
  /** Queued requests end now, running ones finish. Idempotent. */
  cancel(name: BatchName): Promise<BatchStatus>;
  get(name: BatchName): Promise<BatchStatus>;
  /** Newest first. Throws ENDPOINT_UNKNOWN. */
  list(endpointId: string): Promise<readonly BatchStatus[]>;
  page(name: BatchName, range: { readonly offset: number; readonly limit: number }): Promise<BatchPage>;
}
