import { Readable } from 'node:stream';
import type { ApiClient } from '../api/client.js';
import { systemCodeOf, WherryError } from '../base/errors.js';
import { silentLog } from '../base/log.js';
import type { PlatformImage } from '../build/built-image.js';
import { openRemoteRegistry } from '../compose-registry.js';
import { parseReleaseName, type ReleaseName } from '../domain/release.js';
import { type ImageReader, type ImageSource, openImage } from '../image/source.js';
import type { Platform } from '../oci/descriptor.js';
import { type Digest, isDigest, parseDigest } from '../oci/digest.js';
import { type Layout, openLayout } from '../oci/layout.js';
import { mediaTypeOf, parseManifest } from '../oci/manifest.js';
import { parseReference, type Reference } from '../oci/reference.js';
import { createRegistryClient, type RegistryClient } from '../registry/client.js';
import { decompressLayer } from '../registry/layer-content.js';
import type { Context } from './command.js';
import { layoutDirOf } from './project-image.js';

/** An image that a command was given, wherever it is. */
export interface NamedImage {
  /** As it was given. */
  readonly name: string;
  readonly source: ImageSource;
  /** Undefined for an image that is only in the data directory. */
  readonly repository: OpenRepository | undefined;
  close(): Promise<void>;
}

/** One repository with a client of its registry. */
export interface OpenRepository {
  readonly client: RegistryClient;
  readonly name: string;
}

type Needs = Pick<Context, 'environment' | 'settings' | 'client' | 'signal'>;

/** What a person names, before its manifest is read. */
export interface NamedReader extends Omit<NamedImage, 'source'> {
  readonly reader: ImageReader;
  /** Tag or digest for the reader. */
  readonly reference: string;
}

/**
 * Finds what a person names: `REFERENCE`, `ENDPOINT@rN` for the image of a release, a project's directory (`.` or `./path`) for its last
 * build, or the digest of a build. Throws DIGEST_INVALID, IMAGE_UNKNOWN, REFERENCE_INVALID, RELEASE_UNKNOWN, SERVER_UNAVAILABLE.
 */
export async function openNamedReader(name: string, needs: Needs): Promise<NamedReader> {
  if (/^[./]/.test(name) || name.startsWith('sha256:')) return openBuilt(name, needs);
  const reference = await referenceOf(name, needs);
  const repository = await openRepository(reference, needs);
  const reader = readerOf(repository);
  const getManifest = (asked: string) => reader.getManifest(asked).catch((thrown: unknown) => Promise.reject(withTags(thrown, reference)));
  return {
    name,
    reader: { ...reader, getManifest },
    reference: reference.digest ?? reference.tag ?? 'latest',
    repository,
    close: () => repository.client.close(),
  };
}

/** Opens the image of one platform. Throws as {@link openNamedReader}, and what the registry throws. */
export async function openNamedImage(name: string, platform: Platform | undefined, needs: Needs): Promise<NamedImage> {
  const { reader, reference, ...named } = await openNamedReader(name, needs);
  try {
    return { ...named, source: await openImage(reader, { reference, name, platform }) };
  } catch (thrown) {
    await named.close();
    throw thrown;
  }
}

/** A client for the registry of a reference: the server's own when it names no host, or the server's. Throws SERVER_UNAVAILABLE. */
export async function openRepository(
  { registry, repository }: Reference,
  { environment, settings, signal }: Needs,
): Promise<OpenRepository> {
  const { apiUrl, apiKey } = await settings();
  const host = apiUrl === undefined ? undefined : new URL(apiUrl).host;
  if (registry !== undefined && registry !== host) {
    return { client: await openRemoteRegistry(registry, environment, { log: silentLog, signal }), name: repository };
  }
  if (host === undefined || apiKey === undefined) {
    throw new WherryError('SERVER_UNAVAILABLE', `'${repository}' names no registry, and there is no server whose registry could be meant`, {
      hint: 'start one with `wherry serve`, or put the registry in front; a directory begins with ./',
    });
  }
  const credentials = { username: 'wherry', password: apiKey };
  return { client: createRegistryClient({ registry: host, credentials, log: silentLog, signal }), name: repository };
}

/** Reads images of a repository. */
export function readerOf({ client, name }: OpenRepository): ImageReader {
  return {
    getManifest: (reference) => client.getManifest(name, reference),
    getBlob: (blob) => client.getBlob(name, blob),
    openTar,
  };
}

const openTar: ImageReader['openTar'] = (blob, layer) => decompressLayer(Readable.from(blob), layer);

/** The image of a release is pinned by digest, so its tag may have moved meanwhile. */
async function referenceOf(name: string, { client }: Needs): Promise<Reference> {
  const release = parseReleaseName(name);
  if (release === undefined) return parseReference(name);
  const { reference, digest } = await findRelease(await client(), release);
  const { registry, repository } = parseReference(reference);
  return { repository, digest, ...(registry !== undefined && { registry }) };
}

async function findRelease(client: ApiClient, { endpointId, number: wanted }: ReleaseName) {
  const releases = await client.listReleases(endpointId, { before: wanted + 1, limit: 1 });
  const found = releases.find(({ number }) => number === wanted);
  if (found) return found.image;
  throw new WherryError('RELEASE_UNKNOWN', `endpoint '${endpointId}' has no release r${wanted}`, {
    hint: `\`wherry releases -e ${endpointId}\` lists them`,
  });
}

async function openBuilt(name: string, { settings }: Needs): Promise<NamedReader> {
  const digest = name.startsWith('sha256:') ? parseDigest(name) : undefined;
  const layout = await openLayout(layoutDirOf((await settings()).dataDir));
  const reference = digest ?? (await findBuild(layout, name));
  return { name, reader: layoutReader(layout), reference, repository: undefined, close: async () => {} };
}

/** The image of one platform as it was built, wherever the build has its layers. Throws BLOB_UNKNOWN, DIGEST_MISMATCH, MANIFEST_INVALID. */
export function openBuiltImage(
  layout: Layout,
  { descriptor: { digest }, blobs }: Pick<PlatformImage, 'descriptor' | 'blobs'>,
): Promise<ImageSource> {
  const reader = layoutReader(layout);
  const known = new Map(blobs.map((blob) => [blob.digest, blob]));
  const getBlob: ImageReader['getBlob'] = (blob) => known.get(blob.digest)?.open() ?? reader.getBlob(blob);
  return openImage({ ...reader, getBlob }, { reference: digest, name: digest, platform: undefined });
}

async function findBuild(layout: Layout, dir: string): Promise<Digest> {
  const [{ readProject }, { findNamedBuild }] = await Promise.all([import('../project/read.js'), import('../build/named-build.js')]);
  return findNamedBuild(await readProject(dir), layout);
}

/** A reference is a digest there. */
function layoutReader(layout: Layout): ImageReader {
  return {
    async getManifest(reference) {
      if (!isDigest(reference)) throw new WherryError('IMAGE_UNKNOWN', `'${reference}' is no digest of a build`);
      const bytes = await layout.readBytes(reference);
      return { bytes, digest: reference, mediaType: mediaTypeOf(parseManifest(bytes), undefined) };
    },
    async *getBlob({ digest }) {
      try {
        yield* layout.openBlob(digest);
      } catch (thrown) {
        if (systemCodeOf(thrown) !== 'ENOENT') throw thrown;
        throw new WherryError('BLOB_UNKNOWN', `blob ${digest} is not in the image layout`, {
          hint: 'build the image again',
          cause: thrown,
        });
      }
    },
    openTar,
  };
}

/** Few repositories have a `latest`; whoever named no tag learns how to see which there are. */
function withTags(thrown: unknown, { registry, repository, tag, digest }: Reference): unknown {
  const isUnknown = thrown instanceof WherryError && thrown.code === 'IMAGE_UNKNOWN' && tag === undefined && digest === undefined;
  if (!isUnknown) return thrown;
  const name = registry === undefined ? repository : `${registry}/${repository}`;
  return new WherryError('IMAGE_UNKNOWN', `${thrown.message}, the tag that counts when none is named`, {
    hint: `\`wherry image tags ${name}\` lists tags; a project's directory begins with ./`,
    detail: thrown.detail,
    cause: thrown,
  });
}
