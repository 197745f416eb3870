import { findPlatform, type ImageConfig, isIndex, parseImageConfig, parseManifest } from '../oci/manifest.js';
import { compareSemver, parseSemverTag } from '../oci/semver-tag.js';
import { forEachOf } from '../registry/parallel.js';
import type { OpenRepository } from './image-source.js';

/** One tag of a repository. */
export interface TagView {
  readonly tag: string;
  readonly digest: string;
  /** RFC 3339; null when the image does not say, or says the beginning of time. */
  readonly created: string | null;
  /** Compressed bytes of its layers; of the linux/amd64 image of an index, null when it has none. */
  readonly sizeBytes: number | null;
}

const PARALLEL = 8;
const CONFIG_LIMIT_BYTES = 8 * 1024 * 1024;

/** All tags with what they mean now: versions first, the newest at the top, then the others by age. Throws what the registry throws. */
export async function readTags(repository: OpenRepository): Promise<readonly TagView[]> {
  const tags = await repository.client.listTags(repository.name);
  const found: TagView[] = [];
  await forEachOf(tags, PARALLEL, async (tag) => {
    found.push(await readTag(repository, tag));
  });
  return found.sort(compareTags);
}

async function readTag({ client, name }: OpenRepository, tag: string): Promise<TagView> {
  const { bytes, digest } = await client.getManifest(name, tag);
  const found = parseManifest(bytes);
  const inner = isIndex(found) ? findPlatform(found, { os: 'linux', architecture: 'amd64' }) : undefined;
  const manifest = inner ? parseManifest((await client.getManifest(name, inner.digest)).bytes) : found;
  if (isIndex(manifest)) return { tag, digest, created: null, sizeBytes: null };
  const sizeBytes = manifest.layers.reduce((total, { size }) => total + size, 0);
  const created = manifest.artifactType === undefined ? createdAt(await readConfig({ client, name }, manifest.config.digest)) : null;
  return { tag, digest, created, sizeBytes };
}

async function readConfig(
  { client, name }: OpenRepository,
  digest: Parameters<OpenRepository['client']['getBlob']>[1],
): Promise<ImageConfig> {
  const { readBlob } = await import('../image/source.js');
  return parseImageConfig(await readBlob({ getBlob: (blob) => client.getBlob(name, blob) }, digest, CONFIG_LIMIT_BYTES));
}

function createdAt({ created }: ImageConfig): string | null {
  return created === undefined || Date.parse(created) === 0 ? null : created;
}

function compareTags(a: TagView, b: TagView): number {
  const [left, right] = [parseSemverTag(a.tag), parseSemverTag(b.tag)];
  if (left && right) return compareSemver(right, left);
  if (left || right) return left ? -1 : 1;
  return (b.created ?? '').localeCompare(a.created ?? '') || (a.tag < b.tag ? -1 : 1);
}
