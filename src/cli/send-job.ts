import type { ApiClient } from '../api/client.js';
import type { JobView } from '../api/resources.js';
import { isTerminal } from '../domain/job.js';
import type { Output } from './output.js';

export interface JobRequest {
  readonly endpointId: string;
  readonly body: { readonly input: unknown; readonly policy?: object };
  /** How long to wait for the end, in ms. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

/** Sends a job and waits until it ends, the time is over or the signal aborts; then it goes on without us. */
export async function sendAndWait(client: ApiClient, { endpointId, body, waitMs, signal }: JobRequest, output: Output): Promise<JobView> {
  const end = performance.now() + waitMs;
  let job = await client.submit(endpointId, body, { waitMs: bounded(waitMs) });
  while (isLive(job) && performance.now() < end && !signal.aborted) {
    output.talk(`  ${job.id} ${job.status}`);
    job = await client.jobStatus(endpointId, job.id, bounded(end - performance.now()));
  }
  return job;
}

/** Whether more can become of a job. */
export function isLive({ status }: JobView): boolean {
  return !isTerminal(status);
}

/** What a single request of ours holds, within the server's bounds. */
const bounded = (ms: number) => Math.round(Math.min(90_000, Math.max(1_000, ms)));

/** A value for a person: a text as it is, anything else as JSON. */
export function formatValue(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}
