import { createHash } from 'node:crypto';
import { createWalk, readLayer } from './contents.js';
import type { ImageSource } from './source.js';
import type { FileTree, LayerEntry, Software } from './tree.js';

/** Texts by key, kept between runs; one that is lost or damaged is made again. */
export interface Memory {
  get(key: string): Promise<string | undefined>;
  put(key: string, text: string): Promise<void>;
}

/** Changes whenever other things are read from layers or kept of them. */
const FORMAT = 'wherry packages 1';

export interface KnownOptions {
  readonly memory: Memory;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The packages of an image. What the layers from the bottom up to each one told is remembered by their diffIDs, so that only
 * layers above the known ones are read: a base once, a change of code alone next time. Throws as `readContents`.
 */
export async function readKnownPackages(source: ImageSource, { memory, signal }: KnownOptions): Promise<Software> {
  const walk = createWalk({ signal });
  const keys = keysOf(source);
  let next = await recall(walk.tree, keys, memory);
  for (; next < source.layers.length; next++) {
    const layer = source.layers[next];
    if (layer) await readLayer(walk, layer, next);
    await memory.put(keys[next] ?? '', JSON.stringify(relevantEntries(walk.tree)));
  }
  return walk.tree.software();
}

/** One key a layer: of it and all below it. */
function keysOf({ layers }: ImageSource): readonly string[] {
  const hash = createHash('sha256').update(FORMAT);
  return layers.map(({ diffId }) => hash.update(`\n${diffId}`).copy().digest('hex'));
}

/** Fills the tree with what is known of the bottom layers; gives the index of the first that is not. */
async function recall(tree: FileTree, keys: readonly string[], memory: Memory): Promise<number> {
  for (let index = keys.length - 1; index >= 0; index--) {
    const entries = parseEntries(await memory.get(keys[index] ?? ''));
    if (!entries) continue;
    for (const entry of entries) tree.apply(entry, index);
    return index + 1;
  }
  return 0;
}

/**
 * Files that tell of software, and the folders and links that decide where the paths of later layers lead. Other files change
 * nothing of that, but for the folders they are in.
 */
function relevantEntries(tree: FileTree): readonly LayerEntry[] {
  const kept = new Map<string, LayerEntry>();
  for (const { path, type, mode, size, target, content, found } of tree.files()) {
    const isTelling = found?.distribution !== undefined || (found?.packages.length ?? 0) > 0;
    const folder = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    if (folder !== '' && !kept.has(folder)) kept.set(folder, folderOf(folder));
    if (isTelling || type === 'symlink' || type === 'directory') kept.set(path, { path, type, mode, size, target, content, found });
  }
  return [...kept.values()];
}

function folderOf(path: string): LayerEntry {
  return { path, type: 'directory', mode: 0, size: 0, target: undefined, content: undefined, found: undefined };
}

function parseEntries(text: string | undefined): readonly LayerEntry[] | undefined {
  try {
    const value: unknown = text === undefined ? undefined : JSON.parse(text);
    return Array.isArray(value) ? (value as LayerEntry[]) : undefined;
  } catch {
    return undefined;
  }
}
