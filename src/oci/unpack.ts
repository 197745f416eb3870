import { chmod, link, lstat, mkdir, open, readdir, readlink, realpath, rm, symlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import { writeAll } from './durable-file.js';
import { type ForeignEntry, readTar, refused, splitPath } from './foreign-tar.js';

/** What the layers of one image may bring together. */
export interface UnpackLimits {
  /** Files, folders, links and whiteouts, and folders that are made on the way to them. */
  readonly entries: number;
  /** Of the unpacked layers. */
  readonly bytes: number;
}

const UNPACK_LIMITS: UnpackLimits = { entries: 500_000, bytes: 128 * 1024 ** 3 };

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** As many links on one way as Linux follows. */
const LINKS_FOLLOWED = 40;

/** The layers of an image while they are put over one another. */
interface Unpacking {
  /** Absolute, without links on its way. */
  readonly root: string;
  readonly limits: UnpackLimits;
  entries: number;
  bytes: number;
  /** Paths below the root that the layer at work brought, and the folders they are in. */
  brought: Set<string>;
  /** A path that is a folder without links on its way, and that only got entries of its own since that was seen. */
  folder: string | undefined;
}

/**
 * Unpacks layers over `dir`, from the bottom up (OCI image-spec, layer.md "Applying Changesets"): later entries replace earlier ones,
 * whiteouts remove what lower layers brought.
 *
 * Nothing outside `dir` is read, made, changed or removed, whatever the layers hold. Ways are followed as a process would that has
 * `dir` as its root: absolute paths and link targets begin there, `..` does not lead above. So absolute symbolic links are legal; they are
 * written relative, and lead for programs of this machine to where they lead in a container, or nowhere. Owners, setuid bits and extended
 * attributes are not restored; owners may always read files and enter folders.
 *
 * Throws LAYER_INVALID: for `..` in a path, for hard links to anything but a file of the image, for devices, pipes and sparse files, for names that
 * are not UTF-8, for whiteouts of no name, beyond the limits, and when the disk refuses.
 */
export async function unpackLayers(
  layers: Iterable<AsyncIterable<Uint8Array>>,
  dir: string,
  limits: UnpackLimits = UNPACK_LIMITS,
): Promise<void> {
  try {
    await mkdir(dir, { recursive: true });
    const unpacking: Unpacking = { root: await realpath(dir), limits, entries: 0, bytes: 0, brought: new Set(), folder: undefined };
    for (const layer of layers) {
      unpacking.brought = new Set();
      let declaredBytes = unpacking.bytes;
      for await (const entry of readTar(meter(layer, unpacking))) {
        // Before the first byte of it is written.
        declaredBytes += entry.size;
        checkLimits(unpacking, declaredBytes);
        await unpackEntry(unpacking, entry);
      }
    }
  } catch (thrown) {
    if (thrown instanceof WherryError) throw thrown;
    throw new WherryError('LAYER_INVALID', `a layer could not be unpacked: ${messageOf(thrown)}`, {
      hint: 'build and push the image again',
      cause: thrown,
    });
  }
}

/** Also what is no entry costs time: headers without end, for instance. */
async function* meter(source: AsyncIterable<Uint8Array>, unpacking: Unpacking): AsyncIterable<Uint8Array> {
  for await (const part of source) {
    unpacking.bytes += part.length;
    checkLimits(unpacking, unpacking.bytes);
    yield part;
  }
}

function checkLimits({ entries, limits }: Unpacking, bytes: number): void {
  const why =
    entries > limits.entries
      ? `more than ${limits.entries} files, folders and links`
      : bytes > limits.bytes
        ? `more than ${limits.bytes} bytes`
        : undefined;
  if (why === undefined) return;
  throw new WherryError('LAYER_INVALID', `the layers of the image are refused: they hold ${why}, which is the limit of what is unpacked`, {
    hint: 'build a smaller image: leave out what the handler does not need',
  });
}

async function unpackEntry(unpacking: Unpacking, entry: ForeignEntry): Promise<void> {
  const path = entry.parts.join('/');
  if (!entry.isText) throw refused(path, 'its name or link target is not UTF-8');
  if (entry.type === 'special') throw refused(path, 'it is no file, folder or link');
  count(unpacking);
  const folders = entry.parts.slice(0, -1);
  const name = entry.parts.at(-1);
  if (name === undefined) return;
  if (name.startsWith(WHITEOUT)) return hide(unpacking, folders, name);
  const parent = await openFolder(unpacking, folders);
  const place = [...parent, name];
  await putEntry(unpacking, entry, place);
  noteBrought(unpacking, place);
}

/** Most entries come behind others of the same folder. */
async function openFolder(unpacking: Unpacking, folders: readonly string[]): Promise<readonly string[]> {
  const path = folders.join('/');
  if (unpacking.folder === path) return folders;
  const way = await follow(unpacking, folders, { isMaking: true });
  unpacking.folder = way.join('/') === path ? path : undefined;
  return way;
}

function noteBrought({ brought }: Unpacking, place: readonly string[]): void {
  for (let length = place.length; length > 0; length--) {
    const path = place.slice(0, length).join('/');
    // Its folders are noted then, too.
    if (brought.has(path)) return;
    brought.add(path);
  }
}

function count(unpacking: Unpacking): void {
  unpacking.entries += 1;
  checkLimits(unpacking, 0);
}

async function putEntry(unpacking: Unpacking, entry: ForeignEntry, place: readonly string[]): Promise<void> {
  const { root } = unpacking;
  const target = join(root, ...place);
  const found = await look(target);
  if (entry.type === 'directory') {
    if (!found?.isDirectory()) {
      if (found) await rm(target);
      await mkdir(target);
    }
    return chmod(target, (entry.mode & 0o777) | 0o700);
  }
  // Both are found out before anything gives way.
  const source = entry.type === 'link' ? await findLinked(unpacking, entry) : '';
  const text = entry.type === 'symlink' ? await relativeTarget(unpacking, entry, place.slice(0, -1)) : '';
  if (source === target) return;
  if (found) await rm(target, { recursive: true });
  if (entry.type === 'link') return link(source, target);
  if (entry.type === 'symlink') return symlink(text, target);
  return writeContent(target, entry);
}

async function writeContent(target: string, { mode, content }: ForeignEntry): Promise<void> {
  const bits = (mode & 0o777) | 0o400;
  const handle = await open(target, 'wx', bits);
  try {
    let size = 0;
    for await (const part of content) {
      await writeAll(handle, part, size);
      size += part.length;
    }
    await handle.chmod(bits);
  } finally {
    await handle.close();
  }
}

/** The file that a hard link is another name of. A link as its source would mean another place under another name. */
async function findLinked(unpacking: Unpacking, { parts, target }: ForeignEntry): Promise<string> {
  const linked = splitPath(target);
  const folder = await follow(unpacking, linked.slice(0, -1), { isMaking: false });
  const source = join(unpacking.root, ...folder, linked.at(-1) ?? '');
  if ((await look(source))?.isFile()) return source;
  throw refused(parts.join('/'), `its link target '${target}' is no file of the image`);
}

/**
 * The text of a symbolic link in the folder `parent`: first `..`, as many as lead to a folder at or below the root, then names only. Whatever
 * the names become later, and whichever links are among them, a way through such links never leaves the root.
 */
async function relativeTarget(unpacking: Unpacking, { parts, target }: ForeignEntry, parent: readonly string[]): Promise<string> {
  if (target === '' || target.includes('\0')) throw refused(parts.join('/'), 'it is a link to nothing');
  const wanted = target.split('/').filter((part) => part !== '' && part !== '.');
  const from = target.startsWith('/') ? [] : parent;
  const upTo = wanted.lastIndexOf('..') + 1;
  const base = await follow(unpacking, wanted.slice(0, upTo), { isMaking: false, from });
  return posix.relative(`/${parent.join('/')}`, `/${[...base, ...wanted.slice(upTo)].join('/')}`) || '.';
}

/** Whiteouts are for what lower layers brought; what their own layer brings stays, wherever it stands in the tar. */
async function hide(unpacking: Unpacking, folders: readonly string[], name: string): Promise<void> {
  unpacking.folder = undefined;
  const hidden = name.slice(WHITEOUT.length);
  // Joined to the folder these would be the folder itself, and the one above it.
  if (hidden === '' || hidden === '.' || hidden === '..') throw refused([...folders, name].join('/'), 'it hides no file');
  const folder = await follow(unpacking, folders, { isMaking: false });
  const place = join(unpacking.root, ...folder);
  if (!(await look(place))?.isDirectory()) return;
  const names = name === OPAQUE ? await readdir(place) : [hidden];
  for (const child of names) await hideLower(unpacking, [...folder, child]);
}

async function hideLower(unpacking: Unpacking, place: readonly string[]): Promise<void> {
  const target = join(unpacking.root, ...place);
  if (!unpacking.brought.has(place.join('/'))) return rm(target, { recursive: true, force: true });
  if (!(await look(target))?.isDirectory()) return;
  for (const child of await readdir(target)) await hideLower(unpacking, [...place, child]);
}

interface Way {
  /** Folders that are missing are made, and what is in the way refused; else names are taken as they are from there on. */
  readonly isMaking: boolean;
  /** A folder without links on its way; the root when absent. */
  readonly from?: readonly string[];
}

/** Where a way below the root ends, links followed: a path without links, as far as it exists. Throws LAYER_INVALID for a circle of links. */
async function follow(unpacking: Unpacking, parts: readonly string[], { isMaking, from = [] }: Way): Promise<readonly string[]> {
  const left = [...parts].reverse();
  const way = [...from];
  let links = 0;
  for (let part = left.pop(); part !== undefined; part = left.pop()) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      way.pop();
      continue;
    }
    const place = join(unpacking.root, ...way, part);
    const found = await look(place);
    if (found?.isSymbolicLink()) {
      links += 1;
      if (links > LINKS_FOLLOWED) throw refused(parts.join('/'), 'links on its way lead in a circle');
      const target = await readlink(place);
      if (target.startsWith('/')) way.length = 0;
      left.push(...target.split('/').reverse());
      continue;
    }
    if (isMaking && !found) {
      count(unpacking);
      await mkdir(place);
    } else if (isMaking && !found?.isDirectory()) throw refused(parts.join('/'), 'a file is in its way');
    way.push(part);
  }
  return way;
}

/** What is at a path, links not followed; undefined for nothing. */
async function look(path: string) {
  return lstat(path).catch((thrown: unknown) => {
    const code = systemCodeOf(thrown);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw thrown;
  });
}
