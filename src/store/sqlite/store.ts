import { messageOf, WherryError } from '../../base/errors.js';
import type { Faults } from '../../base/faults.js';
import type { Log } from '../../base/log.js';
import type { Store } from '../store.js';
import { CommitQueue } from './commit.js';
import { type Database, openDatabase } from './driver.js';
import { createEndpoints, type KnownEndpoints } from './endpoints.js';
import { createLanes } from './lanes.js';
import { migrate } from './migrations.js';
import { createMoments } from './moments.js';
import { createQueue } from './queue.js';
import { createRecords } from './records.js';
import { createStreams } from './streams.js';
import { createWorkers } from './workers.js';

export interface SqliteStoreOptions {
  readonly file: string;
  readonly faults: Faults;
  readonly log: Log;
}

/**
 * Opens the store in one SQLite file, which is also the lock of its directory. Throws DATA_LOCKED when another process
 * has it open, SCHEMA_TOO_NEW, STORE_UNAVAILABLE.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const db = await openDatabase(options.file);
  try {
    configure(db);
    migrate(db);
  } catch (thrown) {
    db.close();
    throw thrown instanceof WherryError ? thrown : refused(options.file, thrown);
  }
  warnOfOldSqlite(db, options.log);
  const commits = new CommitQueue(db, options.faults);
  const lanes = createLanes(db, commits);
  const known: KnownEndpoints = new Map();
  let isClosed = false;
  return {
    ...createEndpoints(db, commits, { lanes, known }),
    ...createQueue(db, commits, lanes),
    ...createStreams(db, commits),
    ...createWorkers(db, commits),
    ...createRecords(db, commits),
    ...createMoments(db, commits, known),
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      commits.flush();
      release(db);
      db.close();
    },
  };
}

/** `temp_store` in memory: otherwise sub-selects make the heap grow and trim for each claim, which halves the speed. */
function configure(db: Database): void {
  db.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL');
  db.exec('PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=ON; PRAGMA wal_autocheckpoint=2000');
  db.exec('BEGIN IMMEDIATE; COMMIT');
}

/**
 * Gives the lock back now: one package keeps a closed file open until its statements are collected. SQLite lets go of an
 * exclusive lock only outside the log mode; the next open enters it again.
 */
function release(db: Database): void {
  db.exec('PRAGMA journal_mode=DELETE; PRAGMA locking_mode=NORMAL');
  db.prepare('SELECT count(*) FROM migration').get();
}

function refused(file: string, cause: unknown): WherryError {
  const message = messageOf(cause);
  if (/locked|busy/i.test(message)) {
    return new WherryError('DATA_LOCKED', `the database '${file}' is in use by another server`, {
      hint: 'stop that server, or choose another data directory with --data',
      cause,
    });
  }
  return new WherryError('STORE_UNAVAILABLE', `the database '${file}' could not be opened: ${message}`, {
    hint: 'check that the directory can be written and the disk is not full',
    cause,
  });
}

/** Versions before 3.51.3 can corrupt a database when its log is reset by two connections at once; we hold only one. */
function warnOfOldSqlite(db: Database, log: Log): void {
  const version = db.readVersion();
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  if (major * 1e6 + minor * 1e3 + patch < 3_051_003) log.info({ version }, 'this SQLite is older than 3.51.3');
}
