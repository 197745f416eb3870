import { openClock } from '../base/clock.js';
import { type ErrorCode, WherryError } from '../base/errors.js';
import { formatBytes } from '../base/size.js';
import { openImage } from '../image/source.js';
import type { Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { measureManifest } from '../oci/manifest.js';
import { compareVersionTags, parseVersionTag, type VersionTag } from '../oci/semver-tag.js';
import { forEachOf } from '../registry/parallel.js';
import { type OpenRepository, readerOf } from './image-source.js';
import { formatAgo, formatTable, printable } from './output.js';

/** One tag of a repository. What is no image for the platform has neither time nor size. */
export interface TagView {
  readonly tag: string;
  /** Null when not even its manifest can be read. */
  readonly digest: Digest | null;
  /** RFC 3339. */
  readonly created: string | null;
  /** Config and layers as they travel. */
  readonly sizeBytes: number | null;
  readonly isVersion: boolean;
  /** Why it cannot be read, or null. */
  readonly fault: string | null;
}

const PARALLEL = 4;

/** Tags that stand in for a list of referrers (distribution-spec, "Referrers Tag Schema") name no image. */
const REFERRERS_TAG = /^sha256-[0-9a-f]{64}$/;

/** All tags of a repository: versions first, the highest at the top, then the others, the newest at the top. Throws NAME_UNKNOWN. */
export async function readTags(repository: OpenRepository, platform: Platform | undefined): Promise<readonly TagView[]> {
  const names = (await repository.client.listTags(repository.name)).filter((tag) => !REFERRERS_TAG.test(tag));
  const views: TagView[] = [];
  await forEachOf(names, PARALLEL, async (tag) => {
    const view = await readTag(repository, tag, platform);
    if (view) views.push(view);
  });
  return views.sort(compareTags);
}

/** Undefined for a tag that went since it was listed. */
async function readTag(repository: OpenRepository, tag: string, platform: Platform | undefined): Promise<TagView | undefined> {
  const unread = { tag, digest: null, created: null, sizeBytes: null, isVersion: parseVersionTag(tag) !== undefined, fault: null };
  const pulled = await unlessUnreadable(repository.client.getManifest(repository.name, tag));
  if (!pulled || 'fault' in pulled) return pulled && { ...unread, ...pulled };
  const { digest } = pulled;
  const wanted = { reference: digest, name: `${repository.name}:${tag}`, platform };
  const source = await unlessUnreadable(openImage(readerOf(repository), wanted));
  if (!source || 'fault' in source) return { ...unread, digest, ...source };
  const { config, manifest } = source;
  return { ...unread, digest, created: config.created ?? null, sizeBytes: measureManifest(manifest).bytes };
}

const UNREADABLE: readonly ErrorCode[] = ['MANIFEST_INVALID', 'BLOB_UNKNOWN', 'DIGEST_MISMATCH', 'SIZE_INVALID'];

/** One image that cannot be read is no reason to tell nothing of the others. Undefined for what is not there, or not for the platform. */
async function unlessUnreadable<T>(work: Promise<T>): Promise<T | { readonly fault: string } | undefined> {
  try {
    return await work;
  } catch (thrown) {
    if (!(thrown instanceof WherryError)) throw thrown;
    if (thrown.code === 'IMAGE_UNKNOWN') return undefined;
    if (UNREADABLE.includes(thrown.code)) return { fault: thrown.message };
    throw thrown;
  }
}

function compareTags(a: TagView, b: TagView): number {
  const [version, other] = [parseVersionTag(a.tag), parseVersionTag(b.tag)];
  if (version && other) return compareVersions(other, version);
  if (version || other) return version ? -1 : 1;
  const [created, otherCreated] = [a.created ?? '', b.created ?? ''];
  if (created !== otherCreated) return created > otherCreated ? -1 : 1;
  return a.tag < b.tag ? -1 : 1;
}

/** `v1.2.3` and `1.2.3` are one version; what is equal must still have one order. */
function compareVersions(a: VersionTag, b: VersionTag): number {
  return compareVersionTags(a, b) || (a.tag < b.tag ? -1 : 1);
}

/** Tags for people. */
export function formatTags(tags: readonly TagView[]): string {
  if (tags.length === 0) return 'no tags';
  const now = openClock().now();
  const rows = tags.map(({ tag, digest, created, sizeBytes, fault }) => [
    tag,
    digest ?? '',
    // Reproducible images of changed sources are made at the epoch: an age of decades says nothing. Some made by others have no time that can be read.
    created === null || !(Date.parse(created) > 0) ? '' : formatAgo(created, now),
    sizeBytes === null ? printable(fault ?? '') : formatBytes(sizeBytes),
  ]);
  return formatTable(['tag', 'digest', 'made', 'size'], rows);
}
