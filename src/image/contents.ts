import { createHash } from 'node:crypto';
import { WherryError } from '../base/errors.js';
import { type ForeignEntry, type NameLimits, readTar } from '../oci/foreign-tar.js';
import { readPackages, tellsOfPackages } from './packages.js';
import type { ImageSource, SourceLayer } from './source.js';
import { FileTree, type ImageFile, type LayerEntry, type Software } from './tree.js';

/** What the layers of an image hold. */
export interface ImageContents extends Software {
  readonly layers: readonly LayerContents[];
  /** As a container sees them, in order of path by folder. */
  readonly files: readonly ImageFile[];
}

export interface LayerContents {
  /** Files, links and folders that the layer brings. */
  readonly entries: number;
  /** Bytes of its files. */
  readonly unpackedBytes: number;
  /** Bytes of its files that later layers replace or remove. */
  readonly wastedBytes: number;
}

export interface ContentsOptions {
  /** Before each layer is read. */
  readonly onLayer?: (layer: SourceLayer, index: number) => void;
  /** Files tell equal content from other content; costs time. */
  readonly isCompared?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly limits?: ContentsLimits;
}

/** Beyond these an image is refused, because memory is not. */
export interface ContentsLimits extends NameLimits {
  /** Files, links and folders in all. */
  readonly entries: number;
  /** Characters of all paths. */
  readonly allPaths: number;
  /** Bytes of a file that tells of packages. */
  readonly packageFileBytes: number;
  readonly packages: number;
}

const LIMITS: ContentsLimits = {
  entries: 500_000,
  pathLength: 4_096,
  pathDepth: 256,
  allPaths: 128 * 1024 * 1024,
  packageFileBytes: 32 * 1024 * 1024,
  packages: 200_000,
};

/** The layers of an image while they are read one after another. */
export interface Walk {
  readonly tree: FileTree;
  readonly limits: ContentsLimits;
  readonly isCompared: boolean;
  readonly signal: AbortSignal | undefined;
  /** So far, also of what later layers removed. */
  paths: number;
  packages: number;
}

/**
 * Reads all layers, one after another, and writes nothing to disk; memory grows with the number of files, not with their size.
 * Throws LAYER_INVALID for layers that are damaged or beyond the limits, and what opening a layer throws.
 */
export async function readContents(source: ImageSource, options: ContentsOptions = {}): Promise<ImageContents> {
  const { onLayer } = options;
  const walk = createWalk(options);
  const layers: Omit<LayerContents, 'wastedBytes'>[] = [];
  for (const [index, layer] of source.layers.entries()) {
    onLayer?.(layer, index);
    layers.push(await readLayer(walk, layer, index));
  }
  return {
    layers: layers.map((layer, index) => ({ ...layer, wastedBytes: walk.tree.wastedBytes(index) })),
    files: [...walk.tree.files()],
    ...walk.tree.software(),
  };
}

/** No layer is read yet. */
export function createWalk({ isCompared = false, signal, limits = LIMITS }: ContentsOptions = {}): Walk {
  return { tree: new FileTree(), limits, isCompared, signal, paths: 0, packages: 0 };
}

/** Puts the next layer over those before. */
export async function readLayer(walk: Walk, layer: SourceLayer, index: number): Promise<{ entries: number; unpackedBytes: number }> {
  const { limits, signal } = walk;
  const read = { entries: 0, unpackedBytes: 0 };
  for await (const found of readTar(layer.open(), { what: `layer '${layer.descriptor.digest}'`, limits, signal })) {
    const entry = await readEntry(walk, found);
    if (!entry) continue;
    walk.tree.apply(entry, index);
    checkSize(walk);
    read.entries += 1;
    read.unpackedBytes += entry.size;
  }
  return read;
}

/** Undefined for the root of the image, which every layer may name. */
async function readEntry(walk: Walk, { parts, type, mode, size, ...entry }: ForeignEntry): Promise<LayerEntry | undefined> {
  const path = parts.join('/');
  walk.paths += path.length;
  const isRead = type === 'file' && tellsOfPackages(path);
  if (isRead && size > walk.limits.packageFileBytes) throw refused(`its file '${path}' has ${size} bytes`);
  const { bytes, content } = await readStream(entry.content, { isKept: isRead, isHashed: walk.isCompared && type === 'file' });
  const found = isRead ? readPackages(path, bytes) : undefined;
  walk.packages += found?.packages.length ?? 0;
  if (path === '') return undefined;
  const target = type === 'symlink' || type === 'link' ? entry.target : undefined;
  return { path, type, mode, size, target, content, found };
}

async function readStream(
  stream: AsyncIterable<Uint8Array>,
  { isKept, isHashed }: { readonly isKept: boolean; readonly isHashed: boolean },
) {
  const parts: Uint8Array[] = [];
  const hash = isHashed ? createHash('sha256') : undefined;
  for await (const part of stream) {
    if (isKept) parts.push(part);
    hash?.update(part);
  }
  return { bytes: Buffer.concat(parts), content: hash?.digest('base64') };
}

function checkSize({ tree, limits, paths, packages }: Walk): void {
  if (tree.nodes > limits.entries) throw refused(`the image has more than ${limits.entries} files`);
  if (paths > limits.allPaths) throw refused(`the paths of the image have more than ${limits.allPaths} characters`);
  if (packages > limits.packages) throw refused(`the image tells of more than ${limits.packages} packages`);
}

function refused(why: string): WherryError {
  return new WherryError('LAYER_INVALID', `a layer is refused: ${why}`, { hint: 'build the image again with a tool you trust' });
}
