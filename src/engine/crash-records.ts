import type { Clock } from '../base/clock.js';
import type { Log } from '../base/log.js';
import type { Store } from '../store/store.js';
import type { Backoff, FleetName } from './backoff.js';

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

/** Keeps each release's row of crashes as a record. Written at a crash and at the first success after one, so that jobs of sound workers cost nothing. */
export function keepBackoff(backoff: Backoff, { store, clock, log }: Options): KeptBackoff {
  let written = Promise.resolve();
  // In turn: a success after a crash must not be written before it.
  const write = (fleet: FleetName) => {
    written = written
      .then(() => keep(fleet))
      .catch((cause: unknown) => log.error({ err: cause, ...nameOf(fleet) }, 'a crash was not kept'));
  };
  const keep = async (fleet: FleetName): Promise<void> => {
    const loop = backoff.loopOf(fleet);
    if (!loop) await store.removeRecord('crash-loop', formatName(fleet));
    else if (await store.getEndpoint(fleet.endpointId)) await store.putRecord('crash-loop', formatName(fleet), loop);
  };
  return {
    ...backoff,
    recordCrash: (fleet, crash) => {
      const verdict = backoff.recordCrash(fleet, crash);
      write(nameOf(fleet));
      return verdict;
    },
    reset: (endpointId, release) => {
      const known = backoff.listReleases(endpointId).filter((one) => release === undefined || one === release);
      if (known.length === 0) return;
      backoff.reset(endpointId, release);
      for (const one of known) write({ endpointId, release: one });
    },
    async load() {
      for (const { id, value } of await store.listRecords('crash-loop')) {
        const fleet = parseName(id);
        if (await store.getEndpoint(fleet.endpointId)) backoff.restore(fleet, value, clock.now());
        else await store.removeRecord('crash-loop', id);
      }
    },
    settle: () => written,
  };
}

/** What is handed in may be a whole worker. */
const nameOf = ({ endpointId, release }: FleetName): FleetName => ({ endpointId, release });

function formatName({ endpointId, release }: FleetName): string {
  return `${endpointId}/${release}`;
}

function parseName(id: string): FleetName {
  const [endpointId = '', release] = id.split('/');
  return { endpointId, release: Number(release) };
}
