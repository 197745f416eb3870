import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { silentLog } from '../base/log.js';
import { type BuiltImage, blobsOf } from '../build/built-image.js';
import { openRemoteRegistry } from '../compose-registry.js';
import type { Descriptor } from '../oci/descriptor.js';
import { type Digest, digestOf } from '../oci/digest.js';
import { type Layout, openLayout } from '../oci/layout.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';
import { parseVersionTag } from '../oci/semver-tag.js';
import { createRegistryClient, type PulledManifest, type RegistryClient } from '../registry/client.js';
import { type PushResult, pushImage } from '../registry/push.js';
import { openKeptTexts } from './kept-texts.js';
import { cacheDirOf, type ImagePlace, layoutDirOf } from './project-image.js';

/** Server and key of the embedded registry. */
export interface Embedded {
  readonly url: string;
  readonly key: string;
}

/** Where an image goes. */
export interface PushTarget {
  /** Without a registry host, the embedded one; its tag is the first of `tags`. */
  readonly reference: Reference;
  readonly tags: readonly string[];
}

export interface PushRequest {
  readonly built: BuiltImage;
  readonly to: PushTarget;
  readonly place: ImagePlace;
  readonly embedded: Embedded | undefined;
  /** Tags that are versions may move. */
  readonly isForced: boolean;
  /** Told of the bytes of large blobs as they go out. */
  readonly onSent: (bytes: number) => void;
}

/** Pushes a built image; success means that it was re-read from the registry. Throws TAG_EXISTS before anything is sent. */
export async function pushProject({ built, to, place, embedded, isForced, onSent }: PushRequest): Promise<PushResult> {
  const { registry, repository } = to.reference;
  const layout = await openLayout(layoutDirOf(place.dataDir));
  const places = openBlobPlaces(place.dataDir, registry ?? '');
  const base = built.base === null ? undefined : parseReference(built.base);
  const { environment, signal } = place;
  const client = registry ? await openRemoteRegistry(registry, environment, { log: silentLog, signal }) : openEmbedded(embedded, signal);
  try {
    if (!isForced) for (const tag of to.tags) await refuseToMove(client, { repository, tag, built });
    const blobs = blobsOf(built);
    const pushed = await pushImage({
      client,
      repository,
      tags: to.tags,
      manifest: await readManifest(layout, built.descriptor),
      ...(built.index && { listed: await Promise.all(built.index.manifests.map((listed) => readManifest(layout, listed))) }),
      blobs,
      onSent,
      mountFrom: async (digest) => (await places.find(digest)) ?? (base?.registry === registry ? base?.repository : undefined),
    });
    for (const { digest } of blobs) await places.remember(digest, repository);
    return pushed;
  } finally {
    await client.close();
  }
}

async function readManifest(layout: Layout, { digest, mediaType }: Descriptor): Promise<PulledManifest> {
  return { bytes: await layout.readBytes(digest), digest, mediaType };
}

/** In which repository of a registry a blob was pushed last, so that another project's push of the same layer can mount it. */
function openBlobPlaces(dataDir: string, registry: string) {
  const texts = openKeptTexts(join(cacheDirOf(dataDir), 'pushed'));
  const keyOf = (digest: Digest) => digestOf(`${registry} ${digest}`).slice('sha256:'.length);
  return {
    find: (digest: Digest) => texts.get(keyOf(digest)),
    async remember(digest: Digest, repository: string) {
      if ((await texts.get(keyOf(digest))) !== repository) await texts.put(keyOf(digest), repository);
    },
  };
}

type Wanted = { readonly repository: string; readonly tag: string; readonly built: BuiltImage };

/** A version names one image for ever: who deployed it, or reads about it, must find the same. */
async function refuseToMove(client: RegistryClient, { repository, tag, built }: Wanted): Promise<void> {
  if (parseVersionTag(tag) === undefined) return;
  const there = await client.getManifest(repository, tag).catch((thrown: unknown) => {
    if (thrown instanceof WherryError && thrown.code === 'IMAGE_UNKNOWN') return undefined;
    throw thrown;
  });
  if (!there || there.digest === built.digest) return;
  throw new WherryError('TAG_EXISTS', `version '${tag}' of '${repository}' is another image already: ${there.digest}`, {
    hint: 'push a new version; --force moves this one',
    detail: { tag, digest: there.digest },
  });
}

/**
 * Where a project is pushed: `--to`, or its name in the embedded registry. Without a tag it gets the versions that git's tags give the
 * revision, and `sha-` with the revision; a tree with changes has neither, and gets `build-` with its digest. Throws USAGE, REFERENCE_INVALID.
 */
export function targetOf(built: BuiltImage, to: string | undefined): PushTarget {
  const reference = to === undefined ? { repository: built.name } : parseReference(to);
  if (reference.digest)
    throw new WherryError('USAGE', `cannot push to '${to}': a push has a tag, its digest follows from the bytes`, {
      hint: 'leave @sha256:… out',
    });
  const tags = reference.tag === undefined ? tagsOf(built) : [reference.tag];
  return { reference: { ...reference, tag: tags[0] ?? 'latest' }, tags };
}

function tagsOf({ revision, versions, digest }: BuiltImage): readonly string[] {
  return revision === null ? [`build-${digest.slice(7, 19)}`] : [...versions, `sha-${revision.slice(0, 12)}`];
}

/** `name:tag@sha256:…` of what was pushed. */
export function formatPushed({ reference }: PushTarget, built: BuiltImage): string {
  return formatReference({ ...reference, digest: built.digest });
}

function openEmbedded(embedded: Embedded | undefined, signal: AbortSignal): RegistryClient {
  if (!embedded)
    throw new WherryError('SERVER_UNAVAILABLE', 'there is no server to push to', {
      hint: 'start one with `wherry serve`, or name a registry with --to',
    });
  const credentials = { username: 'wherry', password: embedded.key };
  return createRegistryClient({ registry: new URL(embedded.url).host, credentials, log: silentLog, signal });
}
