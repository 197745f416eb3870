import { createReadStream } from 'node:fs';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import { WherryError } from '../base/errors.js';
import type { Digest } from './digest.js';
import { type ImageConfig, parseImageConfig } from './manifest.js';

type Entry = ReturnType<typeof extract> extends AsyncIterable<infer Item> ? Item : never;

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
): AsyncIterable<{ readonly path: string; readonly tar: Readable }> {
  if (paths.size === 0) return;
  for await (const entry of entriesOf(file)) {
    const path = pathOf(entry);
    if (paths.has(path) && entry.header.type === 'file') yield { path, tar: entry as unknown as Readable };
    else entry.resume();
  }
}

async function readDocuments(file: string) {
  const documents = new Map<string, Uint8Array>();
  const links = new Map<string, string>();
  for await (const entry of entriesOf(file)) {
    const { type, size = 0, linkname } = entry.header;
    const path = pathOf(entry);
    if (type === 'symlink' && typeof linkname === 'string') links.set(path, posix.join(posix.dirname(path), linkname));
    const bytes = type === 'file' && size <= DOCUMENT_BYTES ? await readWhole(entry) : undefined;
    if (bytes && (bytes[0] === 0x7b || bytes[0] === 0x5b)) documents.set(path, bytes);
    if (!bytes) entry.resume();
  }
  return { documents, links };
}

async function* entriesOf(file: string): AsyncIterable<Entry> {
  const reader = extract();
  const source = createReadStream(file, { highWaterMark: 256 * 1024 });
  source.on('error', (error) => reader.destroy(error));
  source.pipe(reader as unknown as NodeJS.WritableStream);
  try {
    yield* reader;
  } finally {
    source.destroy();
  }
}

const pathOf = ({ header }: Entry) => posix.normalize(header.name);

async function readWhole(entry: Entry): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of entry) parts.push(part as Uint8Array);
  return Buffer.concat(parts);
}

/** Engines write a layer that occurs twice once, and a link to it. */
function followLink(path: string, links: ReadonlyMap<string, string>): string {
  return links.get(posix.normalize(path)) ?? posix.normalize(path);
}

function readList(documents: ReadonlyMap<string, Uint8Array>) {
  const bytes = documents.get('manifest.json');
  if (!bytes) throw unreadable('it has no manifest.json');
  const [image] = JSON.parse(Buffer.from(bytes).toString('utf8')) as { readonly Config?: string; readonly Layers?: readonly string[] }[];
  if (!image?.Config || !image.Layers) throw unreadable('its manifest.json names no image');
  return { configPath: posix.normalize(image.Config), layerPaths: image.Layers };
}

function unreadable(why: string): WherryError {
  return new WherryError('LAYER_INVALID', `the engine's archive of the image cannot be read: ${why}`, {
    hint: 'another engine may do: --engine',
  });
}
