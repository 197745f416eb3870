import type { EndpointSettings } from './endpoint.js';
import { formatAge } from './health.js';

type Policy = EndpointSettings['scale'];

/** What is known of an endpoint's requests at one moment. */
export interface RequestSample {
  readonly queued: number;
  readonly inProgress: number;
  /** When the last request came, as far as the server knows. */
  readonly requestedAt: number;
}

/** The settings as they count now: an endpoint at rest, without requests for `restAfterMs`, holds nobody ready for min and extra. */
export function countPolicy({ queued, inProgress, requestedAt }: RequestSample, policy: Policy, now: number): Policy {
  const { restAfterMs = 0 } = policy;
  const isAtRest = restAfterMs > 0 && queued === 0 && inProgress === 0 && now - requestedAt >= restAfterMs;
  return isAtRest ? { ...policy, min: 0, extra: 0 } : policy;
}

/** Why an endpoint at rest has fewer workers than its settings say. */
export function describeRest({ min, extra = 0 }: Policy, { requestedAt }: Pick<RequestSample, 'requestedAt'>, now: number): string {
  const what = min > 0 ? `min of ${min}` : `extra of ${extra}`;
  return `${what} counts as 0: no request for ${formatAge(now - requestedAt)}`;
}
