import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCodeOf } from '../base/errors.js';
import { type Descriptor, MEDIA_TYPES, type Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { encodeLayer, encoderName } from '../oci/layer.js';
import type { Layout } from '../oci/layout.js';
import { type ImageConfig, LABELS, type Manifest } from '../oci/manifest.js';
import type { TarEntry } from '../oci/tar.js';

export const LAYER_ROLES = ['dependencies', 'sdk', 'code'] as const;
export type LayerRole = (typeof LAYER_ROLES)[number];

/** What goes into one layer. Equal keys mean equal bytes. */
export interface LayerPlan {
  readonly role: LayerRole;
  readonly entries: readonly TarEntry[];
  readonly key: string;
}

export interface BuiltLayer {
  readonly role: LayerRole;
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly size: number;
  /** The bytes were there already; nothing was packed. */
  readonly isCached: boolean;
}

export interface LayerStore {
  readonly layout: Layout;
  /** Remembers which key gave which layer. */
  readonly cacheDir: string;
  /** `process.versions.zlib`: part of what makes layer bytes. */
  readonly zlibVersion: string;
}

/** Makes a layer, or finds the one its key gave before. */
export async function buildLayer(plan: LayerPlan, { layout, cacheDir, zlibVersion }: LayerStore): Promise<BuiltLayer> {
  const key = createHash('sha256')
    .update(`${encoderName(zlibVersion)}\0${plan.role}\0${plan.key}`)
    .digest('hex');
  const file = join(cacheDir, 'layers', key);
  const known = await readCached(file);
  if (known && (await layout.has(known))) return { ...known, role: plan.role, isCached: true };
  const layer = encodeLayer(plan.entries);
  const { digest, size } = await layout.writeBlob(layer.bytes);
  const built = { digest, diffId: layer.diffId(), size };
  await mkdir(join(cacheDir, 'layers'), { recursive: true });
  await writeFile(`${file}.new`, JSON.stringify(built));
  await rename(`${file}.new`, file);
  return { ...built, role: plan.role, isCached: false };
}

async function readCached(file: string): Promise<Omit<BuiltLayer, 'role' | 'isCached'> | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Omit<BuiltLayer, 'role' | 'isCached'>;
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT' || thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

/** An image that ours is built on. */
export interface BaseImage {
  readonly reference: string;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  openBlob(digest: Digest): AsyncIterable<Uint8Array>;
}

/** What the image's config says besides its layers. */
export interface ImageFacts {
  readonly platform: Platform;
  readonly entrypoint: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly labels: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly created: string;
  readonly base: BaseImage | undefined;
}

/** Writes config and manifest over the layers; gives the manifest's descriptor and both documents. */
export async function writeImage(layers: readonly BuiltLayer[], facts: ImageFacts, { layout, zlibVersion }: LayerStore) {
  const config = composeConfig(layers, facts);
  const configBlob = await layout.putBytes(JSON.stringify(config));
  const baseLayers = facts.base?.manifest.layers ?? [];
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: { mediaType: MEDIA_TYPES.config, digest: configBlob.digest, size: configBlob.size },
    layers: [...baseLayers.map(asOciLayer), ...layers.map(({ digest, size }) => ({ mediaType: MEDIA_TYPES.layerGzip, digest, size }))],
    annotations: { [LABELS.encoder]: encoderName(zlibVersion) },
  };
  const { digest, size } = await layout.putBytes(JSON.stringify(manifest));
  const descriptor: Descriptor = { mediaType: MEDIA_TYPES.manifest, digest, size, platform: facts.platform };
  return { descriptor, manifest, config };
}

/** Docker's layer type says the same as OCI's; an OCI manifest must name its own. */
function asOciLayer(layer: Descriptor): Descriptor {
  const isDockerLayer = layer.mediaType === 'application/vnd.docker.image.rootfs.diff.tar.gzip';
  return { mediaType: isDockerLayer ? MEDIA_TYPES.layerGzip : layer.mediaType, digest: layer.digest, size: layer.size };
}

function composeConfig(layers: readonly BuiltLayer[], facts: ImageFacts): ImageConfig {
  const base = facts.base?.config;
  const inherited = (base?.config?.Env ?? []).filter((line) => !facts.env.some((own) => own.split('=')[0] === line.split('=')[0]));
  return {
    created: facts.created,
    architecture: facts.platform.architecture,
    os: facts.platform.os,
    config: {
      ...(base?.config?.User !== undefined && { User: base.config.User }),
      Env: [...inherited, ...facts.env],
      Entrypoint: facts.entrypoint,
      WorkingDir: facts.workingDir,
      Labels: { ...base?.config?.Labels, ...facts.labels, [LABELS.layers]: JSON.stringify(layers.map(({ diffId }) => diffId)) },
    },
    rootfs: { type: 'layers', diff_ids: [...(base?.rootfs.diff_ids ?? []), ...layers.map(({ diffId }) => diffId)] },
    history: [...(base?.history ?? []), ...layers.map(({ role }) => ({ created: facts.created, created_by: `wherry build: ${role}` }))],
  };
}
