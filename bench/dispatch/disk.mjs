// What the disk costs here: one flush, and one row per commit.
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { median } from '../stage.mjs';

/** Median of flushing 4 KiB, in ms. */
export function fsyncMs(dir) {
  const file = openSync(join(dir, 'fsync-probe'), 'w');
  const times = Array.from({ length: 50 }, () => {
    writeSync(file, Buffer.alloc(4096));
    const at = performance.now();
    fsyncSync(file);
    return performance.now() - at;
  });
  closeSync(file);
  return median(times);
}

/** Rows a second with one flushed commit a row: what grouping saves. */
export function rowPerCommit(dir, text) {
  const sqlite = (() => {
    try {
      return createRequire(import.meta.url)('node:sqlite');
    } catch {
      return createRequire(import.meta.url)('@photostructure/sqlite');
    }
  })();
  const db = new sqlite.DatabaseSync(join(dir, 'rows.db'));
  db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE job (id INTEGER PRIMARY KEY, input TEXT)');
  const insert = db.prepare('INSERT INTO job (input) VALUES (?)');
  const at = performance.now();
  for (let row = 0; row < 1000; row++) insert.run(text);
  const perSecond = 1000 / ((performance.now() - at) / 1000);
  db.close();
  return perSecond;
}
