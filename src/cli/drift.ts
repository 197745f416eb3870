import type { ReleaseView } from '../api/resources.js';
import { isIndex, parseManifest } from '../oci/manifest.js';
import { formatReference, parseReference } from '../oci/reference.js';
import { forEachOf } from '../registry/parallel.js';
import type { Context } from './command.js';
import { openRepository } from './image-source.js';

/** What the tag that a release came from means now, or why that cannot be said. */
export type TagNow =
  | {
      readonly digest: string;
      /** The manifests of an index; empty for a plain one. A release has one of them. */
      readonly manifests: readonly string[];
    }
  | { readonly problem: string };

export interface DriftOptions {
  /** Ask other registries too; without, only the server's own. */
  readonly isRemote: boolean;
}

const PARALLEL = 4;

/**
 * What the tags of releases mean now, by their reference without a digest (feature B12). Each is asked for once; a registry that does not
 * answer, or a tag that is gone, is a problem of that entry only.
 */
export async function readTagsNow(
  releases: readonly Pick<ReleaseView, 'image'>[],
  context: Context,
  { isRemote }: DriftOptions,
): Promise<ReadonlyMap<string, TagNow>> {
  const names = [...new Set(releases.flatMap(({ image }) => tagOf(image) ?? []))];
  const found = new Map<string, TagNow>();
  await forEachOf(
    names.filter((name) => isRemote || parseReference(name).registry === undefined),
    PARALLEL,
    async (name) => {
      found.set(name, await readTag(name, context));
    },
  );
  return found;
}

/** The reference that a release's tag is asked for by; undefined for one that was named by digest only. */
export function tagOf({ reference, tag }: ReleaseView['image']): string | undefined {
  const { registry, repository } = parseReference(reference);
  return tag === null ? undefined : formatReference({ repository, tag, ...(registry !== undefined && { registry }) });
}

async function readTag(name: string, context: Context): Promise<TagNow> {
  try {
    const reference = parseReference(name);
    const { client, name: repository } = await openRepository(reference, context);
    try {
      const { bytes, digest } = await client.getManifest(repository, reference.tag ?? 'latest');
      const manifest = parseManifest(bytes);
      return { digest, manifests: isIndex(manifest) ? manifest.manifests.map((listed) => listed.digest) : [] };
    } finally {
      await client.close();
    }
  } catch (thrown) {
    context.signal.throwIfAborted();
    return { problem: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}
