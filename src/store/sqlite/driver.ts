import { messageOf, WherryError } from '../../base/errors.js';

export type SqlValue = string | number | null;
export type Row = Record<string, SqlValue>;

export interface Statement {
  run(...values: SqlValue[]): { readonly changes: number; readonly lastInsertRowid: number };
  get(...values: SqlValue[]): Row | undefined;
  all(...values: SqlValue[]): Row[];
}

/** The five things the store needs of SQLite, whichever package brings it. */
export interface Database {
  /** SQLite's own version; asks the open database, so call it once the lock is taken. */
  readVersion(): string;
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}

interface DatabaseModule {
  readonly DatabaseSync: new (file: string) => { exec(sql: string): void; prepare(sql: string): Statement; close(): void };
}

/** Opens a database with `node:sqlite` (Node 22.13 and later) or, on Node 20, the package with the same interface. */
export async function openDatabase(file: string): Promise<Database> {
  const { DatabaseSync } = await loadModule();
  const db = new DatabaseSync(file);
  return {
    readVersion: () => String(db.prepare('SELECT sqlite_version() AS version').get()?.['version']),
    exec: (sql) => db.exec(sql),
    prepare: (sql) => db.prepare(sql),
    close: () => db.close(),
  };
}

async function loadModule(): Promise<DatabaseModule> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const name = major > 22 || (major === 22 && minor >= 13) ? 'node:sqlite' : '@photostructure/sqlite';
  try {
    return await withoutExperimentalWarning(async () => (await import(name)) as DatabaseModule);
  } catch (cause) {
    throw new WherryError('STORE_UNAVAILABLE', `SQLite could not be loaded from '${name}': ${messageOf(cause)}`, {
      hint: 'use Node 22.13 or newer, or install with optional dependencies',
      cause,
    });
  }
}

/** Node 22 prints a warning when its SQLite is first loaded; that one, and only that one, is of no use to anybody here. */
async function withoutExperimentalWarning<T>(load: () => Promise<T>): Promise<T> {
  const original = process.emitWarning;
  process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
    if (String(warning).includes('SQLite is an experimental feature')) return;
    (original as (...all: unknown[]) => void).call(process, warning, ...rest);
  }) as typeof process.emitWarning;
  try {
    return await load();
  } finally {
    process.emitWarning = original;
  }
}
