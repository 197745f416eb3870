import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';
import { readLastLines } from './last-lines.js';
import type { Crash } from './reports.js';

type Ended = Pick<Worker, 'id' | 'release' | 'createdAt' | 'start' | 'exitCode'> & { readonly stoppedAt: number | null };

/** What is told of a worker that crashed: `lines` are its last ones. */
export function describeCrash(
  { id, release, createdAt, start, exitCode, stoppedAt }: Ended,
  reason: string,
  lines: readonly string[],
): Crash {
  return { workerId: id, release, at: stoppedAt ?? createdAt, reason, isStarted: start !== null, exitCode, lines };
}

/** The newest crash of a release, or of the endpoint when none is named; after a restart it is looked for among the workers that stopped last. */
export async function findLastCrash(
  core: Core,
  { endpointId, release }: { readonly endpointId: string; readonly release: number | null },
  workers: readonly Worker[],
): Promise<Crash | null> {
  const isMeant = (one: { readonly release: number }) => release === null || one.release === release;
  const known = core.lastCrashes.get(endpointId);
  if (known && isMeant(known)) return known;
  // One that never had room did not end.
  const isEnd = ({ state, exitCode, admittedAt }: Worker) => state === 'STOPPED' && exitCode !== 0 && admittedAt !== null;
  const ended = workers.filter((worker) => isEnd(worker) && isMeant(worker));
  const newest = ended.toSorted((a, b) => (a.stoppedAt ?? 0) - (b.stoppedAt ?? 0)).at(-1);
  if (!newest) return null;
  const crash = describeCrash(newest, newest.reason ?? 'it is gone', await readLastLines(core, newest));
  if (!known) core.lastCrashes.set(endpointId, crash);
  return crash;
}
