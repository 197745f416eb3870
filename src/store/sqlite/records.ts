import type { RecordKind, RecordKinds, Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database } from './driver.js';

type RecordVerbs = Pick<Store, 'getRecord' | 'listRecords' | 'putRecord' | 'removeRecord'>;

/** Plain records as JSON text by kind and id. */
export function createRecords(db: Database, commits: CommitQueue): RecordVerbs {
  const get = db.prepare('SELECT value FROM record WHERE kind = ? AND id = ?');
  const list = db.prepare('SELECT id, value FROM record WHERE kind = ? ORDER BY id');
  const put = db.prepare(
    'INSERT INTO record (kind, id, value) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value',
  );
  const remove = db.prepare('DELETE FROM record WHERE kind = ? AND id = ?');
  const parse = <K extends RecordKind>(value: unknown) => JSON.parse(String(value)) as RecordKinds[K];

  return {
    async getRecord<K extends RecordKind>(kind: K, id: string) {
      const row = get.get(kind, id);
      return row && parse<K>(row['value']);
    },
    async listRecords<K extends RecordKind>(kind: K) {
      return list.all(kind).map(({ id, value }) => ({ id: String(id), value: parse<K>(value) }));
    },
    putRecord: (kind, id, value) =>
      commits.write(
        () => {
          put.run(kind, id, JSON.stringify(value));
        },
        { isDurable: true },
      ),
    removeRecord: (kind, id) =>
      commits.write(
        () => {
          remove.run(kind, id);
        },
        { isDurable: true },
      ),
  };
}
