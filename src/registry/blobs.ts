import { join } from 'node:path';
import { openClock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import type { Digest } from '../oci/digest.js';
import { type BlobFiles, openBlobFiles, unknownBlob } from './blob-files.js';
import { openRepositories, type Repositories } from './repositories.js';
import { openUploads, type Uploads } from './uploads.js';

/** The embedded registry's storage: content-addressed blobs, uploads on their way in, and the repositories that name them. */
export interface Blobs extends BlobFiles, Uploads, Repositories {
  /** Removes the bytes whatever repository shows them. Throws BLOB_UNKNOWN, and BLOB_IN_USE when a kept release needs them. */
  deleteBlob(digest: Digest): Promise<void>;
  /** Takes a blob out of one repository; the bytes go when no other has them. Throws BLOB_UNKNOWN, BLOB_IN_USE. */
  unlinkBlob(repository: string, digest: Digest): Promise<void>;
}

export interface BlobsOptions {
  /** Whether a kept release needs the blob; asked before each removal. */
  readonly protect: (digest: Digest) => Promise<boolean>;
  /** Milliseconds since the epoch, for the age of uploads; the machine's clock by default. */
  readonly now?: () => number;
}

/** Opens the storage in `dir`, made when missing. One process at a time may write to it. */
export async function openBlobs(dir: string, options: BlobsOptions): Promise<Blobs> {
  const { protect, now = openClock().now } = options;
  const files = await openBlobFiles(dir);
  const uploads = await openUploads(join(dir, 'uploads'), { files, now: now() });
  const repositories = openRepositories(join(dir, 'repositories'), files);

  async function refuseProtected(digest: Digest): Promise<void> {
    if (!(await protect(digest))) return;
    throw new WherryError('BLOB_IN_USE', `'${digest}' cannot be deleted: a kept release needs it`, {
      hint: 'delete the endpoint, or wait until the release is no longer kept',
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
    linkBlob: repositories.linkBlob,
    isLinked: repositories.isLinked,
    putManifest: repositories.putManifest,
    getManifest: repositories.getManifest,
    deleteTag: repositories.deleteTag,
    listTags: repositories.listTags,
    listRepositories: repositories.listRepositories,
    listReferrers: repositories.listReferrers,
    async deleteManifest(repository, digest) {
      await refuseProtected(digest);
      await repositories.deleteManifest(repository, digest);
      await removeUnused(digest);
    },
    async deleteBlob(digest) {
      if (!(await files.has(digest))) throw unknownBlob(digest);
      await refuseProtected(digest);
      await files.remove(digest);
    },
    async unlinkBlob(repository, digest) {
      if (!(await repositories.isLinked(repository, digest))) throw unknownBlob(digest);
      await refuseProtected(digest);
      await repositories.unlinkBlob(repository, digest);
      await removeUnused(digest);
    },
  };
}
