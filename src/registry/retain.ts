import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { createTurns } from '../base/turns.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import {
  CONFIG_LIMIT_BYTES,
  type ImageConfig,
  type ImageSize,
  type Index,
  isIndex,
  type Manifest,
  measureManifest,
  parseImageConfig,
  parseManifest,
  refuseForeign,
} from '../oci/manifest.js';
import { findPlatform, formatPlatform, listPlatforms } from '../oci/platform.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';
import type { Blobs } from './blobs.js';
import type { PulledManifest, RegistryClient, RemotePlace } from './client.js';
import { decompressLayer } from './layer-content.js';
import { type Mirrors, noMirrors } from './mirror.js';
import { forEachOf } from './parallel.js';

/** An image whose every blob is in the embedded registry, named by the digest of its platform's manifest. */
export interface PinnedImage {
  /** As the author wrote it; without a host when it was one of this server's own. */
  readonly reference: string;
  /** Repository in the embedded registry that holds every blob. */
  readonly repository: string;
  readonly tag: string | null;
  readonly digest: Digest;
}

/** One layer's content as a tar stream; the blob is verified before, the stream against `diffId` while it is read. */
export interface PinnedLayer {
  readonly diffId: string;
  /** Ends with LAYER_INVALID when the content is not that of `diffId`; throws BLOB_UNKNOWN, DIGEST_MISMATCH. */
  open(): AsyncIterable<Uint8Array>;
}

/** Images for deploys and workers, all read from the embedded registry. */
export interface PinnedImages {
  /** Pins a reference and protects its blobs for an hour; a remote image is copied, with the credential of that id where one is named. Throws REFERENCE_INVALID, IMAGE_UNKNOWN, DIGEST_MISMATCH, MANIFEST_INVALID, and what the client throws. */
  resolve(reference: string, retainAs: { readonly endpointId: string; readonly credential?: string }): Promise<PinnedImage>;
  /** The image of one endpoint for another: a copy is named there too, and nobody else is asked. Throws IMAGE_UNKNOWN, BLOB_UNKNOWN. */
  retainFor(image: PinnedImage, retainAs: { readonly endpointId: string }): Promise<PinnedImage>;
  /** Hashes manifest, config and layers again where their files changed, and protects them for an hour. Throws BLOB_UNKNOWN, IMAGE_UNKNOWN, DIGEST_MISMATCH. */
  verify(image: PinnedImage): Promise<void>;
  /** Throws IMAGE_UNKNOWN, MANIFEST_INVALID. */
  measure(image: PinnedImage): Promise<ImageSize>;
  /** Throws IMAGE_UNKNOWN, BLOB_UNKNOWN, DIGEST_MISMATCH, MANIFEST_INVALID. */
  config(image: PinnedImage): Promise<ImageConfig>;
  /** From the bottom up. Throws as `config` does. */
  layers(image: PinnedImage): Promise<readonly PinnedLayer[]>;
  /** Every blob the image needs: manifest, config, layers. */
  usedDigests(image: PinnedImage): Promise<readonly Digest[]>;
  /** Removes what was copied for endpoints that `isKept` does not know; not while an image is copied. */
  removeRetained(isKept: (endpointId: string) => Promise<boolean>): Promise<void>;
}

export interface ImagesOptions {
  readonly blobs: Blobs;
  readonly log: Log;
  /** Hosts, with port, under which this server's own registry is reached. */
  readonly ownHosts: () => readonly string[];
  /** A new client for the registry of a remote repository; it is closed after use. */
  readonly clientFor: (place: RemotePlace, credential?: string) => Promise<RegistryClient>;
  /** What an image in a repository of copies lacks comes from there; none by default. */
  readonly mirrors?: Mirrors;
  /** OCI name of the architecture to choose from an index; `amd64` by default. */
  readonly architecture?: string;
}

const PARALLEL = 3;
/** Repositories of copies, one an endpoint; clients cannot push there. */
export const RETAINED = 'retained/';

/** Images over the embedded registry. */
export function createImages({
  blobs,
  log,
  ownHosts,
  clientFor,
  mirrors = noMirrors,
  architecture = 'amd64',
}: ImagesOptions): PinnedImages {
  const context: Context = { blobs, mirrors, log, architecture };
  const readConfig = async ({ config }: Manifest) => parseImageConfig(await blobs.read(config.digest, CONFIG_LIMIT_BYTES));
  /** Copying into an endpoint's repository and removing it wait for each other. */
  const inTurn = createTurns();
  return {
    async resolve(text, { endpointId, credential }) {
      const { registry, ...named } = parseReference(text);
      if (registry === undefined || ownHosts().includes(registry)) return resolveOwn(context, named);
      const client = await clientFor({ registry, repository: named.repository }, credential);
      try {
        const repository = `${RETAINED}${endpointId}`;
        return await inTurn(repository, () => retain(context, { client, text, reference: { registry, ...named }, repository }));
      } finally {
        await client.close();
      }
    },
    async retainFor(image, { endpointId }) {
      const repository = `${RETAINED}${endpointId}`;
      if (!image.repository.startsWith(RETAINED) || image.repository === repository) return image;
      return inTurn(repository, () => nameIn(context, image, repository));
    },
    async verify(image) {
      // An earlier release may be none that is kept: held, it becomes one.
      await blobs.hold([image.digest]);
      await blobs.verify(image.digest);
      const parts = blobsOf(await readManifest(context, image)).map(({ digest }) => digest);
      await blobs.hold(parts);
      for (const digest of parts) await blobs.verify(digest);
    },
    measure: async (image) => measureManifest(await readManifest(context, image)),
    config: async (image) => readConfig(await readManifest(context, image)),
    async layers(image) {
      const manifest = await readManifest(context, image);
      return pairLayers(blobs, manifest, await readConfig(manifest));
    },
    async usedDigests(image) {
      return [image.digest, ...blobsOf(await readManifest(context, image)).map(({ digest }) => digest)];
    },
    async removeRetained(isKept) {
      for (const repository of await blobs.listRepositories()) {
        if (!repository.startsWith(RETAINED)) continue;
        await inTurn(repository, async () => {
          if (!(await isKept(repository.slice(RETAINED.length)))) await blobs.removeRepository(repository);
        });
      }
    },
  };
}

interface Context {
  readonly blobs: Blobs;
  readonly mirrors: Mirrors;
  readonly log: Log;
  readonly architecture: string;
}

/** An image of this server: its repository holds every blob already, unless it is one of copies; then what is missing comes now. */
async function resolveOwn(context: Context, reference: Reference): Promise<PinnedImage> {
  const { repository, tag, digest } = reference;
  const text = formatReference(reference);
  const { blobs, mirrors } = context;
  await mirrors.bringManifest(repository, digest ?? tag ?? 'latest');
  const found = await blobs.getManifest(repository, digest ?? tag ?? 'latest');
  if (!found)
    throw unknownImage(text, digest ? 'push it first, or leave the digest out' : 'push it first, or put the host of its registry in front');
  const manifest = parseManifest(found.bytes);
  const pinned = isIndex(manifest) ? choosePlatform(manifest, text, context.architecture).digest : found.digest;
  const image = { reference: text, repository, tag: tag ?? (digest ? null : 'latest'), digest: pinned };
  await blobs.hold([pinned]);
  await mirrors.bringManifest(repository, pinned);
  const own = await readManifest(context, image);
  refuseForeign(own, text);
  const parts = blobsOf(own);
  await blobs.hold(parts.map((part) => part.digest));
  await forEachOf(parts, PARALLEL, async (part) => {
    await mirrors.bringBlob(repository, part.digest);
    const found = await blobs.has(part.digest);
    // A size that is wrong here may be damage of ours, which has an error of its own.
    if (found && found.size !== part.size) await blobs.verify(part.digest);
    checkSize(part, found);
  });
  return image;
}

interface Retained {
  readonly client: RegistryClient;
  readonly text: string;
  readonly reference: Reference;
  readonly repository: string;
}

/** Copies what is missing of a remote image; the manifest comes last, so that a manifest here means all of it is here. */
async function retain(context: Context, { client, text, reference, repository }: Retained): Promise<PinnedImage> {
  const { blobs, log } = context;
  const tag = reference.tag ?? (reference.digest ? undefined : 'latest');
  const pulled = await pullPlatform(context, client, { text, repository: reference.repository, name: reference.digest ?? tag ?? 'latest' });
  const manifest = parseManifest(pulled.bytes);
  if (isIndex(manifest))
    throw new WherryError('MANIFEST_INVALID', `image '${text}' is an index of indexes`, { hint: 'name one image by its digest' });
  refuseForeign(manifest, text);
  const parts = blobsOf(manifest);
  await blobs.hold([pulled.digest, ...parts.map(({ digest }) => digest)]);
  await forEachOf(parts, PARALLEL, async (part) => {
    const { digest } = part;
    if (!(await isSound(blobs, digest))) await blobs.put(digest, client.getBlob(reference.repository, part));
    checkSize(part, await blobs.has(digest));
    await blobs.linkBlob(repository, digest);
  });
  await blobs.putManifest(repository, pulled.digest, pulled.bytes, { mediaType: pulled.mediaType });
  log.info({ reference: text, digest: pulled.digest, blobs: parts.length }, 'retained a remote image');
  return { reference: text, repository, tag: tag ?? null, digest: pulled.digest };
}

/** Names an image that is here in another repository, so that it stays when the first one goes. */
async function nameIn(context: Context, image: PinnedImage, repository: string): Promise<PinnedImage> {
  const { blobs } = context;
  const { bytes, mediaType } = await findManifest(context, image);
  const parts = blobsOf(imageManifest(bytes, image)).map(({ digest }) => digest);
  await blobs.hold([image.digest, ...parts]);
  for (const digest of parts) await blobs.linkBlob(repository, digest);
  await blobs.putManifest(repository, image.digest, bytes, { mediaType });
  return { ...image, repository };
}

/** Whether the blob is here with the right bytes; a damaged one is pulled again. */
async function isSound(blobs: Blobs, digest: Digest): Promise<boolean> {
  if (!(await blobs.has(digest))) return false;
  return blobs.verify(digest).then(
    () => true,
    () => false,
  );
}

interface PullName {
  readonly text: string;
  readonly repository: string;
  readonly name: string;
}

async function pullPlatform(context: Context, client: RegistryClient, { text, repository, name }: PullName): Promise<PulledManifest> {
  const pulled = await client.getManifest(repository, name);
  const manifest = parseManifest(pulled.bytes);
  if (!isIndex(manifest)) return pulled;
  refuseForeign(manifest, text);
  const chosen = choosePlatform(manifest, text, context.architecture);
  const found = await client.getManifest(repository, chosen.digest);
  checkSize(chosen, { size: found.bytes.length });
  if (found.mediaType === chosen.mediaType) return found;
  throw new WherryError(
    'MANIFEST_INVALID',
    `the index '${text}' calls '${chosen.digest}' '${chosen.mediaType}', it is '${found.mediaType}'`,
  );
}

function choosePlatform(index: Index, text: string, architecture: string): Descriptor {
  const found = findPlatform(index, { os: 'linux', architecture });
  if (found) return found;
  const offered = listPlatforms(index).map(({ platform }) => formatPlatform(platform));
  const what = offered.length === 0 ? 'its index names no platform' : `it offers ${offered.join(', ')}`;
  throw new WherryError('IMAGE_UNKNOWN', `image '${text}' has nothing for linux/${architecture}, which this server runs: ${what}`, {
    hint: `build it for linux/${architecture}, too: 'platforms' in wherry.yaml`,
    detail: { platforms: offered },
  });
}

async function findManifest({ blobs }: Context, image: PinnedImage) {
  const found = await blobs.getManifest(image.repository, image.digest);
  if (found) return found;
  throw unknownImage(`${image.repository}@${image.digest}`, 'push or deploy it again');
}

async function readManifest(context: Context, image: PinnedImage): Promise<Manifest> {
  return imageManifest((await findManifest(context, image)).bytes, image);
}

function imageManifest(bytes: Uint8Array, { digest }: PinnedImage): Manifest {
  const manifest = parseManifest(bytes);
  if (isIndex(manifest)) throw new WherryError('MANIFEST_INVALID', `'${digest}' is an index, not an image`);
  return manifest;
}

/** Config and layers, each once: an image may hold the same layer twice. */
function blobsOf({ config, layers }: Manifest): readonly Descriptor[] {
  const parts = [config, ...layers];
  return [...new Map(parts.map((part) => [`${part.digest} ${part.size}`, part])).values()];
}

/** A blob that was here before is of the right bytes, but may have come by a manifest that gave it another size. */
function checkSize({ digest, size }: Descriptor, found: { readonly size: number } | undefined): void {
  if (!found || found.size === size) return;
  throw new WherryError('MANIFEST_INVALID', `the manifest gives '${digest}' ${size} bytes, it has ${found.size}`, {
    hint: 'build the image again with a tool you trust',
    detail: { digest },
  });
}

function pairLayers(blobs: Blobs, { layers }: Manifest, { rootfs }: ImageConfig): readonly PinnedLayer[] {
  if (layers.length !== rootfs.diff_ids.length) {
    throw new WherryError('MANIFEST_INVALID', `the manifest has ${layers.length} layers, its config ${rootfs.diff_ids.length}`, {
      hint: 'build the image again',
    });
  }
  return layers.map(({ digest, mediaType }, index) => {
    const diffId = rootfs.diff_ids[index] ?? '';
    return { diffId, open: () => readLayer(blobs, { digest, mediaType, diffId }) };
  });
}

async function* readLayer(blobs: Blobs, { digest, mediaType, diffId }: { digest: Digest; mediaType: string; diffId: string }) {
  await blobs.verify(digest);
  const { stream } = await blobs.open(digest);
  yield* decompressLayer(stream, { mediaType, diffId });
}

function unknownImage(text: string, hint: string): WherryError {
  return new WherryError('IMAGE_UNKNOWN', `image '${text}' is not in the registry`, { hint, detail: { reference: text } });
}
