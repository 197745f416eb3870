import type { Clock } from '../base/clock.js';
import type { Log } from '../base/log.js';
import type { Store } from '../store/store.js';
import type { Backoff } from './backoff.js';

/** Pauses that outlive the server: a restart gives a crashing endpoint no new budget. */
export interface KeptBackoff extends Backoff {
  /** Goes on with what a former server counted. */
  load(): Promise<void>;
  /** Resolves when all that was counted is kept. */
  settle(): Promise<void>;
}

interface Options {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

/** Keeps each row of crashes as a record. Written at a crash and at the first success after one, so that jobs of sound workers cost nothing. */
export function keepBackoff(backoff: Backoff, { store, clock, log }: Options): KeptBackoff {
  let written = Promise.resolve();
  // In turn: a success after a crash must not be written before it.
  const write = (endpointId: string) => {
    written = written.then(() => keep(endpointId)).catch((cause: unknown) => log.error({ err: cause, endpointId }, 'a crash was not kept'));
  };
  const keep = async (endpointId: string): Promise<void> => {
    const loop = backoff.loopOf(endpointId);
    if (!loop) await store.removeRecord('crash-loop', endpointId);
    else if (await store.getEndpoint(endpointId)) await store.putRecord('crash-loop', endpointId, loop);
  };
  return {
    ...backoff,
    recordCrash: (endpointId, now) => {
      const pause = backoff.recordCrash(endpointId, now);
      write(endpointId);
      return pause;
    },
    reset: (endpointId) => {
      if (!backoff.loopOf(endpointId)) return;
      backoff.reset(endpointId);
      write(endpointId);
    },
    async load() {
      for (const { id, value } of await store.listRecords('crash-loop')) {
        if (await store.getEndpoint(id)) backoff.restore(id, value, clock.now());
        else await store.removeRecord('crash-loop', id);
      }
    },
    settle: () => written,
  };
}
