import { open, rm, stat } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { systemCodeOf } from './errors.js';

/** A step under a lock takes a moment: one that did not end in this time is of a process that died. */
const STALE_MS = 10_000;
const LOOK_MS = 5;

/** Runs a step while no other process is in one under the same lock. Steps are short; a lock that a dead process left is removed after ten seconds. */
export async function withLock<T>(file: string, step: () => Promise<T>, staleMs = STALE_MS): Promise<T> {
  while (!(await take(file))) if (await isStale(file, staleMs)) await rm(file, { force: true });
  try {
    return await step();
  } finally {
    await rm(file, { force: true });
  }
}

/** Waits until no step that began before is under way. */
export async function whenUnlocked(file: string, staleMs = STALE_MS): Promise<void> {
  if (await isStale(file, staleMs)) await rm(file, { force: true });
}

async function take(file: string): Promise<boolean> {
  try {
    await (await open(file, 'wx')).close();
    return true;
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'EEXIST') return false;
    throw thrown;
  }
}

/** Waits until the lock that is there now is gone, or another; true when it stays too long. */
async function isStale(file: string, staleMs: number): Promise<boolean> {
  const first = await identify(file);
  const startedAt = performance.now();
  for (let now = first; now !== undefined && now === first; now = await identify(file)) {
    if (performance.now() - startedAt > staleMs) return true;
    await wait(LOOK_MS);
  }
  return false;
}

async function identify(file: string): Promise<string | undefined> {
  const found = await stat(file, { bigint: true }).catch((thrown: unknown) => {
    if (systemCodeOf(thrown) === 'ENOENT') return undefined;
    throw thrown;
  });
  return found && `${found.ino} ${found.ctimeNs}`;
}
