import type { Job, TerminalState } from './job.js';
import { formatJob } from './job-view.js';

export const DELIVERY_STATES = ['PENDING', 'DELIVERED', 'FAILED'] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** One request to the receiver. `at` is its start, in milliseconds since the epoch. */
export interface DeliveryAttempt {
  readonly at: number;
  readonly durationMs: number;
  /** The receiver's status; null when there was no answer. */
  readonly status: number | null;
  /** Why it does not count as delivered; null when it does. */
  readonly reason: string | null;
}

/** The end of a run of a job, to be posted to the URL its client gave. The body is a record of its own: it may be large. */
export interface Delivery {
  /** UUIDv7; the same over every attempt and redelivery, so that a receiver can tell a repetition. */
  readonly id: string;
  readonly endpointId: string;
  readonly jobId: string;
  readonly jobState: TerminalState;
  readonly url: string;
  readonly bodyBytes: number;
  readonly createdAt: number;
  readonly state: DeliveryState;
  /** When it is to be sent; null once it has ended. */
  readonly dueAt: number | null;
  /** When the current series of tries began: at the end of the job, or at the newest redelivery. */
  readonly seriesAt: number;
  /** Tries of the current series so far. */
  readonly tries: number;
  /** The newest, oldest first. */
  readonly attempts: readonly DeliveryAttempt[];
}

/** Tries of a delivery (job-api §5), and what is kept of them. Times in milliseconds. */
export const DELIVERY_LIMITS = {
  tries: 3,
  retryMs: 10_000,
  /** First wait and longest wait of the schedule beyond the three tries. */
  backoffMs: { first: 60_000, longest: 3_600_000 },
  attemptMs: 10_000,
  attemptsKept: 20,
  /** The log of an endpoint: age, number and bytes of bodies. Deliveries under way always stay. */
  keepMs: 7 * 86_400_000,
  kept: 1_000,
  keptBytes: 256 * 1024 * 1024,
} as const;

/** The delivery of a job that ended just now, with its body: what /status answers at this moment. Undefined without a webhook. */
export function planDelivery(job: Job, id: string, now: number): { readonly delivery: Delivery; readonly body: string } | undefined {
  if (job.webhook === null) return undefined;
  const body = formatJob(job);
  const delivery: Delivery = {
    id,
    endpointId: job.endpointId,
    jobId: job.id,
    jobState: job.state as TerminalState,
    url: job.webhook,
    bodyBytes: new TextEncoder().encode(body).length,
    createdAt: now,
    state: 'PENDING',
    dueAt: now,
    seriesAt: now,
    tries: 0,
    attempts: [],
  };
  return { delivery, body };
}

/** What a delivery is after an attempt that ended at `now`; `persistMs` is how long a series goes on beyond the three tries. */
export function afterAttempt(
  delivery: Delivery,
  attempt: DeliveryAttempt,
  { persistMs, now }: { readonly persistMs: number; readonly now: number },
): Delivery {
  const tries = delivery.tries + 1;
  const attempts = [...delivery.attempts, attempt].slice(-DELIVERY_LIMITS.attemptsKept);
  const tried = { ...delivery, tries, attempts };
  if (attempt.reason === null) return { ...tried, state: 'DELIVERED', dueAt: null };
  const waitMs = decideWait(tries, { elapsedMs: now - delivery.seriesAt, persistMs });
  return waitMs === null ? { ...tried, state: 'FAILED', dueAt: null } : { ...tried, state: 'PENDING', dueAt: now + waitMs };
}

/** The wait before the next try, or null when there is none: ten seconds twice, then doubling from a minute to an hour, to the end of the time given. */
export function decideWait(
  tries: number,
  { elapsedMs, persistMs }: { readonly elapsedMs: number; readonly persistMs: number },
): number | null {
  if (tries < DELIVERY_LIMITS.tries) return DELIVERY_LIMITS.retryMs;
  const { first, longest } = DELIVERY_LIMITS.backoffMs;
  const waitMs = Math.min(longest, first * 2 ** Math.min(30, tries - DELIVERY_LIMITS.tries));
  return elapsedMs + waitMs > persistMs ? null : waitMs;
}

/** A new series for the same delivery, due now. */
export function redelivered(delivery: Delivery, now: number): Delivery {
  return { ...delivery, state: 'PENDING', dueAt: now, seriesAt: now, tries: 0 };
}

/** Id of the delivery's records: those of an endpoint lie together, oldest first. */
export function deliveryKeyOf({ endpointId, id }: Pick<Delivery, 'endpointId' | 'id'>): string {
  return `${endpointId}/${id}`;
}

/** Id of the record that says when it is due: those of an endpoint lie together, the earliest first. */
export function dueKeyOf({ endpointId, id, dueAt }: Pick<Delivery, 'endpointId' | 'id' | 'dueAt'>): string {
  return `${endpointId}/${String(dueAt ?? 0).padStart(15, '0')}/${id}`;
}

/** The inverse of {@link dueKeyOf}. */
export function parseDueKey(key: string): { readonly endpointId: string; readonly dueAt: number; readonly id: string } {
  const [endpointId = '', dueAt = '', id = ''] = key.split('/');
  return { endpointId, dueAt: Number(dueAt), id };
}
