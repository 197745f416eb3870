import { type Descriptor, MEDIA_TYPES, type Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { encoderName } from '../oci/layer.js';
import { type ImageConfig, LABELS, type Manifest } from '../oci/manifest.js';
import type { BuiltLayer, LayerStore } from './layers.js';

/** An image that ours is built on. */
export interface BaseImage {
  /** Pinned: `name:tag@sha256:…`; the digest may be that of an index. */
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
    layers: [...baseLayers.map(asOciLayer), ...layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size }))],
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
