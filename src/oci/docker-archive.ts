import { createReadStream } from 'node:fs';
import { posix } from 'node:path';
import { messageOf, WherryError } from '../base/errors.js';
import type { Digest } from './digest.js';
import { type ForeignEntry, readTar } from './foreign-tar.js';
import { type ImageConfig, parseImageConfig } from './manifest.js';

/** What `docker image save` wrote (Docker image specification 1.2; newer engines write the same documents beside an OCI layout). */
export interface DockerArchive {
  /** As the engine wrote it, so that its digest stays the engine's image id. */
  readonly configBytes: Uint8Array;
  readonly config: ImageConfig;
  /** From the bottom up. */
  readonly layers: readonly { readonly diffId: Digest; readonly path: string }[];
}

/** Documents of an archive are small; layers may be, too, and are told apart by how they begin. */
const DOCUMENT_BYTES = 1024 * 1024;
/** An engine writes a few documents and links a layer; layers are bounded by the manifest. */
const DOCUMENTS = 10_000;
const DOCUMENTS_BYTES = 256 * 1024 * 1024;

/** Reads what the archive holds, but for the layers' bytes. Throws LAYER_INVALID, MANIFEST_INVALID. */
export async function readArchive(file: string): Promise<DockerArchive> {
  const { documents, links } = await readDocuments(file);
  const { configPath, layerPaths } = readList(documents);
  const configBytes = documents.get(configPath);
  if (!configBytes) throw unreadable(`it has no '${configPath}'`);
  const config = parseImageConfig(configBytes);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== layerPaths.length) throw unreadable(`it lists ${layerPaths.length} layers for ${diffIds.length} diffIDs`);
  const layers = layerPaths.map((path, index) => ({ diffId: diffIds[index] as Digest, path: followLink(path, links) }));
  return { configBytes, config, layers };
}

/** The tars at some of the paths, in the archive's order; read each to its end before the next. */
export async function* readLayers(
  file: string,
  paths: ReadonlySet<string>,
): AsyncIterable<{ readonly path: string; readonly tar: AsyncIterable<Uint8Array> }> {
  if (paths.size === 0) return;
  for await (const entry of entriesOf(file)) {
    const path = pathOf(entry);
    if (paths.has(path) && entry.type === 'file') yield { path, tar: entry.content };
  }
}

async function readDocuments(file: string) {
  const documents = new Map<string, Uint8Array>();
  const links = new Map<string, string>();
  let keptBytes = 0;
  for await (const entry of entriesOf(file)) {
    const { type, size, target, content } = entry;
    const path = pathOf(entry);
    if (type === 'symlink') links.set(path, posix.join(posix.dirname(path), target));
    const bytes = type === 'file' && size <= DOCUMENT_BYTES ? await readWhole(content) : undefined;
    if (!bytes || (bytes[0] !== 0x7b && bytes[0] !== 0x5b)) continue;
    documents.set(path, bytes);
    keptBytes += bytes.length;
    if (documents.size + links.size > DOCUMENTS || keptBytes > DOCUMENTS_BYTES) throw unreadable('it holds too many documents');
  }
  return { documents, links };
}

function entriesOf(file: string): AsyncIterable<ForeignEntry> {
  return readTar(createReadStream(file, { highWaterMark: 256 * 1024 }), { what: "the engine's archive of the image" });
}

const pathOf = ({ parts }: ForeignEntry) => parts.join('/');

async function readWhole(content: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of content) parts.push(part);
  return Buffer.concat(parts);
}

/** Engines write a layer that occurs twice once, and a link to it. */
function followLink(path: string, links: ReadonlyMap<string, string>): string {
  return links.get(posix.normalize(path)) ?? posix.normalize(path);
}

function readList(documents: ReadonlyMap<string, Uint8Array>) {
  const bytes = documents.get('manifest.json');
  if (!bytes) throw unreadable('it has no manifest.json');
  const [image] = parseList(bytes);
  const { Config: config, Layers: layers } = image ?? {};
  const isImage = typeof config === 'string' && Array.isArray(layers) && layers.every((path) => typeof path === 'string');
  if (!isImage) throw unreadable('its manifest.json names no image');
  return { configPath: posix.normalize(config), layerPaths: layers as readonly string[] };
}

function parseList(bytes: Uint8Array): readonly ({ readonly Config?: unknown; readonly Layers?: unknown } | null)[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return Array.isArray(value) ? value : [];
  } catch (thrown) {
    throw unreadable(`its manifest.json is not JSON: ${messageOf(thrown)}`);
  }
}

function unreadable(why: string): WherryError {
  return new WherryError('LAYER_INVALID', `the engine's archive of the image cannot be read: ${why}`, {
    hint: 'another engine may do: --engine',
  });
}
