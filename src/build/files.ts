import { existsSync } from 'node:fs';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import type { TarEntry } from '../oci/tar.js';
import {
  type IgnoreRules,
  judgeContextName,
  judgeName,
  judgePackageName,
  readContextIgnore,
  readDockerignore,
  type Verdict,
} from './ignore.js';

/** A file that goes into a layer, with what tells whether it changed since it was last hashed. */
export interface FoundFile {
  /** Relative to where the walk began, with `/`. */
  readonly path: string;
  /** Absolute. */
  readonly file: string;
  readonly size: number;
  readonly isExecutable: boolean;
  /** Target of a symbolic link. */
  readonly linkTarget?: string;
  /** Size, times, inode: equal stamps mean equal bytes (decision 11). */
  readonly stamp: string;
}

export interface FoundFiles {
  readonly files: readonly FoundFile[];
  /** Paths left out because they hold secrets. */
  readonly secrets: readonly string[];
}

type Found = { readonly path: string; readonly name: string; readonly isDirectory: boolean };
type Judge = (entry: Found) => Verdict | Promise<Verdict>;

/** The files of a project that belong in its image. Throws BUILD_FAILED for links that leave the project. */
export async function findProjectFiles(dir: string): Promise<FoundFiles> {
  const rules = await readDockerignore(dir);
  return walk(dir, (entry) => (isLeftOut(entry, rules) ? 'leave out' : judgeName(entry.name, entry.path === entry.name)));
}

/** What a Dockerfile may copy: all but what its `.dockerignore` leaves out, version control, and what may hold secrets. */
export async function findContextFiles(dir: string, dockerfile: string): Promise<FoundFiles> {
  const rules = await readContextIgnore(dir, dockerfile);
  return walk(dir, (entry) => (isLeftOut(entry, rules) ? 'leave out' : judgeContextName(entry.name)));
}

/** Whether nothing of an entry counts: a directory that a rule may take something back in below is visited. */
export function isLeftOut({ path, isDirectory }: Pick<Found, 'path' | 'isDirectory'>, rules: IgnoreRules | undefined): boolean {
  return rules !== undefined && !(isDirectory && rules.mayTakeBack(path)) && rules(path);
}

/**
 * The files of an installed package without its own nested node_modules. The rules for secrets hold here too: a package may be
 * a linked directory of the author's. A `.pem` without a private key is public, such as the certificates a package ships.
 */
export async function findPackageFiles(dir: string): Promise<FoundFiles> {
  return walk(dir, async ({ path, name, isDirectory }) => {
    const verdict = judgePackageName(name, isDirectory);
    if (verdict !== 'secret' || isDirectory || !/\.pem$/i.test(name)) return verdict;
    // What cannot be read, such as a broken link, is judged by its name.
    const text = await readFile(join(dir, path), 'latin1').catch(() => undefined);
    return text === undefined || text.includes('PRIVATE KEY') ? 'secret' : 'keep';
  });
}

/** Every file of installed packages, but for compiled caches. */
export function findInstalledFiles(dir: string): Promise<FoundFiles> {
  return walk(dir, ({ name }) => (name === '__pycache__' || name.endsWith('.pyc') ? 'leave out' : 'keep'));
}

async function walk(root: string, judge: Judge): Promise<FoundFiles> {
  const files: FoundFile[] = [];
  const secrets: string[] = [];
  const visit = async (relative: string): Promise<void> => {
    const entries = await readdir(join(root, relative), { withFileTypes: true }).catch(unreadable(relative === '' ? root : relative));
    await Promise.all(
      entries.map(async (entry) => {
        const path = relative === '' ? entry.name : `${relative}/${entry.name}`;
        const verdict = await judge({ path, name: entry.name, isDirectory: entry.isDirectory() });
        if (verdict === 'secret') secrets.push(path);
        if (verdict !== 'keep') return;
        if (entry.isDirectory()) {
          if (!existsSync(join(root, path, 'pyvenv.cfg'))) await visit(path);
        } else if (entry.isFile() || entry.isSymbolicLink()) files.push(await describeFile(root, path));
      }),
    );
  };
  await visit('');
  return { files: files.sort((a, b) => (a.path < b.path ? -1 : 1)), secrets: secrets.sort() };
}

/** Gives BUILD_FAILED for what cannot be read. Names that are not UTF-8 are read as others, which are not there. */
export function unreadable(path: string): (thrown: unknown) => never {
  return (thrown) => {
    const why = systemCodeOf(thrown) === 'ENOENT' ? 'its name is not UTF-8, or it has just been removed' : messageOf(thrown);
    throw new WherryError('BUILD_FAILED', `'${path}' of the project cannot be read: ${why}`, {
      hint: 'name it in .dockerignore if the image does not need it',
      cause: thrown,
    });
  };
}

async function describeFile(root: string, path: string): Promise<FoundFile> {
  const file = join(root, path);
  const found = await lstat(file, { bigint: true }).catch(unreadable(path));
  const stamp = `${found.size}:${found.mtimeNs}:${found.ctimeNs}:${found.ino}`;
  const base = { path, file, size: Number(found.size), isExecutable: (found.mode & 0o100n) !== 0n, stamp };
  if (!found.isSymbolicLink()) return base;
  const linkTarget = await readlink(file);
  const landing = posix.normalize(posix.join(posix.dirname(path), linkTarget));
  if (linkTarget.startsWith('/') || landing === '..' || landing.startsWith('../')) {
    throw new WherryError('BUILD_FAILED', `link '${path}' points to '${linkTarget}', outside the project`, {
      hint: 'copy the file into the project, or name the link in .dockerignore',
    });
  }
  return { ...base, linkTarget };
}

/** The layer entry of a found file, below `prefix`. */
export function toEntry(found: FoundFile, prefix: string): TarEntry {
  const path = `${prefix}/${found.path}`;
  if (found.linkTarget !== undefined) return { path, type: 'symlink', target: found.linkTarget };
  return { path, type: 'file', isExecutable: found.isExecutable, content: { file: found.file, size: found.size } };
}

/** Changes when any of the files may have changed. */
export function stampOf(files: readonly FoundFile[]): string {
  return files.map(({ file, path, isExecutable, stamp }) => `${path}\0${file}\0${Number(isExecutable)}\0${stamp}`).join('\n');
}
