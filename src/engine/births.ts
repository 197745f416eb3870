import { createTurns } from '../base/turns.js';
import { checkEndpointId, type Endpoint } from '../domain/endpoint.js';
import type { NewEndpoint } from './engine.js';

/** Endpoints that are made together with their first release: the store has them only once it has both. */
export interface Births {
  /** The one that is being made. */
  get(id: string): Endpoint | undefined;
  /** Those of one id wait for each other. */
  attend<T>(endpoint: Endpoint, work: () => Promise<T>): Promise<T>;
}

export function createBirths(): Births {
  const inTurn = createTurns();
  const born = new Map<string, Endpoint>();
  return {
    get: (id) => born.get(id),
    attend: (endpoint, work) =>
      inTurn(endpoint.id, async () => {
        born.set(endpoint.id, endpoint);
        return work().finally(() => born.delete(endpoint.id));
      }),
  };
}

/** An endpoint as it is at first. Throws NAME_INVALID. */
export function newEndpoint({ id, name, settings, labels = {}, expiresInMs }: NewEndpoint, now: number): Endpoint {
  checkEndpointId(id);
  return {
    id,
    name: name ?? id,
    type: 'queue',
    settings,
    activeRelease: null,
    pausedReason: null,
    createdAt: now,
    labels,
    expiresAt: expiresInMs === undefined ? null : now + expiresInMs,
  };
}
