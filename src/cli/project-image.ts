import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { silentLog } from '../base/log.js';
import { type BuiltImage, buildImage } from '../build/build.js';
import type { Environment } from '../compose.js';
import { openRemoteRegistry, packageRoot, readSourceDateEpoch } from '../compose.js';
import { MEDIA_TYPES } from '../oci/descriptor.js';
import { openLayout } from '../oci/layout.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';
import type { Project } from '../project/read.js';
import { createRegistryClient, type RegistryClient } from '../registry/client.js';
import { type PushResult, pushImage } from '../registry/push.js';
import { openBaseImages } from './base-image.js';

export interface ImagePlace {
  readonly dataDir: string;
  readonly environment: Environment;
}

/** Where the CLI keeps the images it builds. */
export function layoutDirOf(dataDir: string): string {
  return join(dataDir, 'images');
}

export interface BuildOptions {
  /** Ask the registry again what the base's name means. */
  readonly isBaseUpdate?: boolean;
  /** Believe nothing of earlier builds. */
  readonly isFresh?: boolean;
  readonly report?: (line: string) => void;
}

/** Builds the project's image into the data directory's layout. */
export async function buildProject(
  project: Project,
  { dataDir, environment }: ImagePlace,
  options: BuildOptions = {},
): Promise<BuiltImage> {
  const root = packageRoot();
  const layoutDir = layoutDirOf(dataDir);
  return buildImage({
    project,
    layoutDir,
    cacheDir: join(dataDir, 'cache'),
    sdk: { node: join(root, 'sdk/node/src'), python: join(root, 'sdk/python/wherry') },
    environment,
    sourceDateEpoch: readSourceDateEpoch(environment),
    zlibVersion: process.versions.zlib ?? 'unknown',
    isBaseUpdate: options.isBaseUpdate === true,
    isFresh: options.isFresh === true,
    report: options.report ?? (() => {}),
    bases: openBaseImages({
      layout: await openLayout(layoutDir),
      open: (registry) => openRemoteRegistry(registry, environment, silentLog),
    }),
  });
}

/** Writes every blob of a built image into a layout of its own, under the name of the project. */
export async function writeOutput({ blobs, manifest, descriptor, name }: BuiltImage, dir: string): Promise<void> {
  const layout = await openLayout(dir);
  for (const blob of blobs) if (!(await layout.has(blob))) await layout.writeBlob(blob.open(), blob.digest);
  await layout.putBytes(JSON.stringify(manifest));
  await layout.putRef(name, descriptor);
}

/** Server and key of the embedded registry. */
export interface Embedded {
  readonly url: string;
  readonly key: string;
}

export interface PushRequest {
  readonly built: BuiltImage;
  /** Where to; without a registry host, the embedded one. */
  readonly to: Reference;
  readonly place: ImagePlace;
  readonly embedded: Embedded | undefined;
  readonly onBlob: () => void;
}

/** Pushes a built image; success means that it was re-read from the registry. */
export async function pushProject({ built, to, place, embedded, onBlob }: PushRequest): Promise<PushResult> {
  const layout = await openLayout(layoutDirOf(place.dataDir));
  const client = to.registry ? await openRemoteRegistry(to.registry, place.environment, silentLog) : openEmbedded(embedded);
  try {
    return await pushImage({
      client,
      repository: to.repository,
      tags: to.tag ? [to.tag] : [],
      manifest: { bytes: await layout.readBytes(built.digest), digest: built.digest, mediaType: MEDIA_TYPES.manifest },
      blobs: built.blobs,
      onProgress: onBlob,
    });
  } finally {
    await client.close();
  }
}

/** The reference a project is pushed as: `--to`, or its name in the embedded registry, tagged by revision when there is one. */
export function targetOf(built: BuiltImage, to: string | undefined): Reference {
  const tag = built.revision ? `sha-${built.revision.slice(0, 12)}` : `build-${built.digest.slice(7, 19)}`;
  if (to === undefined) return { repository: built.name, tag };
  const reference = parseReference(to);
  if (reference.digest)
    throw new WherryError('USAGE', `cannot push to '${to}': a push has a tag, its digest follows from the bytes`, {
      hint: 'leave @sha256:… out',
    });
  return reference.tag ? reference : { ...reference, tag };
}

/** `name:tag@sha256:…` of what was pushed. */
export function formatPushed(to: Reference, built: BuiltImage): string {
  return formatReference({ ...to, digest: built.digest });
}

function openEmbedded(embedded: Embedded | undefined): RegistryClient {
  if (!embedded)
    throw new WherryError('SERVER_UNAVAILABLE', 'there is no server to push to', {
      hint: 'start one with `wherry serve`, or name a registry with --to',
    });
  const credentials = { username: 'wherry', password: embedded.key };
  return createRegistryClient({ registry: new URL(embedded.url).host, credentials, log: silentLog });
}
