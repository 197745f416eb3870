import type { Digest } from '../oci/digest.js';
import { partsOf } from './parts.js';
import type { OwnedRepositories } from './repositories.js';
import type { Need } from './storage.js';

export interface NeededOptions {
  readonly needs: () => Promise<readonly Need[]>;
  readonly repositories: Pick<OwnedRepositories, 'readManifest' | 'isLinked'>;
}

/**
 * Whether a kept release needs a digest: its manifest, config or layers. What a manifest names never changes, so each is
 * read once. Of a release whose manifest cannot be read everything that its repository shows counts as needed.
 */
export function createNeeded({ needs, repositories }: NeededOptions): (digest: Digest) => Promise<boolean> {
  const known = new Map<Digest, ReadonlySet<Digest>>();

  async function partsOfNeed(digest: Digest): Promise<ReadonlySet<Digest> | undefined> {
    const before = known.get(digest);
    if (before) return before;
    const parts = await repositories.readManifest(digest).then(partsOf, () => undefined);
    if (!parts) return undefined;
    const digests = new Set([...parts.manifests, ...parts.blobs].map((part) => part.digest));
    known.set(digest, digests);
    return digests;
  }

  return async (digest) => {
    const current = await needs();
    const manifests = new Set(current.map((need) => need.digest));
    for (const old of known.keys()) if (!manifests.has(old)) known.delete(old);
    if (manifests.has(digest)) return true;
    for (const need of current) {
      const parts = await partsOfNeed(need.digest);
      if (parts ? parts.has(digest) : await repositories.isLinked(need.repository, digest)) return true;
    }
    return false;
  };
}
