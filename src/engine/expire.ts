import { toWherryError, WherryError } from '../base/errors.js';
import { type Endpoint, isExpired } from '../domain/endpoint.js';
import type { Core } from './core.js';

/** A removal that failed is tried again so much later: until then what hindered it would only be told again. */
const RETRY_MS = 10_000;

/** What removes endpoints whose moment has passed, each on its own. */
export interface Expiry {
  /** Begins the removals and does not wait for them: one that takes long holds up no other, and after a stop the next server begins it again. */
  look(): Promise<void>;
  /** Resolves when no removal that it began is under way. Never rejects. */
  settle(): Promise<void>;
}

export function createExpiry(core: () => Core, remove: (endpointId: string) => Promise<void>): Expiry {
  /** Removals under way, by endpoint. */
  const expiring = new Map<string, Promise<void>>();
  /** Until when those that failed rest, by endpoint. */
  const resting = new Map<string, number>();

  const expire = async (id: string): Promise<void> => {
    // Asked in the order of writes: an extension that was accepted in time may not be stored yet.
    const { labels, expiresAt } = await core().store.updateEndpoint(id, {});
    if (!isExpired({ expiresAt }, core().clock.now())) return;
    await remove(id);
    // On the usual level: who expected to remove it did not come to it.
    core().log.warn({ endpointId: id, labels }, `endpoint '${id}' expired and was removed`);
  };

  const fail = (id: string, cause: unknown): void => {
    // A request to remove it was faster.
    if (toWherryError(cause).code === 'ENDPOINT_UNKNOWN') return;
    resting.set(id, core().clock.now() + RETRY_MS);
    if (!core().life.isStopped) core().log.error({ err: cause, endpointId: id }, 'an endpoint that expired could not be removed');
  };

  return {
    async look() {
      const { clock, store } = core();
      for (const endpoint of await store.listEndpoints()) {
        const { id } = endpoint;
        const now = clock.now();
        const isHeld = expiring.has(id) || core().removals.has(id) || now < (resting.get(id) ?? 0);
        if (!isExpired(endpoint, now) || isHeld) continue;
        resting.delete(id);
        const ended = expire(id)
          .catch((cause: unknown) => fail(id, cause))
          .finally(() => expiring.delete(id));
        expiring.set(id, ended);
      }
    },
    settle: async () => void (await Promise.all(expiring.values())),
  };
}

/** When the endpoint expires from now on; null: never. One whose moment has passed is as good as gone. Throws ENDPOINT_UNKNOWN. */
export function postponeExpiry(endpoint: Endpoint, expiresInMs: number | null, now: number): number | null {
  if (!isExpired(endpoint, now)) return expiresInMs === null ? null : now + expiresInMs;
  throw new WherryError('ENDPOINT_UNKNOWN', `endpoint '${endpoint.id}' has expired`, { hint: 'make it anew' });
}
