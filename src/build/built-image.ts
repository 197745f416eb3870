import type { Descriptor, Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { type ImageConfig, type ImageSize, type Index, type Manifest, measureManifest } from '../oci/manifest.js';
import type { Project } from '../project/read.js';
import { type BaseImage, type ImageParts, writeImage, writeIndex } from './assemble.js';
import type { SourceState } from './git.js';
import type { BuiltLayer, ImageBlob, LayerStore } from './layers.js';
import { nameBuild } from './named-build.js';

/** What a build made: an image, or an index of one for each platform. */
export interface BuiltImage {
  readonly name: string;
  /** Of the manifest, or of the index when there are several platforms. */
  readonly digest: Digest;
  readonly descriptor: Descriptor;
  /** Undefined for one platform. */
  readonly index: Index | undefined;
  /** In the order of the project's platforms. */
  readonly images: readonly PlatformImage[];
  /** Of the base, as pinned; null for `scratch`. */
  readonly base: string | null;
  readonly revision: string | null;
  /** Versions that git's tags give the revision, the newest first. */
  readonly versions: readonly string[];
  readonly warnings: readonly string[];
}

/** The image of one platform, the same whichever others are built beside it. */
export interface PlatformImage {
  readonly platform: Platform;
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** Above those of the base. */
  readonly layers: readonly BuiltLayer[];
  /** Config and all layers, those of the base first. */
  readonly blobs: readonly ImageBlob[];
}

/** One platform's part of {@link Finished}. */
export interface PlatformParts extends Omit<ImageParts, 'config'> {
  readonly config: ImageConfig;
  /** The config's own bytes, when somebody else wrote it. */
  readonly configBytes?: Uint8Array;
}

export interface Finished {
  readonly project: Project;
  readonly source: SourceState;
  readonly images: readonly PlatformParts[];
  readonly warnings: readonly string[];
}

/** Writes the images, and an index where there are several, under the project's name. */
export async function finishImage({ project, source, images: parts, warnings }: Finished, store: LayerStore): Promise<BuiltImage> {
  const images: PlatformImage[] = [];
  for (const each of parts) images.push(await finishPlatform(each, store));
  const { descriptor, index } = await writeIndex(
    images.map((image) => image.descriptor),
    store,
  );
  await nameBuild(project, descriptor, store.layout);
  return {
    name: project.name,
    digest: descriptor.digest,
    descriptor,
    index,
    images,
    base: parts[0]?.base?.reference ?? null,
    revision: source.revision,
    versions: source.versions,
    warnings: [...new Set([...warnings, ...source.warnings])],
  };
}

async function finishPlatform({ configBytes, ...parts }: PlatformParts, store: LayerStore): Promise<PlatformImage> {
  const { config, base, layers, platform } = parts;
  const { descriptor, manifest } = await writeImage({ ...parts, config: configBytes ?? JSON.stringify(config) }, store);
  const configBlob: ImageBlob = { ...manifest.config, open: () => store.layout.openBlob(manifest.config.digest) };
  return { platform, descriptor, manifest, config, layers, blobs: [...baseBlobs(base), ...layers, configBlob] };
}

function baseBlobs(base: BaseImage | undefined): readonly ImageBlob[] {
  return base ? base.manifest.layers.map((layer) => ({ digest: layer.digest, size: layer.size, open: () => base.openBlob(layer) })) : [];
}

/** How large the largest platform's image is on its way: what one host has to fetch. */
export function measureBuilt({ images }: Pick<BuiltImage, 'images'>): ImageSize {
  const sizes = images.map(({ manifest }) => measureManifest(manifest));
  return sizes.reduce((largest, size) => (size.bytes > largest.bytes ? size : largest), { bytes: 0, layers: 0 });
}

/** Every layer that was built, each once: platforms share what does not depend on them. */
export function layersOf({ images }: Pick<BuiltImage, 'images'>): readonly BuiltLayer[] {
  const seen = new Set<Digest>();
  return images.flatMap(({ layers }) => {
    const own = layers.filter(({ digest }) => !seen.has(digest));
    for (const { digest } of own) seen.add(digest);
    return own;
  });
}

/** Every blob of all platforms, each once. */
export function blobsOf({ images }: Pick<BuiltImage, 'images'>): readonly ImageBlob[] {
  return [...new Map(images.flatMap(({ blobs }) => blobs).map((blob) => [blob.digest, blob])).values()];
}
