import { WherryError } from '../base/errors.js';
import type { Descriptor, Platform } from '../oci/descriptor.js';
import { type Digest, digestOf } from '../oci/digest.js';
import {
  CONFIG_LIMIT_BYTES,
  type ImageConfig,
  type Index,
  isIndex,
  type Manifest,
  parseImageConfig,
  parseManifest,
} from '../oci/manifest.js';
import { findPlatform, formatPlatform, isPlatform, listPlatforms } from '../oci/platform.js';

/** What holds images: a repository of a registry, or an image layout. */
export interface ImageReader {
  /** By tag or digest, with its bytes hashed. Throws IMAGE_UNKNOWN. */
  getManifest(reference: string): Promise<{ readonly bytes: Uint8Array; readonly digest: Digest; readonly mediaType: string }>;
  /** Ends with SIZE_INVALID where more or less comes. Throws BLOB_UNKNOWN. */
  getBlob(blob: Descriptor): AsyncIterable<Uint8Array>;
  /** The tar in a layer's blob, checked against its diffID. Throws LAYER_INVALID, also for compressions that are not known. */
  openTar(blob: AsyncIterable<Uint8Array>, layer: { readonly mediaType: string; readonly diffId: string }): AsyncIterable<Uint8Array>;
}

/** One image of one platform; its layers are read when they are opened. */
export interface ImageSource {
  /** Of the platform's manifest. */
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** Layers from the bottom, with their uncompressed digests. */
  readonly layers: readonly SourceLayer[];
  /** The platforms of the index that it was chosen from; undefined without one. */
  readonly offered?: readonly Platform[] | undefined;
}

/** All images that a name stands for. */
export interface ImageSet {
  /** Of the index, or of the only manifest. */
  readonly descriptor: Descriptor;
  readonly isIndex: boolean;
  readonly images: readonly { readonly platform: Platform; readonly source: ImageSource }[];
}

export interface SourceLayer {
  readonly descriptor: Descriptor;
  readonly diffId: string;
  /** The layer's tar from the start, each time. Ends with LAYER_INVALID, DIGEST_MISMATCH. */
  open(): AsyncIterable<Uint8Array>;
}

export interface WantedImage {
  /** Tag or digest. */
  readonly reference: string;
  /** For messages. */
  readonly name: string;
  /** Chosen from an index, linux/amd64 when undefined; what is no index must be for it when it is given. */
  readonly platform: Platform | undefined;
}

const DEFAULT_PLATFORM: Platform = { os: 'linux', architecture: 'amd64' };

/** Reads manifest and config of an image (OCI image-spec, manifest.md, image-index.md, config.md). Throws IMAGE_UNKNOWN, MANIFEST_INVALID, DIGEST_MISMATCH. */
export async function openImage(reader: ImageReader, wanted: WantedImage): Promise<ImageSource> {
  const { manifest, descriptor, offered } = await readManifest(reader, wanted);
  const config = parseImageConfig(await readBlob(reader, manifest.config, CONFIG_LIMIT_BYTES));
  checkPlatform(config, wanted);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    throw new WherryError(
      'MANIFEST_INVALID',
      `image '${wanted.name}' has ${manifest.layers.length} layers, but its config names ${diffIds.length}`,
      { hint: 'it is no image of files, or the tool that made it is at fault' },
    );
  }
  const layers = manifest.layers.map((layer, index) => {
    const diffId = String(diffIds[index]);
    return { descriptor: layer, diffId, open: () => reader.openTar(reader.getBlob(layer), { mediaType: layer.mediaType, diffId }) };
  });
  return { descriptor, manifest, config, layers, offered };
}

/** Reads the images of all platforms of an index, or the one of a plain manifest. Throws as {@link openImage}. */
export async function openImages(reader: ImageReader, { reference, name }: Omit<WantedImage, 'platform'>): Promise<ImageSet> {
  const { bytes, digest, mediaType } = await reader.getManifest(reference);
  const manifest = parseManifest(bytes);
  const entries: readonly { digest: Digest; platform?: Platform }[] = isIndex(manifest) ? listPlatforms(manifest) : [{ digest }];
  const images: { platform: Platform; source: ImageSource }[] = [];
  for (const entry of entries) {
    const source = await openImage(reader, { reference: entry.digest, name, platform: undefined });
    images.push({ platform: entry.platform ?? source.config, source });
  }
  return { descriptor: { mediaType, digest, size: bytes.length }, isIndex: isIndex(manifest), images };
}

type Found = { readonly manifest: Manifest; readonly descriptor: Descriptor; readonly offered?: readonly Platform[] };

async function readManifest(reader: ImageReader, wanted: WantedImage): Promise<Found> {
  const { bytes, digest, mediaType } = await reader.getManifest(wanted.reference);
  const manifest = parseManifest(bytes);
  if (!isIndex(manifest)) return { manifest, descriptor: { mediaType, digest, size: bytes.length } };
  const inner = await reader.getManifest(choose(manifest, wanted).digest);
  const chosen = parseManifest(inner.bytes);
  if (isIndex(chosen))
    throw new WherryError('MANIFEST_INVALID', `image '${wanted.name}' is an index of indexes`, {
      hint: 'name one of the indexes that it lists, by digest',
    });
  const descriptor = { mediaType: inner.mediaType, digest: inner.digest, size: inner.bytes.length };
  return { manifest: chosen, descriptor, offered: listPlatforms(manifest).map(({ platform }) => platform) };
}

function choose(index: Index, { name, platform = DEFAULT_PLATFORM }: WantedImage): Descriptor {
  const found = findPlatform(index, platform);
  if (found) return found;
  const known = listPlatforms(index).map((entry) => formatPlatform(entry.platform));
  throw new WherryError('IMAGE_UNKNOWN', `image '${name}' has nothing for ${formatPlatform(platform)}`, {
    hint: known.length === 0 ? 'its index names no platforms' : `choose with --platform: ${known.join(', ')}`,
    detail: { platforms: known },
  });
}

function checkPlatform(config: ImageConfig, { name, platform }: WantedImage): void {
  if (!platform || isPlatform(config, platform)) return;
  throw new WherryError('IMAGE_UNKNOWN', `image '${name}' is for ${formatPlatform(config)}, not for ${formatPlatform(platform)}`, {
    hint: 'leave --platform out',
  });
}

/** All bytes of a small blob. Throws BLOB_UNKNOWN, DIGEST_MISMATCH, MANIFEST_INVALID above the limit. */
export async function readBlob(reader: Pick<ImageReader, 'getBlob'>, blob: Descriptor, limitBytes: number): Promise<Uint8Array> {
  const { digest } = blob;
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of reader.getBlob(blob)) {
    size += part.length;
    if (size > limitBytes)
      throw new WherryError('MANIFEST_INVALID', `blob '${digest}' has more than ${limitBytes} bytes`, {
        hint: 'it is no image of files, or the tool that made it is at fault',
      });
    parts.push(part);
  }
  const bytes = Buffer.concat(parts);
  if (digestOf(bytes) === digest) return bytes;
  throw new WherryError('DIGEST_MISMATCH', `blob ${digest} has other bytes: they hash to ${digestOf(bytes)}`, {
    hint: 'fetch or build the image again',
  });
}
