import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Cursor, START } from './cursor.js';

/** What the next server has to know of a worker that the engine cannot tell. */
export interface WorkerFile {
  /** How far its output was told. */
  readonly cursor: Cursor;
  /** It was asked to end: many programs take a second SIGTERM for an order to end at once. */
  readonly isAsked: boolean;
  /** Where it reaches this machine: its server has to listen there also while the engine is away. */
  readonly gateway: string | null;
}

export const NEW_FILE: WorkerFile = { cursor: START, isAsked: false, gateway: null };

/** One small file a worker, written whole or not at all; without one everything of the worker is told anew. */
export interface WorkerFiles {
  read(workerId: string): WorkerFile;
  write(workerId: string, file: WorkerFile): void;
  remove(workerId: string): void;
  list(): readonly string[];
}

const SUFFIX = '.json';

export function openWorkerFiles(dir: string): WorkerFiles {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const fileOf = (workerId: string) => join(dir, `${workerId}${SUFFIX}`);
  return {
    read(workerId) {
      try {
        return { ...NEW_FILE, ...(JSON.parse(readFileSync(fileOf(workerId), 'utf8')) as Partial<WorkerFile>) };
      } catch {
        return NEW_FILE;
      }
    },
    write(workerId, file) {
      // Not synced: after a lost machine its containers are gone as well.
      writeFileSync(`${fileOf(workerId)}.new`, JSON.stringify(file), { mode: 0o600 });
      renameSync(`${fileOf(workerId)}.new`, fileOf(workerId));
    },
    remove(workerId) {
      rmSync(fileOf(workerId), { force: true });
    },
    list: () => readdirSync(dir).flatMap((name) => (name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : [])),
  };
}
