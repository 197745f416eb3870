import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../base/errors.js';
import { findProjectFiles, stampOf } from '../../build/files.js';
import { PROJECT_FILE } from '../../project/read.js';

/** Shortest pause between two looks; a look at a large project lasts longer, and so does the pause after it. */
const LOOK_MS = 250;
/** A look may take this share of the time. */
const PAUSE_FACTOR = 10;
/** Editors write a file in several steps: a change counts once two looks in a row agree. */
const SETTLE_MS = 50;
/** Not in the image, but they decide what is. */
const SETTINGS = [PROJECT_FILE, '.dockerignore'];

/**
 * Yields at each change of what the project's image is made of: exactly the files that a build takes, so that installed packages,
 * caches and ignored folders cost nothing; and of the `more` files that are named. It looks instead of asking the system, which also works
 * on network and shared folders. The first look is at once: what changes before the first step of who iterates is a change, too.
 */
export function changesOf(dir: string, signal: AbortSignal, more: readonly string[] = []): AsyncIterable<void> {
  const look = () => stampProject(dir, more);
  return followChanges(look, look(), signal);
}

async function* followChanges(look: () => Promise<string>, first: Promise<string>, signal: AbortSignal): AsyncIterable<void> {
  let before = await first;
  while (!signal.aborted) {
    const startedAt = performance.now();
    const now = await look();
    const tookMs = performance.now() - startedAt;
    if (now !== before) {
      before = await settled(look, now, signal);
      yield;
    }
    await delay(Math.max(LOOK_MS, tookMs * PAUSE_FACTOR), undefined, { signal }).catch(() => {});
  }
}

async function settled(look: () => Promise<string>, first: string, signal: AbortSignal): Promise<string> {
  for (let before = first; ; ) {
    await delay(SETTLE_MS);
    const now = await look();
    if (now === before || signal.aborted) return now;
    before = now;
  }
}

/** A project that cannot be read has a stamp too: the next build says what is wrong with it. */
async function stampProject(dir: string, more: readonly string[]): Promise<string> {
  const settings = await Promise.all([...SETTINGS, ...more].map((name) => stampFile(join(dir, name))));
  const files = await findProjectFiles(dir).then(({ files: found }) => stampOf(found), messageOf);
  return [...settings, files].join('\n');
}

async function stampFile(file: string): Promise<string> {
  return stat(file).then(({ size, mtimeMs, ino }) => `${size}:${mtimeMs}:${ino}`, messageOf);
}
