import { messageOf, WherryError } from '../base/errors.js';
import type { Endpoint } from '../domain/endpoint.js';
import type { Release } from '../domain/release.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Core } from './core.js';

/** Between looks whether a runtime is back. */
const PAUSE_MS = 2_000;
/** Between tries to fetch models. */
const LONGEST_PAUSE_MS = 60_000;

/** A runtime that is away says nothing about a release: starts of its endpoints wait instead of failing one after the other. */
export interface Outages {
  /** True while starts of the endpoint wait. */
  isHeld(endpointId: string): boolean;
  /** Why they do; undefined when they do not. */
  reasonOf(endpointId: string): string | undefined;
  /** The runtime for a release; undefined, with starts held, while it is away. Throws RUNTIME_REFUSED. */
  choose(endpoint: Endpoint, release: Release): Promise<Runtime | undefined>;
  /** After a start that failed: true, with starts held for longer each time, when its models could not be fetched now. */
  holdForModels(endpointId: string, thrown: unknown): boolean;
  /** A worker of the endpoint started, or there is reason to try at once. */
  forget(endpointId: string): void;
  /** After a start that failed: true, with starts held, when the runtime is away. */
  look(endpointId: string, runtime: Runtime): Promise<boolean>;
}

export function createOutages(core: Core): Outages {
  const held = new Map<string, { readonly until: number; readonly reason: string }>();
  /** Tries in a row in vain. */
  const fetches = new Map<string, { readonly until: number; readonly reason: string; readonly tries: number }>();
  const hold = (endpointId: string, cause: unknown): void => {
    const reason = messageOf(cause);
    if (!held.has(endpointId)) core.log.warn({ endpointId, reason }, 'starts wait: the runtime of the endpoint is away');
    held.set(endpointId, { until: core.clock.now() + PAUSE_MS, reason });
  };
  const look: Outages['look'] = async (endpointId, runtime) => {
    try {
      await runtime.list();
      held.delete(endpointId);
      return false;
    } catch (thrown) {
      hold(endpointId, thrown);
      return true;
    }
  };
  return {
    isHeld: (endpointId) => core.clock.now() < Math.max(held.get(endpointId)?.until ?? 0, fetches.get(endpointId)?.until ?? 0),
    reasonOf: (endpointId) => (held.get(endpointId) ?? fetches.get(endpointId))?.reason,
    holdForModels(endpointId, thrown) {
      if (!(thrown instanceof WherryError && thrown.code === 'MODEL_UNAVAILABLE')) return false;
      const tries = (fetches.get(endpointId)?.tries ?? 0) + 1;
      const pauseMs = Math.min(LONGEST_PAUSE_MS, PAUSE_MS * 2 ** (tries - 1));
      fetches.set(endpointId, { until: core.clock.now() + pauseMs, reason: thrown.message, tries });
      core.log.warn({ endpointId, tries, reason: thrown.message }, 'starts wait: models of the endpoint could not be fetched');
      return true;
    },
    forget: (endpointId) => void fetches.delete(endpointId),
    async choose(endpoint, { image, spec }) {
      try {
        const runtime = await core.runtimes.choose(endpoint, image, spec);
        // Only where it was away: asking costs a call.
        return held.has(endpoint.id) && (await look(endpoint.id, runtime)) ? undefined : runtime;
      } catch (thrown) {
        if (!(thrown instanceof WherryError && thrown.code === 'RUNTIME_UNAVAILABLE')) throw thrown;
        hold(endpoint.id, thrown);
        return undefined;
      }
    },
    look,
  };
}
