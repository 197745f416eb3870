import { createHash } from 'node:crypto';
import { addAbortSignal, Readable } from 'node:stream';
import { extract, type Header } from 'tar-stream';
import { messageOf, WherryError } from '../base/errors.js';
import { readPackages, tellsOfPackages } from './packages.js';
import type { ImageSource, SourceLayer } from './source.js';
import { FileTree, type FileType, type ImageFile, type LayerEntry, type Software } from './tree.js';

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
  readonly signal?: AbortSignal;
  readonly limits?: ContentsLimits;
}

/** Beyond these an image is refused, because memory is not. */
export interface ContentsLimits {
  /** Files, links and folders in all. */
  readonly entries: number;
  /** Characters of a path; Linux has the same limit. */
  readonly pathLength: number;
  readonly pathDepth: number;
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
  const extractor = extract();
  const input = Readable.from(layer.open());
  input.on('error', (error) => extractor.destroy(error));
  if (walk.signal) addAbortSignal(walk.signal, input);
  input.pipe(extractor);
  const read = { entries: 0, unpackedBytes: 0 };
  try {
    for await (const stream of extractor) {
      const entry = await readEntry(walk, stream.header, stream as unknown as Readable);
      if (!entry) continue;
      walk.tree.apply(entry, index);
      checkSize(walk);
      read.entries += 1;
      read.unpackedBytes += entry.size;
    }
  } catch (thrown) {
    if (thrown instanceof WherryError) throw thrown;
    throw new WherryError('LAYER_INVALID', `layer '${layer.descriptor.digest}' could not be read: ${messageOf(thrown)}`, {
      hint: 'push the image again',
      cause: thrown,
    });
  } finally {
    input.destroy();
  }
  return read;
}

/** Undefined for the root of the image, which every layer may name. */
async function readEntry(walk: Walk, header: Header, stream: Readable): Promise<LayerEntry | undefined> {
  const path = normalize(header.name, walk.limits);
  walk.paths += path.length;
  const type = typeOf(header);
  const isRead = type === 'file' && tellsOfPackages(path);
  const size = type === 'file' ? (header.size ?? 0) : 0;
  if (isRead && size > walk.limits.packageFileBytes) throw refused(`its file '${path}' has ${size} bytes`);
  const { bytes, content } = await readStream(stream, { isKept: isRead, isHashed: walk.isCompared && type === 'file' });
  const found = isRead ? readPackages(path, bytes) : undefined;
  walk.packages += found?.packages.length ?? 0;
  if (path === '') return undefined;
  const target = type === 'symlink' || type === 'link' ? (header.linkname ?? '').slice(0, walk.limits.pathLength) : undefined;
  return { path, type, mode: (header.mode ?? 0) & 0o7777, size, target, content, found };
}

async function readStream(stream: Readable, { isKept, isHashed }: { readonly isKept: boolean; readonly isHashed: boolean }) {
  const parts: Uint8Array[] = [];
  const hash = isHashed ? createHash('sha256') : undefined;
  for await (const part of stream) {
    if (isKept) parts.push(part as Uint8Array);
    hash?.update(part as Uint8Array);
  }
  return { bytes: Buffer.concat(parts), content: hash?.digest('base64') };
}

const TYPES: Readonly<Record<string, FileType>> = {
  file: 'file',
  'contiguous-file': 'file',
  directory: 'directory',
  symlink: 'symlink',
  link: 'link',
};

function typeOf({ type }: Header): FileType {
  return TYPES[type ?? 'file'] ?? 'special';
}

/** As `path` of {@link LayerEntry}; absolute paths are taken below the root. */
function normalize(name: string, { pathLength, pathDepth }: ContentsLimits): string {
  if (name.length > pathLength) throw refused(`it has a path of ${name.length} characters`);
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length > pathDepth) throw refused(`it has a path of ${parts.length} folders`);
  if (parts.includes('..')) throw refused(`its path '${name}' holds '..'`);
  return parts.join('/');
}

function checkSize({ tree, limits, paths, packages }: Walk): void {
  if (tree.nodes > limits.entries) throw refused(`the image has more than ${limits.entries} files`);
  if (paths > limits.allPaths) throw refused(`the paths of the image have more than ${limits.allPaths} characters`);
  if (packages > limits.packages) throw refused(`the image tells of more than ${limits.packages} packages`);
}

function refused(why: string): WherryError {
  return new WherryError('LAYER_INVALID', `a layer is refused: ${why}`, { hint: 'build the image again with a tool you trust' });
}
