import type { Digest } from '../oci/digest.js';
import type { Storage } from './storage.js';

/** What the registry holds, in bytes as on disk. */
export interface Figures {
  /** Every blob and manifest once. */
  readonly blobs: number;
  readonly bytes: number;
  /** What no repository names; a collection frees it after an hour. */
  readonly unnamedBlobs: number;
  readonly unnamedBytes: number;
  /** Sorted by name. */
  readonly repositories: readonly RepositoryFigures[];
}

export interface RepositoryFigures {
  readonly repository: string;
  readonly tags: readonly string[];
  readonly manifests: number;
  /** Everything it shows, each blob once, whoever else shows it. */
  readonly bytes: number;
  /** What no other repository shows: freed when this one goes. */
  readonly exclusiveBytes: number;
}

/** Adds up sizes by a walk over names and one `stat` a blob; nothing is read or hashed. */
export async function measure({ files, repositories }: Storage): Promise<Figures> {
  const sizes = new Map<Digest, number>();
  for await (const { digest, size } of files.list()) sizes.set(digest, size);
  const shown = new Map<string, ReadonlySet<Digest>>();
  const counts = new Map<Digest, number>();
  for (const repository of await repositories.listRepositories()) {
    const digests = new Set(await repositories.listDigests(repository));
    shown.set(repository, digests);
    for (const digest of digests) counts.set(digest, (counts.get(digest) ?? 0) + 1);
  }
  const sum = (digests: Iterable<Digest>) => [...digests].reduce((total, digest) => total + (sizes.get(digest) ?? 0), 0);
  const unnamed = [...sizes.keys()].filter((digest) => !counts.has(digest));
  return {
    blobs: sizes.size,
    bytes: sum(sizes.keys()),
    unnamedBlobs: unnamed.length,
    unnamedBytes: sum(unnamed),
    repositories: await Promise.all(
      [...shown].map(async ([repository, digests]) => ({
        repository,
        tags: (await repositories.listTags(repository)) ?? [],
        manifests: (await repositories.listManifests(repository)).length,
        bytes: sum(digests),
        exclusiveBytes: sum([...digests].filter((digest) => counts.get(digest) === 1)),
      })),
    ),
  };
}
