import { timingSafeEqual } from 'node:crypto';
import type { Clock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import { createSecret, hashSecret } from '../base/ids.js';
import type { Key, KeyScope } from '../domain/key.js';

/** Where keys are kept. */
export interface KeyRecords {
  get(id: string): Promise<Key | undefined>;
  list(): Promise<readonly Key[]>;
  put(id: string, key: Key): Promise<void>;
  remove(id: string): Promise<void>;
}

/** API keys: `wh_<id>_<secret>`, of which only a hash is stored. */
export interface Keys {
  /** Makes the first admin key when there is no key at all; gives its text this once. */
  ensureAdminKey(): Promise<string | undefined>;
  create(wanted: {
    readonly name: string;
    readonly scope: KeyScope;
    readonly endpointId: string | null;
  }): Promise<{ readonly key: Key; readonly text: string }>;
  /** The enabled key of that text; compared in constant time. */
  authenticate(text: string): Promise<Key | undefined>;
  list(): Promise<readonly Key[]>;
  /** Throws KEY_UNKNOWN. */
  setEnabled(id: string, isEnabled: boolean): Promise<Key>;
  /** Throws KEY_UNKNOWN. */
  remove(id: string): Promise<void>;
  /** Call when an endpoint was removed: its keys went with it. */
  forgetEndpoint(endpointId: string): void;
}

/** Enough for the keys of one server; the oldest is read again when it is asked for. */
const CACHED = 10_000;

export function createKeys({ records, clock }: { readonly records: KeyRecords; readonly clock: Clock }): Keys {
  const cache = new Map<string, Key>();
  const read = async (id: string): Promise<Key | undefined> => {
    const known = cache.get(id) ?? (await records.get(id));
    if (known && cache.size < CACHED) cache.set(id, known);
    return known;
  };
  const require = async (id: string): Promise<Key> => {
    const key = await read(id);
    if (key) return key;
    throw new WherryError('KEY_UNKNOWN', `there is no key '${id}'`, { hint: '`wherry keys` lists them' });
  };
  const create: Keys['create'] = async ({ name, scope, endpointId }) => {
    const id = createSecret(6).replace(/[-_]/g, 'x').toLowerCase();
    const secret = createSecret(24);
    const key: Key = { id, name, scope, endpointId, hash: hashSecret(secret), isEnabled: true, createdAt: clock.now() };
    await records.put(id, key);
    return { key, text: `wh_${id}_${secret}` };
  };
  return {
    create,
    async ensureAdminKey() {
      if ((await records.list()).length > 0) return undefined;
      return (await create({ name: 'admin', scope: 'admin', endpointId: null })).text;
    },
    async authenticate(text) {
      const [, id, secret] = /^wh_([a-z0-9]+)_([A-Za-z0-9_-]+)$/.exec(text) ?? [];
      if (id === undefined || secret === undefined) return undefined;
      const key = await read(id);
      const isRight = timingSafeEqual(Buffer.from(hashSecret(secret), 'hex'), Buffer.from(key?.hash ?? hashSecret(''), 'hex'));
      return key?.isEnabled && isRight ? key : undefined;
    },
    list: () => records.list(),
    async setEnabled(id, isEnabled) {
      const key = { ...(await require(id)), isEnabled };
      await records.put(id, key);
      cache.set(id, key);
      return key;
    },
    async remove(id) {
      await require(id);
      await records.remove(id);
      cache.delete(id);
    },
    forgetEndpoint(endpointId) {
      for (const key of cache.values()) if (key.endpointId === endpointId) cache.delete(key.id);
    },
  };
}
