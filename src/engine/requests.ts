import { countPolicy } from '../domain/at-rest.js';
import type { Endpoint } from '../domain/endpoint.js';
import type { QueueSample } from '../store/store.js';
import type { Core } from './core.js';

/** A request came for the endpoint. */
export function noteRequest({ requests, clock }: Core, endpointId: string): void {
  requests.set(endpointId, clock.now());
}

/** When the last one came: now while a job of any priority waits. One before the server began is not known: then it is that moment. */
export function lastRequestAt({ requests, clock, startedAt }: Core, { id, createdAt }: Endpoint, inQueue: number): number {
  return inQueue > 0 ? clock.now() : (requests.get(id) ?? Math.max(startedAt, createdAt));
}

/** The scale of the endpoint as it counts now: {@link countPolicy}. */
export function countScale(core: Core, endpoint: Endpoint, { inQueue, inProgress }: QueueSample): Endpoint['settings']['scale'] {
  const requestedAt = lastRequestAt(core, endpoint, inQueue);
  return countPolicy({ queued: inQueue, inProgress, requestedAt }, endpoint.settings.scale, core.clock.now());
}
