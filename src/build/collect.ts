import { randomUUID } from 'node:crypto';
import { lstat, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCodeOf } from '../base/errors.js';
import { withLock } from '../base/lock-file.js';
import { blobsDirOf, type Layout, type NamedManifest, openLayout } from '../oci/layout.js';
import { type NeedOf, type Needs, readNeeds } from './last-builds.js';

/** What stays of builds. */
export interface KeepRules {
  /** What nothing used for so long goes, unless the last build of a project needs it. */
  readonly unusedMs: number;
  /** Most bytes of everything: above it goes what was not used for longest, last builds too. */
  readonly sizeBytes: number;
  /** What was used within this time stays in any case. */
  readonly sparedMs: number;
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** A build, and the push behind it, may take a day. */
export const KEEP_TIMES = { unusedMs: 7 * DAY_MS, sparedMs: DAY_MS } as const;

/** A file or directory that builds left. */
export interface KeptItem {
  readonly path: string;
  readonly sizeBytes: number;
  /** Milliseconds since the epoch, as the file system has it. */
  readonly usedAt: number;
  /** Names of the projects whose last build it is a part of, or quick without it. */
  readonly neededBy: readonly string[];
}

/** Decides what goes. */
export function decideRemovals(items: readonly KeptItem[], now: number, { unusedMs, sizeBytes, sparedMs }: KeepRules): readonly KeptItem[] {
  const isOld = ({ usedAt, neededBy }: KeptItem) => neededBy.length === 0 && usedAt < now - unusedMs;
  const gone = items.filter(isOld);
  const rest = items.filter((item) => !isOld(item)).sort((a, b) => a.usedAt - b.usedAt);
  let total = rest.reduce((sum, item) => sum + item.sizeBytes, 0);
  for (const item of rest) {
    if (total <= sizeBytes || item.usedAt >= now - sparedMs) break;
    gone.push(item);
    total -= item.sizeBytes;
  }
  return gone;
}

export interface CollectRequest {
  readonly layoutDir: string;
  readonly cacheDir: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly rules: KeepRules;
}

export interface Collected {
  readonly count: number;
  readonly sizeBytes: number;
}

/**
 * Removes what builds left and nothing uses any more, at most once a day; undefined when it was not due. Builds of other processes go on
 * meanwhile: what they mark as used stays, what is gone before they look they make again; see {@link markUsed}.
 */
export async function collectBuilds({ layoutDir, cacheDir, now, rules }: CollectRequest): Promise<Collected | undefined> {
  const layout = await openLayout(layoutDir);
  if (!(await withLock(layout.lockFile, () => takeTurn(layoutDir, now)))) return undefined;
  const refs = await layout.listRefs();
  const needs = await readNeeds(refs, { layoutDir, cacheDir });
  const items = [
    ...(await listItems(blobsDirOf(layoutDir), needs.blobs)),
    ...(await listItems(layoutDir, none, LAYOUT_FILES)),
    ...(await listCached(cacheDir, needs)),
  ];
  const moved = await moveAside(layout, decideRemovals(items, now, rules));
  await withLock(layout.lockFile, () => forgetBroken(layout, refs, moved));
  for (const { aside } of moved) await rm(aside, { recursive: true, force: true });
  return { count: moved.length, sizeBytes: moved.reduce((sum, { item }) => sum + item.sizeBytes, 0) };
}

/** The first time nothing is old. */
async function takeTurn(layoutDir: string, now: number): Promise<boolean> {
  const stamp = join(layoutDir, 'collected');
  const last = await timeOf(stamp);
  if (last !== undefined && Math.abs(now - last) < DAY_MS) return false;
  await writeFile(stamp, '');
  await utimes(stamp, now / 1000, now / 1000);
  return last !== undefined;
}

/** Everything else in the directory of a layout was left by a build that was killed. */
const LAYOUT_FILES = new Set(['blobs', 'index.json', 'oci-layout', 'lock', 'collected']);

/** The process runtime's, which frees it with the image. */
const FOREIGN_CACHES = new Set(['compiled']);

async function listCached(cacheDir: string, needs: Needs): Promise<readonly KeptItem[]> {
  const names = (await namesIn(cacheDir)).filter((name) => !FOREIGN_CACHES.has(name));
  return (await Promise.all(names.map((name) => listItems(join(cacheDir, name), needs.caches[name])))).flat();
}

const none: NeedOf = () => undefined;

async function listItems(dir: string, needOf = none, except: ReadonlySet<string> = new Set()): Promise<readonly KeptItem[]> {
  const names = (await namesIn(dir)).filter((name) => !except.has(name));
  const items: KeptItem[] = [];
  for (const name of names) {
    const path = join(dir, name);
    const usedAt = await timeOf(path);
    if (usedAt !== undefined) items.push({ path, usedAt, sizeBytes: await sizeOf(path), neededBy: (await needOf(name)) ?? [] });
  }
  return items;
}

/** So many at a time, that no build waits long for the lock. */
const MOVED_AT_ONCE = 200;

type Moved = { readonly item: KeptItem; readonly aside: string };

/** Renames, in a moment, what was not used since it was looked at; to remove it takes longer. */
async function moveAside({ lockFile }: Layout, items: readonly KeptItem[]): Promise<readonly Moved[]> {
  const moved: Moved[] = [];
  for (let from = 0; from < items.length; from += MOVED_AT_ONCE) {
    await withLock(lockFile, async () => {
      for (const item of items.slice(from, from + MOVED_AT_ONCE)) {
        if ((await timeOf(item.path)) !== item.usedAt) continue;
        const aside = `${item.path}.${randomUUID()}`;
        await rename(item.path, aside);
        moved.push({ item, aside });
      }
    });
  }
  return moved;
}

/** Names whose images are not whole go, too; unless a build has made again what is missing. */
async function forgetBroken(layout: Layout, refs: readonly NamedManifest[], moved: readonly Moved[]): Promise<void> {
  const broken = new Set<string>();
  for (const { item } of moved.filter((each) => dirname(each.item.path) === blobsDirOf(layout.dir))) {
    if (item.neededBy.length > 0 && (await timeOf(item.path)) === undefined) for (const name of item.neededBy) broken.add(name);
  }
  if (broken.size > 0) await layout.removeRefs(refs.filter(({ name }) => broken.has(name)));
}

async function namesIn(dir: string): Promise<readonly string[]> {
  return readdir(dir).catch(unlessGone([]));
}

async function timeOf(path: string): Promise<number | undefined> {
  return lstat(path).then(({ mtimeMs }) => mtimeMs, unlessGone(undefined));
}

async function sizeOf(path: string): Promise<number> {
  const found = await lstat(path).catch(unlessGone(undefined));
  if (!found?.isDirectory()) return found?.size ?? 0;
  const sizes = await Promise.all((await namesIn(path)).map((name) => sizeOf(join(path, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Others remove files, too. */
function unlessGone<T>(instead: T): (thrown: unknown) => T {
  return (thrown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(thrown) ?? '')) return instead;
    throw thrown;
  };
}
