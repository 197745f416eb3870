import { join } from 'node:path';
import { openClock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import type { Digest } from '../oci/digest.js';
import { type BlobFiles, openBlobFiles, unknownBlob } from './blob-files.js';
import { openRepositories, type Repositories } from './repositories.js';
import { createTurns } from './turns.js';
import { openUploads, type Uploads } from './uploads.js';

/** The embedded registry's storage: content-addressed blobs, uploads on their way in, and the repositories that name them. */
export interface Blobs extends BlobFiles, Uploads, Repositories {
  /** Removes the bytes whatever repository shows them. Throws BLOB_UNKNOWN, and BLOB_IN_USE when a kept release needs them. */
  deleteBlob(digest: Digest): Promise<void>;
  /** Takes a blob out of one repository; the bytes go when no other has them. Throws BLOB_UNKNOWN, BLOB_IN_USE. */
  unlinkBlob(repository: string, digest: Digest): Promise<void>;
  /** Protects digests for an hour, until a release that is being made needs them; resolves when removals under way have ended. */
  hold(digests: readonly Digest[]): Promise<void>;
  /** Removes a repository, and the bytes that no other has and no kept release needs; nothing while one of its digests is held. */
  removeRepository(repository: string): Promise<void>;
}

export interface BlobsOptions {
  /** Whether a kept release needs the blob; asked before each removal. */
  readonly protect: (digest: Digest) => Promise<boolean>;
  /** Milliseconds since the epoch, for the age of uploads; the machine's clock by default. */
  readonly now?: () => number;
}

const HOLD_MS = 60 * 60 * 1000;

/** Opens the storage in `dir`, made when missing. One process at a time may write to it. */
export async function openBlobs(dir: string, options: BlobsOptions): Promise<Blobs> {
  const { protect, now = openClock().now } = options;
  const files = await openBlobFiles(dir);
  const repositories = openRepositories(join(dir, 'repositories'), files);
  /** Naming and removing of the same digest wait for each other: between the look for other names and the removal no name appears. */
  const inTurn = createTurns();
  const held = new Map<Digest, number>();
  const uploads = await openUploads(join(dir, 'uploads'), {
    now,
    adopt: (path, { digest, repository }) =>
      inTurn(digest, async () => {
        await files.adopt(path, digest);
        await repositories.linkBlob(repository, digest);
      }),
  });
  const isHeld = (digest: Digest) => (held.get(digest) ?? 0) > now();
  const isProtected = async (digest: Digest) => isHeld(digest) || protect(digest);

  async function refuseProtected(digest: Digest): Promise<void> {
    if (!(await isProtected(digest))) return;
    throw new WherryError('BLOB_IN_USE', `'${digest}' cannot be deleted: a kept release needs it`, {
      hint: 'remove the endpoint that has the release; what a deploy looked at is kept for an hour',
      detail: { digest },
    });
  }

  async function removeUnused(digest: Digest): Promise<void> {
    if (!(await repositories.isUsed(digest))) await files.remove(digest);
  }

  return {
    has: files.has,
    open: files.open,
    read: files.read,
    put: files.put,
    verify: files.verify,
    ...uploads,
    linkBlob: (repository, digest) =>
      inTurn(digest, async () => {
        if (!(await files.has(digest))) throw unknownBlob(digest);
        await repositories.linkBlob(repository, digest);
      }),
    isLinked: repositories.isLinked,
    putManifest: (repository, digest, ...manifest) => inTurn(digest, () => repositories.putManifest(repository, digest, ...manifest)),
    getManifest: repositories.getManifest,
    deleteTag: repositories.deleteTag,
    listTags: repositories.listTags,
    listRepositories: repositories.listRepositories,
    listReferrers: repositories.listReferrers,
    deleteManifest: (repository, digest) =>
      inTurn(digest, async () => {
        await refuseProtected(digest);
        await repositories.deleteManifest(repository, digest);
        await removeUnused(digest);
      }),
    deleteBlob: (digest) =>
      inTurn(digest, async () => {
        if (!(await files.has(digest))) throw unknownBlob(digest);
        await refuseProtected(digest);
        await files.remove(digest);
      }),
    unlinkBlob: (repository, digest) =>
      inTurn(digest, async () => {
        if (!(await repositories.isLinked(repository, digest))) throw unknownBlob(digest);
        await refuseProtected(digest);
        await repositories.unlinkBlob(repository, digest);
        await removeUnused(digest);
      }),
    async hold(digests) {
      for (const digest of held.keys()) if (!isHeld(digest)) held.delete(digest);
      for (const digest of digests) held.set(digest, now() + HOLD_MS);
      for (const digest of digests) await inTurn(digest, async () => {});
    },
    async removeRepository(repository) {
      const digests = await repositories.listDigests(repository);
      if (digests.some(isHeld)) return;
      await repositories.removeRepository(repository);
      for (const digest of digests)
        await inTurn(digest, async () => {
          if (!(await isProtected(digest))) await removeUnused(digest);
        });
    },
  };
}
