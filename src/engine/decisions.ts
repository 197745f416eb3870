import type { Clock } from '../base/clock.js';
import type { Log } from '../base/log.js';
import { isNews, momentOfKey, recordKeyOf, type ScaleRecord } from '../domain/scale-record.js';
import type { RecordChange, Store } from '../store/store.js';

/** Written together, so that no decision waits for the store. */
const FLUSH_MS = 500;
/** Kept of an endpoint, for so long. */
const KEPT = 1_000;
const KEPT_MS = 7 * 86_400_000;

export interface DecisionFilter {
  readonly endpointId: string;
  /** Milliseconds since the epoch. */
  readonly since?: number;
  readonly limit: number;
}

/** What the scaler decided, for those who ask why (extension B15). */
export interface Decisions {
  /** Keeps a decision unless it says nothing new; never waits. A server that is killed loses the last half second of them. */
  note(endpointId: string, record: ScaleRecord): void;
  /** Newest first. */
  list(filter: DecisionFilter): Promise<readonly ScaleRecord[]>;
  /** Removes what is older than it is kept. */
  sweep(endpointId: string): Promise<void>;
  /** The endpoint is removed. */
  forget(endpointId: string): Promise<void>;
  /** Writes what is not written yet. */
  stop(): Promise<void>;
}

export function createDecisions(core: { readonly store: Store; readonly clock: Clock; readonly log: Log }): Decisions {
  /** The last one that was kept of each release, by endpoint; of the two releases that get jobs at most. */
  const last = new Map<string, Map<number, ScaleRecord>>();
  /** Not written yet, by key. */
  const fresh = new Map<string, ScaleRecord>();
  /** Keys that are stored, oldest first; read once an endpoint. */
  const stored = new Map<string, string[]>();
  let number = 0;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();

  const keysOf = async (endpointId: string) => {
    const known = stored.get(endpointId);
    if (known) return known;
    const keys = (await core.store.listRecords('scale-decision', { prefix: `${endpointId}/` })).map(({ id }) => id);
    stored.set(endpointId, keys);
    return keys;
  };

  const write = async (): Promise<void> => {
    const changes: RecordChange[] = [];
    for (const [key, value] of fresh) {
      fresh.delete(key);
      const keys = await keysOf(key.slice(0, key.indexOf('/')));
      changes.push({ kind: 'scale-decision', id: key, value });
      keys.push(key);
      for (const id of keys.splice(0, keys.length - KEPT)) changes.push({ kind: 'scale-decision', id, value: null });
    }
    if (changes.length > 0) await core.store.changeRecords(changes, { isDurable: false });
  };

  /** One write after the other. What could not be written is gone: nothing but an explanation depends on it. */
  const flush = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    writing = writing.then(write).catch((cause: unknown) => core.log.warn({ err: cause }, 'decisions of the scaler could not be kept'));
    return writing;
  };

  return {
    note(endpointId, record) {
      const lanes = last.get(endpointId) ?? new Map<number, ScaleRecord>();
      if (!isNews(record, lanes.get(record.release))) return;
      lanes.delete(record.release);
      last.set(endpointId, new Map([...[...lanes].slice(-1), [record.release, record]]));
      fresh.set(recordKeyOf(endpointId, record.at, number++), record);
      timer ??= setTimeout(flush, FLUSH_MS);
    },
    async list({ endpointId, since = 0, limit }) {
      await flush();
      const records = await core.store.listRecords('scale-decision', { prefix: `${endpointId}/`, isNewestFirst: true, limit });
      return records.map(({ value }) => value).filter(({ at }) => at >= since);
    },
    async sweep(endpointId) {
      const before = core.clock.now() - KEPT_MS;
      const keys = await keysOf(endpointId);
      const old = keys.filter((key) => momentOfKey(key) < before);
      if (old.length === 0) return;
      stored.set(endpointId, keys.slice(old.length));
      await core.store.changeRecords(
        old.map((id) => ({ kind: 'scale-decision', id, value: null })),
        { isDurable: false },
      );
    },
    async forget(endpointId) {
      await flush();
      const keys = await keysOf(endpointId);
      last.delete(endpointId);
      stored.delete(endpointId);
      await core.store.changeRecords(keys.map((id) => ({ kind: 'scale-decision', id, value: null })));
    },
    stop: flush,
  };
}
