import type { Readable } from 'node:stream';
import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { createTurns } from '../base/turns.js';
import type { Descriptor } from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import type { ByteRange } from './blob-files.js';
import type { Blobs } from './blobs.js';
import type { RegistryClient, RemotePlace } from './client.js';
import type { BlobSize, WantedBlob } from './client-context.js';
import { fork } from './fork.js';
import { unknownManifest } from './repositories.js';

/**
 * A pull-through cache: repositories `NAME/…` are copies of what was asked for of the registry called NAME. A tag is
 * looked up there each time, without its bytes, and served as it was when that registry does not answer; manifests and
 * blobs by digest never change and come once. Of other repositories nothing is known here.
 */
export interface Mirrors {
  /** Where a repository's content comes from; undefined for one of this server's own. */
  originOf(repository: string): RemotePlace | undefined;
  /** Makes the manifest here what it is there. Throws MANIFEST_UNKNOWN, DENIED, TOOMANYREQUESTS, REGISTRY_UNAVAILABLE, QUOTA_EXCEEDED. */
  bringManifest(repository: string, reference: string): Promise<void>;
  /** A blob that the repository does not show yet; undefined when it is not there either. Throws as `bringManifest`. */
  findBlob(repository: string, digest: Digest): Promise<{ readonly size: number } | undefined>;
  /** The bytes of a blob that `findBlob` found, kept on their way; they end before their last part when they are wrong, or not as many. */
  openBlob(repository: string, blob: BlobSize, range?: ByteRange): Promise<Readable>;
  /** Makes a blob be here and shown; nothing when it is, or the repository is no copy. Throws BLOB_UNKNOWN, and as `bringManifest`. */
  bringBlob(repository: string, digest: Digest): Promise<void>;
  /** Undefined when it is not a copy, or its registry does not answer. Throws NAME_UNKNOWN, DENIED. */
  listTags(repository: string): Promise<readonly string[] | undefined>;
  /** Undefined when it is not a copy, or its registry does not answer or knows no such list. Throws DENIED. */
  listReferrers(repository: string, digest: Digest): Promise<readonly Descriptor[] | undefined>;
}

export interface MirrorsOptions {
  readonly blobs: Blobs;
  readonly log: Log;
  /** Hosts by the first component of the repositories that are copies of theirs. */
  readonly registries: ReadonlyMap<string, string>;
  /** A new client; it is closed after use. */
  readonly clientFor: (place: RemotePlace) => Promise<RegistryClient>;
}

/** Where `NAME/…` comes from, by the hosts that have names. */
export function originIn(registries: ReadonlyMap<string, string>, repository: string): RemotePlace | undefined {
  const [name = '', ...path] = repository.split('/');
  const registry = registries.get(name);
  return registry === undefined || path.length === 0 ? undefined : { registry, repository: path.join('/') };
}

export function createMirrors({ blobs, log, registries, clientFor }: MirrorsOptions): Mirrors {
  const inTurn = createTurns();
  /** Blobs on their way in: whoever asks for one meanwhile waits for it. */
  const coming = new Map<Digest, Promise<void>>();

  const originOf = (repository: string) => originIn(registries, repository);

  const ask = async <T>(place: RemotePlace, question: (client: RegistryClient) => Promise<T>): Promise<T> => {
    const client = await clientFor(place);
    return question(client)
      .catch((thrown: unknown) => Promise.reject(asOurs(thrown, place)))
      .finally(() => client.close());
  };

  /** The answer, or undefined when the registry cannot give one now. */
  const askIfUp = <T>(place: RemotePlace, question: (client: RegistryClient) => Promise<T>): Promise<T | undefined> =>
    ask(place, question).catch((thrown: unknown) => {
      if (!isOutage(thrown)) throw thrown;
      log.warn({ registry: place.registry, cause: thrown }, 'a mirrored registry does not answer; what is here is served');
      return undefined;
    });

  async function bringTag(place: RemotePlace, repository: string, tag: string): Promise<void> {
    const known = await blobs.getManifest(repository, tag);
    const question = (client: RegistryClient) => client.getDigest(place.repository, tag);
    const digest = await (known ? askIfUp(place, question) : ask(place, question));
    if (digest !== undefined && digest !== known?.digest) await copyManifest(place, { repository, digest, tag });
  }

  async function copyManifest(place: RemotePlace, { repository, digest, tag }: Copied): Promise<void> {
    const here = await blobs.getManifest(repository, digest);
    const { bytes, mediaType } = here ?? (await ask(place, (client) => client.getManifest(place.repository, digest)));
    await blobs.putManifest(repository, digest, bytes, { mediaType, tag });
  }

  /** Begins to fetch a blob for one reader and for the storage; whoever comes later waits for the latter. */
  function fetchBlob(place: RemotePlace, blob: WantedBlob): { readonly answer: Readable; readonly stored: Promise<void> } {
    const { digest } = blob;
    const [answer, copy] = fork(pull(place, blob));
    const stored = blobs
      .put(digest, copy)
      .then(() => {})
      .finally(() => coming.delete(digest));
    coming.set(
      digest,
      stored.catch(() => {}),
    );
    return { answer, stored };
  }

  async function keepBlob(place: RemotePlace, repository: string, digest: Digest): Promise<void> {
    await coming.get(digest);
    if (!(await blobs.has(digest))) {
      const { answer, stored } = fetchBlob(place, { digest });
      answer.destroy();
      await stored.catch((thrown: unknown) => Promise.reject(asOurs(thrown, place)));
    }
    await blobs.linkBlob(repository, digest);
  }

  async function* pull(place: RemotePlace, blob: WantedBlob): AsyncIterable<Uint8Array> {
    const client = await clientFor(place);
    try {
      yield* client.getBlob(place.repository, blob);
    } finally {
      await client.close();
    }
  }

  return {
    originOf,
    async bringManifest(repository, reference) {
      const place = originOf(repository);
      if (!place) return;
      await inTurn(`${repository}@${reference}`, async () => {
        if (!isDigest(reference)) await bringTag(place, repository, reference);
        else if (!(await blobs.getManifest(repository, reference))) await copyManifest(place, { repository, digest: reference });
      }).catch((thrown: unknown) => {
        throw thrown instanceof WherryError && thrown.code === 'IMAGE_UNKNOWN' ? unknownManifest(repository, reference) : thrown;
      });
      await blobs.touch(repository, reference);
    },
    async findBlob(repository, digest) {
      const place = originOf(repository);
      const found = place && (await ask(place, (client) => client.findBlob(place.repository, digest)));
      if (found?.size !== undefined) return { size: found.size };
      if (place && found) await keepBlob(place, repository, digest);
      return found && blobs.has(digest);
    },
    async openBlob(repository, blob, range) {
      const { digest } = blob;
      const place = originOf(repository);
      if (!place) throw new WherryError('INTERNAL', `repository '${repository}' is no copy`);
      await coming.get(digest);
      if (range || (await blobs.has(digest))) {
        await keepBlob(place, repository, digest);
        return (await blobs.open(digest, range)).stream;
      }
      const { answer, stored } = fetchBlob(place, blob);
      stored
        .then(() => blobs.linkBlob(repository, digest))
        // The answer goes on without the copy.
        .catch((cause: unknown) => log.warn({ registry: place.registry, digest, cause }, 'a blob of a mirrored registry was not kept'));
      return answer;
    },
    async bringBlob(repository, digest) {
      const place = originOf(repository);
      if (!place || ((await blobs.isLinked(repository, digest)) && (await blobs.has(digest)))) return;
      await keepBlob(place, repository, digest);
    },
    async listTags(repository) {
      const place = originOf(repository);
      return place && askIfUp(place, (client) => client.listTags(place.repository));
    },
    async listReferrers(repository, digest) {
      const place = originOf(repository);
      return place && askIfUp(place, (client) => client.listReferrers(place.repository, digest));
    },
  };
}

/** Every repository is this server's own. */
export const noMirrors: Mirrors = {
  originOf: () => undefined,
  bringManifest: async () => {},
  findBlob: async () => undefined,
  openBlob: async (repository) => Promise.reject(new WherryError('INTERNAL', `repository '${repository}' is no copy`)),
  bringBlob: async () => {},
  listTags: async () => undefined,
  listReferrers: async () => undefined,
};

interface Copied {
  readonly repository: string;
  readonly digest: Digest;
  readonly tag?: string;
}

function isOutage(thrown: unknown): boolean {
  return thrown instanceof WherryError && thrown.isRetryable;
}

/** What a mirrored registry refused to us is denied to our client: logging in here again would not help. */
function asOurs(thrown: unknown, { registry }: RemotePlace): unknown {
  if (!(thrown instanceof WherryError)) return thrown;
  if (thrown.code === 'UNAUTHORIZED') {
    const hint = `store credentials with \`wherry credentials add ${registry}\``;
    return new WherryError('DENIED', `the mirrored registry wants other credentials: ${thrown.message}`, { hint, cause: thrown });
  }
  return thrown;
}
