import { messageOf, WherryError } from '../../base/errors.js';
import { type FaultPoint, type Faults, noFaults } from '../../base/faults.js';
import type { Database } from './driver.js';

/** What a write needs of its commit. */
export interface WriteOptions {
  /** Flushed to disk before the promise resolves. */
  readonly isDurable?: boolean;
  /** Names the fault points around the commit. */
  readonly step?: 'submit' | 'claim' | 'settle';
  /** Fault points with names of their own. */
  readonly before?: FaultPoint;
  readonly after?: FaultPoint;
}

interface Pending {
  readonly work: () => unknown;
  readonly options: WriteOptions;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** More waiting writes than this are refused: a queue that grows without bound only hides that the disk is too slow. */
const PENDING_LIMIT = 20_000;

/**
 * Group commit. Writes of one turn of the event loop run in one transaction and share one flush; one that
 * fails undoes and rejects only itself. When the commit fails all are rejected and nothing is changed.
 */
export class CommitQueue {
  readonly #db: Database;
  readonly #faults: Faults;
  #pending: Pending[] = [];
  #isScheduled = false;
  #isFull: boolean | undefined;
  readonly #undone: (() => void)[] = [];
  /** Transactions committed so far; tests compare it with the number of writes. */
  commits = 0;

  constructor(db: Database, faults: Faults) {
    this.#db = db;
    this.#faults = faults;
  }

  /** Runs `work` in the next transaction; resolves with its value once committed. Throws STORE_UNAVAILABLE. */
  write<T>(work: () => T, options: WriteOptions = {}): Promise<T> {
    if (this.#pending.length >= PENDING_LIMIT) {
      return Promise.reject(
        new WherryError('STORE_UNAVAILABLE', `${PENDING_LIMIT} writes wait for the disk already`, { hint: 'try again later' }),
      );
    }
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ work, options, resolve: resolve as (value: unknown) => void, reject });
      if (this.#isScheduled) return;
      this.#isScheduled = true;
      setImmediate(() => this.flush());
    });
  }

  /** Called when writes are undone: what was remembered of them does not hold. */
  onUndo(listener: () => void): void {
    this.#undone.push(listener);
  }

  /** Commits what waits, now. */
  flush(): void {
    this.#isScheduled = false;
    const batch = this.#pending;
    this.#pending = [];
    if (batch.length === 0) return;
    try {
      this.#setFull(batch.some(({ options }) => options.isDurable));
      const settled = this.#runTogether(batch) ?? this.#runApart(batch);
      this.#reach(batch, 'before');
      this.#db.exec('COMMIT');
      this.commits++;
      this.#reach(batch, 'after');
      for (const settle of settled) settle();
    } catch (thrown) {
      this.#rollback();
      const error = storeError(thrown);
      for (const { reject } of batch) reject(error);
    }
  }

  /** The usual case: no write fails, so none needs a savepoint. Undefined, with nothing done, when one did. */
  #runTogether(batch: readonly Pending[]): (() => void)[] | undefined {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      return batch.map(({ work, resolve }) => {
        const value = work();
        return () => resolve(value);
      });
    } catch {
      this.#rollback();
      return undefined;
    }
  }

  /** Each write in a savepoint: one that fails undoes and rejects only itself. */
  #runApart(batch: readonly Pending[]): (() => void)[] {
    this.#db.exec('BEGIN IMMEDIATE');
    return batch.map((pending) => this.#run(pending));
  }

  #run({ work, resolve, reject }: Pending): () => void {
    this.#db.exec('SAVEPOINT op');
    try {
      const value = work();
      this.#db.exec('RELEASE op');
      return () => resolve(value);
    } catch (thrown) {
      // A full or failing disk may have ended the whole transaction; then this throws too and the batch fails as one.
      this.#db.exec('ROLLBACK TO op; RELEASE op');
      this.#tellUndone();
      return () => reject(thrown instanceof WherryError ? thrown : storeError(thrown));
    }
  }

  #setFull(isFull: boolean): void {
    if (this.#isFull === isFull) return;
    this.#db.exec(`PRAGMA synchronous=${isFull ? 'FULL' : 'NORMAL'}`);
    this.#isFull = isFull;
  }

  #rollback(): void {
    try {
      this.#db.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back by itself already.
    }
    this.#tellUndone();
  }

  #tellUndone(): void {
    for (const listener of this.#undone) listener();
  }

  #reach(batch: readonly Pending[], side: 'before' | 'after'): void {
    if (this.#faults === noFaults) return;
    for (const { options } of batch) {
      if (options.step) this.#faults(`${options.step}.${side}-commit`);
      const named = options[side];
      if (named) this.#faults(named);
    }
  }
}

function storeError(cause: unknown): WherryError {
  return new WherryError('STORE_UNAVAILABLE', `the database refused a write: ${messageOf(cause)}`, {
    hint: 'free disk space or check the disk of the data directory; nothing was changed',
    cause,
  });
}
