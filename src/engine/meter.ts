import type { DeliveryState } from '../domain/delivery.js';
import type { StartPath } from '../domain/worker.js';

/** Why a worker was started. */
export const START_CAUSES = ['scale', 'candidate'] as const;
export type StartCause = (typeof START_CAUSES)[number];

/**
 * How a worker ended. `stopped`: the server decided it. `unhealthy`: so did the server, because the worker was broken. `crashed`: by itself.
 * `unstarted`: it never ran. `lost`: with its machine or supervisor.
 */
export const END_CAUSES = ['stopped', 'unhealthy', 'crashed', 'unstarted', 'lost'] as const;
export type EndCause = (typeof END_CAUSES)[number];

/** Told what happens while it happens, also on the way of a job: it counts and returns. Times in milliseconds. */
export interface Meter {
  /** A job was handed to a worker so long after its run began to wait. */
  recordTake(endpointId: string, delayMs: number): void;
  /** A run that a worker had ended after so long. */
  recordRun(endpointId: string, executionMs: number): void;
  /** A job was handed to a worker that was not ready when its run began to wait. */
  recordColdJob(endpointId: string, path: StartPath): void;
  recordStart(endpointId: string, cause: StartCause): void;
  /** A worker is ready so long after the decision to start or to wake it. */
  recordReady(endpointId: string, path: StartPath, durationMs: number): void;
  recordEnd(endpointId: string, cause: EndCause): void;
  /** The image of a worker was brought to its runtime. */
  recordPull(endpointId: string, pull: { readonly durationMs: number; readonly bytes: number }): void;
  /** An image that is deployed was made ready for quick starts. */
  recordPrepare(endpointId: string, durationMs: number): void;
  /** A webhook was tried; PENDING: in vain, and it is tried again. */
  recordWebhook(endpointId: string, state: DeliveryState): void;
}
