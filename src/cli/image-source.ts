import { Readable } from 'node:stream';
import type { ApiClient } from '../api/client.js';
import { systemCodeOf, WherryError } from '../base/errors.js';
import { silentLog } from '../base/log.js';
import { openRemoteRegistry } from '../compose-registry.js';
import { type ImageReader, type ImageSource, openImage } from '../image/source.js';
import { MEDIA_TYPES, type Platform } from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { type Layout, openLayout } from '../oci/layout.js';
import { parseManifest } from '../oci/manifest.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';
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

type Needs = Pick<Context, 'environment' | 'settings' | 'client'>;

/**
 * Opens what a person names: `REFERENCE`, `ENDPOINT@rN` for the image of a release, a project's directory (`.` or `./path`) for its last
 * build, or the digest of a build. Throws IMAGE_UNKNOWN, REFERENCE_INVALID, RELEASE_UNKNOWN, SERVER_UNAVAILABLE and what the registry throws.
 */
export async function openNamedImage(name: string, platform: Platform | undefined, needs: Needs): Promise<NamedImage> {
  if (/^[./]/.test(name) || isDigest(name)) return openBuilt(name, platform, needs);
  const reference = await referenceOf(name, needs);
  const repository = await openRepository(reference, needs);
  try {
    const wanted = { reference: reference.digest ?? reference.tag ?? 'latest', name, platform };
    const reader = readerOf(repository);
    const getManifest = (asked: string) =>
      reader.getManifest(asked).catch((thrown: unknown) => Promise.reject(withTags(thrown, reference)));
    return { name, source: await openImage({ ...reader, getManifest }, wanted), repository, close: () => repository.client.close() };
  } catch (thrown) {
    await repository.client.close();
    throw thrown;
  }
}

/** A client for the registry of a reference: the server's own when it names no host, or the server's. Throws SERVER_UNAVAILABLE. */
export async function openRepository({ registry, repository }: Reference, { environment, settings }: Needs): Promise<OpenRepository> {
  const { apiUrl, apiKey } = await settings();
  const host = apiUrl === undefined ? undefined : new URL(apiUrl).host;
  if (registry !== undefined && registry !== host) {
    return { client: await openRemoteRegistry(registry, environment, { log: silentLog }), name: repository };
  }
  if (host === undefined || apiKey === undefined) {
    throw new WherryError('SERVER_UNAVAILABLE', `'${repository}' names no registry, and there is no server whose registry could be meant`, {
      hint: 'start one with `wherry serve`, or put the registry in front; a directory begins with ./',
    });
  }
  const credentials = { username: 'wherry', password: apiKey };
  return { client: createRegistryClient({ registry: host, credentials, log: silentLog }), name: repository };
}

/** Reads images of a repository. */
export function readerOf({ client, name }: OpenRepository): ImageReader {
  return {
    getManifest: (reference) => client.getManifest(name, reference),
    getBlob: (digest) => client.getBlob(name, digest),
    openTar,
  };
}

const openTar: ImageReader['openTar'] = (blob, layer) => decompressLayer(Readable.from(blob), layer);

/** `ENDPOINT@rN`. */
const RELEASE = /^([a-z0-9][a-z0-9-]*)@r(\d+)$/;

/** The image of a release is pinned by digest, so its tag may have moved meanwhile. */
async function referenceOf(name: string, { client }: Needs): Promise<Reference> {
  const [, endpointId, number] = RELEASE.exec(name) ?? [];
  if (endpointId === undefined) return parseReference(name);
  const { reference, digest } = await findRelease(await client(), endpointId, Number(number));
  const { registry, repository } = parseReference(reference);
  return { repository, digest, ...(registry !== undefined && { registry }) };
}

/**
 * The image of a release, named `ENDPOINT@rN`, as a reference by the digest that it runs: its tag is not asked for again. Other
 * references stay as they are. Throws RELEASE_UNKNOWN.
 */
export async function pinReleased(name: string, needs: Pick<Context, 'client'>): Promise<string> {
  const [, endpointId, number] = RELEASE.exec(name) ?? [];
  if (endpointId === undefined) return name;
  const { reference, digest } = await findRelease(await needs.client(), endpointId, Number(number));
  return formatReference({ ...parseReference(reference), digest });
}

async function findRelease(client: ApiClient, endpointId: string, wanted: number) {
  const releases = await client.listReleases(endpointId, { before: wanted + 1, limit: 1 });
  const found = releases.find(({ number }) => number === wanted);
  if (found) return found.image;
  throw new WherryError('RELEASE_UNKNOWN', `endpoint '${endpointId}' has no release r${wanted}`, {
    hint: `\`wherry releases -e ${endpointId}\` lists them`,
  });
}

async function openBuilt(name: string, platform: Platform | undefined, { settings }: Needs): Promise<NamedImage> {
  const layout = await openLayout(layoutDirOf((await settings()).dataDir));
  const digest = isDigest(name) ? name : await findBuild(layout, name);
  return { name, source: await openLayoutImage(layout, digest, { name, platform }), repository: undefined, close: async () => {} };
}

/** An image of the layout that `wherry build` writes. Throws BLOB_UNKNOWN, DIGEST_MISMATCH, MANIFEST_INVALID. */
export function openLayoutImage(
  layout: Layout,
  digest: Digest,
  { name = digest, platform }: { readonly name?: string; readonly platform?: Platform | undefined } = {},
): Promise<ImageSource> {
  return openImage(layoutReader(layout), { reference: digest, name, platform });
}

async function findBuild(layout: Layout, dir: string): Promise<Digest> {
  const { readProject } = await import('../project/read.js');
  const project = await readProject(dir);
  const built = await layout.getRef(project.name);
  if (built) return built.digest;
  throw new WherryError('IMAGE_UNKNOWN', `project '${project.name}' in '${dir}' was not built yet`, {
    hint: `\`wherry build ${dir}\` does`,
  });
}

/** A reference is a digest there. */
function layoutReader(layout: Layout): ImageReader {
  return {
    async getManifest(reference) {
      if (!isDigest(reference)) throw new WherryError('IMAGE_UNKNOWN', `'${reference}' is no digest of a build`);
      const bytes = await layout.readBytes(reference);
      return { bytes, digest: reference, mediaType: parseManifest(bytes).mediaType ?? MEDIA_TYPES.manifest };
    },
    async *getBlob(digest) {
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
