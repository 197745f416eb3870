import type { RecordChange, RecordKind, RecordKinds, RecordRange, Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database } from './driver.js';

type RecordVerbs = Pick<Store, 'getRecord' | 'listRecords' | 'putRecord' | 'removeRecord' | 'changeRecords'>;

/** Writes a record inside the transaction that is open. */
export type WriteRecord = (change: RecordChange) => void;

/** For verbs that keep records as part of their own step. */
export function createRecordWriter(db: Database): WriteRecord {
  const put = db.prepare(
    'INSERT INTO record (kind, id, value) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value',
  );
  const remove = db.prepare('DELETE FROM record WHERE kind = ? AND id = ?');
  return ({ kind, id, value }) => {
    if (value === null) remove.run(kind, id);
    else put.run(kind, id, JSON.stringify(value));
  };
}

/** Above every character an id may have. */
const LAST = '\u{10ffff}';

/** Plain records as JSON text by kind and id. */
export function createRecords(db: Database, commits: CommitQueue): RecordVerbs {
  const get = db.prepare('SELECT value FROM record WHERE kind = ? AND id = ?');
  const list = db.prepare('SELECT id, value FROM record WHERE kind = ? AND id > ? AND id < ? ORDER BY id LIMIT ?');
  const listNewest = db.prepare('SELECT id, value FROM record WHERE kind = ? AND id > ? AND id < ? ORDER BY id DESC LIMIT ?');
  const write = createRecordWriter(db);
  const parse = <K extends RecordKind>(value: unknown) => JSON.parse(String(value)) as RecordKinds[K];
  const change: RecordVerbs['changeRecords'] = (changes, { isDurable = true } = {}) =>
    commits.write(() => changes.forEach(write), { isDurable });

  return {
    async getRecord<K extends RecordKind>(kind: K, id: string) {
      const row = get.get(kind, id);
      return row && parse<K>(row['value']);
    },
    async listRecords<K extends RecordKind>(kind: K, { prefix = '', after, isNewestFirst = false, limit = -1 }: RecordRange = {}) {
      const first = isNewestFirst ? prefix : (after ?? prefix);
      const last = isNewestFirst ? (after ?? prefix + LAST) : prefix + LAST;
      const rows = (isNewestFirst ? listNewest : list).all(kind, first, last, limit);
      return rows.map(({ id, value }) => ({ id: String(id), value: parse<K>(value) }));
    },
    putRecord: (kind, id, value) => change([{ kind, id, value } as RecordChange]),
    removeRecord: (kind, id) => change([{ kind, id, value: null }]),
    changeRecords: change,
  };
}
