import { lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { lstat, open, readdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { systemCodeOf } from '../../base/errors.js';
import { syncDirectory } from '../../oci/durable-file.js';

/** One file, folder or link of a sealed tree. */
export interface SealedEntry {
  /** Relative to the root of the tree, with `/`; parents come first. */
  readonly path: string;
  readonly kind: 'directory' | 'file' | 'link';
  readonly isExecutable: boolean;
  readonly size: number;
  /** Mode, size, times, inode: equal stamps mean equal bytes (decision 11). No program can set the change time. */
  readonly stamp: string;
}

/** What a tree was when it was unpacked and synced. */
export type Seal = readonly SealedEntry[];

/** Lies beside the tree; a tree without it was never complete. */
const SEAL_FILE = 'seal.json';
const PARALLEL = 16;
/** Larger files are not copied for each worker: they are shown as links to the shared ones. */
const COPIED_BYTES = 1024 * 1024;

/** Makes the files of `root/top` read-only, puts everything on disk, and writes down what is there. */
export async function sealTree(root: string, top: string): Promise<Seal> {
  const paths = [top, ...(await listBelow(root, top))].sort();
  const queue = paths.values();
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (const path of queue) await settleEntry(join(root, path));
    }),
  );
  // Only now: a second name of a file would change the first one's stamp.
  const seal = paths.map((path) => describeEntry(root, path));
  const handle = await open(join(root, SEAL_FILE), 'wx', 0o600);
  try {
    await handle.writeFile(JSON.stringify(seal));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await syncDirectory(root);
  return seal;
}

/** The seal of a root, or undefined when it has none. */
export async function readSeal(root: string): Promise<Seal | undefined> {
  try {
    return JSON.parse(await readFile(join(root, SEAL_FILE), 'utf8')) as Seal;
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT' || thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

/** The first path that is not what it was, or undefined. Files that were added are seen in the stamp of their folder. */
export function findChange(root: string, seal: Seal): string | undefined {
  return seal.find((entry) => stampOf(join(root, entry.path)) !== entry.stamp)?.path;
}

/** A copy of `root/top` of its own in the folder `target`, which exists: a worker may write there. */
export function copyTree({ root, seal, top, target }: { root: string; seal: Seal; top: string; target: string }): void {
  for (const { path, kind, isExecutable, size } of seal) {
    if (!path.startsWith(`${top}/`)) continue;
    const from = join(root, path);
    const to = join(target, path.slice(top.length + 1));
    if (kind === 'directory') mkdirSync(to);
    else if (kind === 'link') symlinkSync(linkText(from, join(root, top)), to);
    else if (size > COPIED_BYTES) symlinkSync(from, to);
    else writeFileSync(to, readFileSync(from), { mode: isExecutable ? 0o755 : 0o644 });
  }
}

/** The text for a copy of a link: one that leads out of the copied folder is shown where it leads beside the original. */
function linkText(link: string, folder: string): string {
  const text = readlinkSync(link);
  const target = resolve(dirname(link), text);
  return target === folder || target.startsWith(folder + sep) ? text : target;
}

/** Everything below a folder; links are not followed, or they would be sealed, and made read-only, wherever they lead. */
async function listBelow(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const lists = await Promise.all(
    entries.map(async (entry) => {
      const path = `${folder}/${entry.name}`;
      return entry.isDirectory() ? [path, ...(await listBelow(root, path))] : [path];
    }),
  );
  return lists.flat();
}

async function settleEntry(file: string): Promise<void> {
  const found = await lstat(file);
  if (found.isSymbolicLink()) return;
  if (found.isDirectory()) return syncDirectory(file);
  const handle = await open(file, 'r');
  try {
    await handle.chmod(found.mode & 0o555);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function describeEntry(root: string, path: string): SealedEntry {
  const file = join(root, path);
  const found = lstatSync(file);
  const kind = found.isDirectory() ? 'directory' : found.isSymbolicLink() ? 'link' : 'file';
  return { path, kind, isExecutable: (found.mode & 0o100) !== 0, size: found.size, stamp: stampOf(file) ?? '' };
}

function stampOf(file: string): string | undefined {
  const found = lstatSync(file, { bigint: true, throwIfNoEntry: false });
  return found && `${found.mode} ${found.size} ${found.mtimeNs} ${found.ctimeNs} ${found.ino}`;
}
