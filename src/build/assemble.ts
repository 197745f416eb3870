import { type Descriptor, MEDIA_TYPES, type Platform } from '../oci/descriptor.js';
import { encoderName } from '../oci/layer.js';
import { type ImageConfig, type Index, LABELS, type Manifest } from '../oci/manifest.js';
import type { BuiltLayer, LayerStore } from './layers.js';

/** An image that ours is built on. */
export interface BaseImage {
  /** Pinned: `name:tag@sha256:…`; the digest may be that of an index. */
  readonly reference: string;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  openBlob(blob: Descriptor): AsyncIterable<Uint8Array>;
}

/** What the config of a handler image says besides its layers. */
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

/** All that a manifest names. */
export interface ImageParts {
  /** The config's bytes, as they are kept. */
  readonly config: Uint8Array | string;
  readonly base: BaseImage | undefined;
  /** Above those of the base. */
  readonly layers: readonly BuiltLayer[];
  readonly platform: Platform;
}

/** Writes config and manifest; gives the manifest and its descriptor. */
export async function writeImage({ config, base, layers, platform }: ImageParts, { layout, zlibVersion }: LayerStore) {
  const configBlob = await layout.putBytes(config);
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: { mediaType: MEDIA_TYPES.config, digest: configBlob.digest, size: configBlob.size },
    layers: [
      ...(base?.manifest.layers ?? []).map(asOciLayer),
      ...layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    ],
    annotations: { [LABELS.encoder]: encoderName(zlibVersion) },
  };
  const { digest, size } = await layout.putBytes(JSON.stringify(manifest));
  const descriptor: Descriptor = { mediaType: MEDIA_TYPES.manifest, digest, size, platform };
  return { descriptor, manifest };
}

/** Writes the index of several platforms' manifests (OCI image-spec, image-index.md); one manifest stands for itself. Gives the descriptor of what stands for all. */
export async function writeIndex(manifests: readonly Descriptor[], { layout }: LayerStore) {
  const [only, second] = manifests;
  if (only !== undefined && second === undefined) return { descriptor: only, index: undefined };
  const index: Index = { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests };
  const { digest, size } = await layout.putBytes(JSON.stringify(index));
  const descriptor: Descriptor = { mediaType: MEDIA_TYPES.index, digest, size };
  return { descriptor, index };
}

/** Docker's layer type says the same as OCI's; an OCI manifest must name its own. */
function asOciLayer(layer: Descriptor): Descriptor {
  const isDockerLayer = layer.mediaType === 'application/vnd.docker.image.rootfs.diff.tar.gzip';
  return { mediaType: isDockerLayer ? MEDIA_TYPES.layerGzip : layer.mediaType, digest: layer.digest, size: layer.size };
}

/** The config of a handler image. */
export function composeConfig(layers: readonly BuiltLayer[], facts: ImageFacts): ImageConfig {
  const base = facts.base?.config;
  return {
    created: facts.created,
    architecture: facts.platform.architecture,
    os: facts.platform.os,
    ...(facts.platform.variant !== undefined && { variant: facts.platform.variant }),
    config: {
      ...(base?.config?.User !== undefined && { User: base.config.User }),
      Env: joinEnv(base?.config?.Env ?? [], facts.env),
      Entrypoint: facts.entrypoint,
      WorkingDir: facts.workingDir,
      Labels: { ...base?.config?.Labels, ...facts.labels, [LABELS.layers]: JSON.stringify(layers.map(({ diffId }) => diffId)) },
    },
    rootfs: { type: 'layers', diff_ids: [...(base?.rootfs.diff_ids ?? []), ...layers.map(({ diffId }) => diffId)] },
    history: [...(base?.history ?? []), ...layers.map(({ role }) => ({ created: facts.created, created_by: `wherry build: ${role}` }))],
  };
}

/** `NAME=value` lines; a later one takes the place of an earlier one of the same name. */
export function joinEnv(inherited: readonly string[], own: readonly string[]): readonly string[] {
  const names = new Set(own.map((line) => line.split('=')[0]));
  return [...inherited.filter((line) => !names.has(line.split('=')[0])), ...own];
}
