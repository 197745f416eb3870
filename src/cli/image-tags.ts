import { openClock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import { formatBytes } from '../base/size.js';
import { openImage } from '../image/source.js';
import type { Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { compareVersionTags, parseVersionTag, type VersionTag } from '../oci/semver-tag.js';
import { forEachOf } from '../registry/parallel.js';
import { type OpenRepository, readerOf } from './image-source.js';
import { formatAgo, formatTable } from './output.js';

/** One tag of a repository. What is no image for the platform has neither time nor size. */
export interface TagView {
  readonly tag: string;
  readonly digest: Digest;
  /** RFC 3339. */
  readonly created: string | null;
  /** Config and layers as they travel. */
  readonly sizeBytes: number | null;
  readonly isVersion: boolean;
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
  const isVersion = parseVersionTag(tag) !== undefined;
  const pulled = await unlessUnknown(repository.client.getManifest(repository.name, tag));
  if (!pulled) return undefined;
  const { digest } = pulled;
  const wanted = { reference: digest, name: `${repository.name}:${tag}`, platform };
  const source = await unlessUnknown(openImage(readerOf(repository), wanted));
  if (!source) return { tag, digest, created: null, sizeBytes: null, isVersion };
  const { config, manifest } = source;
  const sizeBytes = manifest.layers.reduce((total, { size }) => total + size, manifest.config.size);
  return { tag, digest, created: config.created ?? null, sizeBytes, isVersion };
}

/** Tags may name things that are no images, or images for other platforms. */
async function unlessUnknown<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (thrown) {
    if (thrown instanceof WherryError && (thrown.code === 'IMAGE_UNKNOWN' || thrown.code === 'MANIFEST_INVALID')) return undefined;
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
  const rows = tags.map(({ tag, digest, created, sizeBytes }) => [
    tag,
    digest,
    // Reproducible images of changed sources are made at the epoch: an age of decades says nothing.
    created === null || Date.parse(created) === 0 ? '' : formatAgo(created, now),
    sizeBytes === null ? '' : formatBytes(sizeBytes),
  ]);
  return formatTable(['tag', 'digest', 'made', 'size'], rows);
}
