import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCodeOf, WherryError } from '../base/errors.js';
import { markUsed } from '../base/use-mark.js';
import { MEDIA_TYPES } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { replaceFile } from '../oci/durable-file.js';
import { encodeLayer, encoderName, encodeTar } from '../oci/layer.js';
import type { Layout } from '../oci/layout.js';
import { packTar, type TarEntry } from '../oci/tar.js';

/** Of a handler image from the bottom up: what changes least comes first. A Dockerfile's layers are its own. */
const LAYER_ROLES = ['dependencies', 'assets', 'sdk', 'code', 'dockerfile'] as const;
export type LayerRole = (typeof LAYER_ROLES)[number];

/** What goes into one layer. */
export interface LayerPlan {
  readonly role: LayerRole;
  /** Equal keys mean equal bytes. */
  readonly key: string;
  /** Gives what goes in, and is asked only when the bytes are needed. */
  gather(): Promise<LayerContent>;
}

export interface LayerContent {
  readonly entries: readonly TarEntry[];
  /** Frees what was made for the entries; called when they have been read. */
  release?(): Promise<void>;
}

/** A blob of an image that was built, wherever its bytes are now. */
export interface ImageBlob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** May be called more than once. */
  open(): AsyncIterable<Uint8Array>;
}

export interface BuiltLayer extends ImageBlob {
  readonly role: LayerRole;
  readonly mediaType: string;
  readonly diffId: Digest;
  /** The bytes were known already; nothing was packed. */
  readonly isCached: boolean;
}

export interface LayerStore {
  readonly layout: Layout;
  /** Remembers which key gave which layer. */
  readonly cacheDir: string;
  /** `process.versions.zlib`: part of what makes layer bytes. */
  readonly zlibVersion: string;
  /** What is remembered of earlier builds is not believed. */
  readonly isFresh: boolean;
}

/** What is remembered of a layer. */
interface Remembered {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly size: number;
}

/** A layer of known files. */
export function planEntries(role: LayerRole, key: string, entries: readonly TarEntry[]): LayerPlan {
  return { role, key, gather: async () => ({ entries }) };
}

/** Makes the layers of one build: what several platforms share is made once. Throws BUILD_FAILED. */
export function createLayerMaker(store: LayerStore): (plan: LayerPlan) => Promise<BuiltLayer> {
  const made = new Map<string, BuiltLayer>();
  return async (plan) => {
    const name = `${plan.role}\0${plan.key}`;
    const layer = made.get(name) ?? (await buildLayer(plan, store));
    made.set(name, layer);
    return layer;
  };
}

/** Makes a layer, or finds the one its key gave before. Throws BUILD_FAILED. */
async function buildLayer(plan: LayerPlan, store: LayerStore): Promise<BuiltLayer> {
  return plan.role === 'assets' ? streamLayer(plan, store) : packLayer(plan, store);
}

/** Compressed, and kept in the layout. */
async function packLayer(plan: LayerPlan, store: LayerStore): Promise<BuiltLayer> {
  const { layout } = store;
  const file = memoryOf(plan, store, encoderName(store.zlibVersion));
  const known = await recall(file, store);
  const isCached = known !== undefined && (await layout.has(known));
  const made = isCached ? known : await remember(file, () => withContent(plan, (entries) => pack(entries, layout)));
  const open = () => layout.openBlob(made.digest);
  return { ...made, role: plan.role, mediaType: MEDIA_TYPES.layerGzip, isCached, open };
}

/**
 * As plain tar, hashed once and packed again from its files when somebody wants the bytes: a copy of large files would cost as much
 * disk as they do, and weights do not compress. A file that changed meanwhile gives other bytes, which every registry refuses.
 */
async function streamLayer(plan: LayerPlan, store: LayerStore): Promise<BuiltLayer> {
  const file = memoryOf(plan, store, 'tar');
  const known = await recall(file, store);
  const made = known ?? (await remember(file, () => withContent(plan, hashTar)));
  return { ...made, role: plan.role, mediaType: MEDIA_TYPES.layerTar, isCached: known !== undefined, open: () => openTar(plan) };
}

/** The layer of a tar that an engine made before, or undefined. */
export async function findTarLayer(diffId: Digest, store: LayerStore): Promise<BuiltLayer | undefined> {
  const made = await recall(memoryOf(tarPlan(diffId), store, encoderName(store.zlibVersion)), store);
  return made && (await store.layout.has(made)) ? tarLayer(made, store, true) : undefined;
}

/** Compresses a tar that an engine made. Throws DIGEST_MISMATCH when it is not what the engine said. */
export async function packTarLayer(diffId: Digest, tar: AsyncIterable<Uint8Array>, store: LayerStore): Promise<BuiltLayer> {
  const made = await remember(memoryOf(tarPlan(diffId), store, encoderName(store.zlibVersion)), async () => {
    const layer = encodeTar(tar);
    const { digest, size } = await store.layout.writeBlob(layer.bytes);
    if (layer.diffId() !== diffId)
      throw new WherryError('DIGEST_MISMATCH', `layer ${diffId} has other bytes: they hash to ${layer.diffId()}`);
    return { digest, diffId, size };
  });
  return tarLayer(made, store, false);
}

const tarPlan = (diffId: Digest) => ({ role: 'dockerfile', key: diffId }) as const;

function tarLayer(made: Remembered, { layout }: LayerStore, isCached: boolean): BuiltLayer {
  return { ...made, role: 'dockerfile', mediaType: MEDIA_TYPES.layerGzip, isCached, open: () => layout.openBlob(made.digest) };
}

async function* openTar(plan: LayerPlan): AsyncIterable<Uint8Array> {
  const { entries, release } = await plan.gather();
  try {
    yield* packTar(entries);
  } finally {
    await release?.();
  }
}

async function withContent<T>(plan: LayerPlan, use: (entries: readonly TarEntry[]) => Promise<T>): Promise<T> {
  const { entries, release } = await plan.gather();
  try {
    return await use(entries);
  } finally {
    await release?.();
  }
}

async function pack(entries: readonly TarEntry[], layout: Layout): Promise<Remembered> {
  const layer = encodeLayer(entries);
  const { digest, size } = await layout.writeBlob(layer.bytes);
  return { digest, diffId: layer.diffId(), size };
}

async function hashTar(entries: readonly TarEntry[]): Promise<Remembered> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const part of packTar(entries)) {
    hash.update(part);
    size += part.length;
  }
  const digest = `sha256:${hash.digest('hex')}` as Digest;
  return { digest, diffId: digest, size };
}

function memoryOf({ role, key }: Pick<LayerPlan, 'role' | 'key'>, { cacheDir }: LayerStore, encoder: string): string {
  return join(cacheDir, 'layers', createHash('sha256').update(`${encoder}\0${role}\0${key}`).digest('hex'));
}

async function remember(file: string, make: () => Promise<Remembered>): Promise<Remembered> {
  const made = await make();
  await mkdir(dirname(file), { recursive: true });
  // Another build may make the same layer at the same time.
  await replaceFile(file, JSON.stringify(made));
  return made;
}

async function recall(file: string, { isFresh }: LayerStore): Promise<Remembered | undefined> {
  return isFresh || !(await markUsed(file)) ? undefined : readMemory(file);
}

/** What a file of the cache remembers, or undefined. */
export async function readMemory(file: string): Promise<Remembered | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Remembered;
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT' || thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}
