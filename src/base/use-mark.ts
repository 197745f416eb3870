import { access, utimes } from 'node:fs/promises';
import { openClock } from './clock.js';
import { systemCodeOf } from './errors.js';
import { whenUnlocked } from './lock-file.js';

/**
 * Notes in the time of a file or directory that it is used now; false when it is not there. What removes things that were not used for long does so under a
 * lock and looks at the time there: with `lockFile`, what is told to be there stays. Where times may not be written, nothing is noted.
 */
export async function markUsed(path: string, lockFile?: string): Promise<boolean> {
  const now = openClock().now() / 1000;
  const isThere = await utimes(path, now, now).then(() => true, unlessAbsent);
  if (!isThere || lockFile === undefined) return isThere;
  // A removal that had looked before is over then; one that begins later sees the new time.
  await whenUnlocked(lockFile);
  return access(path).then(() => true, unlessAbsent);
}

function unlessAbsent(thrown: unknown): boolean {
  const code = systemCodeOf(thrown) ?? '';
  if (code === 'ENOENT' || code === 'ENOTDIR') return false;
  if (['EACCES', 'EPERM', 'EROFS'].includes(code)) return true;
  throw thrown;
}
