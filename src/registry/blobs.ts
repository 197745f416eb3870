import { join } from 'node:path';
import { openClock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import { createTurns } from '../base/turns.js';
import type { Digest } from '../oci/digest.js';
import { type BlobFiles, type OwnedBlobFiles, openBlobFiles, unknownBlob } from './blob-files.js';
import { type Collected, type CollectOptions, collectGarbage, GRACE_MS, tagTurn } from './collect.js';
import { type Figures, measure } from './measure.js';
import { createNeeded } from './needed.js';
import { createQuota, meter, type Quota } from './quota.js';
import { openRepositories, type Repositories } from './repositories.js';
import type { Need, Storage } from './storage.js';
import { openUploads, type Uploads } from './uploads.js';
import { type VerifyEvent, type VerifyOptions, verifyAll } from './verify-all.js';

/** The embedded registry's storage: content-addressed blobs, uploads on their way in, and the repositories that name them. */
export interface Blobs extends BlobFiles, Uploads, Repositories {
  /** Removes the bytes whatever repository shows them. Throws BLOB_UNKNOWN, and BLOB_IN_USE when a kept release needs them. */
  deleteBlob(digest: Digest): Promise<void>;
  /** Takes a blob out of one repository; the bytes go when no other has them. Throws BLOB_UNKNOWN, BLOB_IN_USE. */
  unlinkBlob(repository: string, digest: Digest): Promise<void>;
  /** Protects digests for an hour, until a release that is being made needs them; resolves when removals under way have ended. */
  hold(digests: readonly Digest[]): Promise<void>;
  /** Keeps digests from being collected for an hour, because a client was told that they are here, or is about to name them; resolves when removals under way have ended. */
  spare(digests: readonly Digest[]): Promise<void>;
  /** Throws QUOTA_EXCEEDED when so many more bytes would not fit. */
  checkQuota(bytes: number): void;
  /** See {@link collectGarbage}; one at a time. Rejects with the signal's reason when it is aborted. */
  collect(options: CollectOptions): Promise<Collected>;
  measure(): Promise<Figures>;
  verifyAll(options?: VerifyOptions): AsyncIterable<VerifyEvent>;
  /** Removes a repository, and the bytes that no other has and no kept release needs; nothing while one of its digests is held. */
  removeRepository(repository: string): Promise<void>;
}

export interface BlobsOptions {
  /** What kept releases need; asked before each removal. Nothing by default. */
  readonly needs?: () => Promise<readonly Need[]>;
  /** Most bytes in blobs and uploads; no limit by default. */
  readonly quotaBytes?: number | undefined;
  /** Whether a repository holds copies of what was asked for of another registry: there nothing has to be whole. */
  readonly isCopied?: (repository: string) => boolean;
  /** Milliseconds since the epoch, for the age of uploads and names; the machine's clock by default. */
  readonly now?: () => number;
}

const HOLD_MS = 60 * 60 * 1000;

/** Opens the storage in `dir`, made when missing. One process at a time may write to it. */
export async function openBlobs(dir: string, options: BlobsOptions = {}): Promise<Blobs> {
  const { needs = async () => [], quotaBytes, isCopied = () => false, now = openClock().now } = options;
  const files = await openBlobFiles(dir);
  const repositories = openRepositories(join(dir, 'repositories'), { files, now });
  /** Naming and removing of the same digest wait for each other: between the look for other names and the removal no name appears. */
  const inTurn = createTurns();
  const held = createMarks(now, HOLD_MS);
  const spared = createMarks(now, GRACE_MS);
  const quota = await openQuota(files, quotaBytes);
  const uploads = await openUploads(join(dir, 'uploads'), {
    now,
    quota,
    adopt: (path, { digest, repository }) => {
      spared.add(digest);
      return inTurn(digest, async () => {
        await files.adopt(path, digest);
        await repositories.linkBlob(repository, digest);
      });
    },
  });
  const isNeeded = createNeeded({ needs, repositories });
  const isProtected = async (digest: Digest) => held.has(digest) || isNeeded(digest);
  const storage: Storage = {
    files,
    repositories,
    inTurn,
    needs,
    isCopied,
    now,
    isSpared: (digest) => held.has(digest) || spared.has(digest),
  };
  const inCollection = createTurns();

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
    // A blob that is here, and only damaged, takes no more room.
    put: async (digest, source) => files.put(digest, (await files.has(digest)) ? source : meter(quota, source)),
    verify: files.verify,
    ...uploads,
    linkBlob(repository, digest) {
      spared.add(digest);
      return inTurn(digest, async () => {
        if (!(await files.has(digest))) throw unknownBlob(digest);
        await repositories.linkBlob(repository, digest);
      });
    },
    isLinked: repositories.isLinked,
    putManifest(repository, digest, bytes, named) {
      spared.add(digest);
      const put = () => repositories.putManifest(repository, digest, bytes, named);
      return inTurn(digest, () => (named.tag === undefined ? put() : inTurn(tagTurn(repository, named.tag), put)));
    },
    getManifest: repositories.getManifest,
    touch: repositories.touch,
    deleteTag: (repository, tag) => inTurn(tagTurn(repository, tag), () => repositories.deleteTag(repository, tag)),
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
      for (const digest of digests) held.add(digest);
      for (const digest of digests) await inTurn(digest, async () => {});
    },
    async spare(digests) {
      for (const digest of digests) spared.add(digest);
      for (const digest of digests) await inTurn(digest, async () => {});
    },
    checkQuota: quota.check,
    collect: (collectOptions) => inCollection('', () => collectGarbage(storage, collectOptions)),
    measure: () => measure(storage),
    verifyAll: (verifyOptions = {}) => verifyAll(storage, verifyOptions),
    async removeRepository(repository) {
      const digests = await repositories.listDigests(repository);
      if (digests.some(held.has)) return;
      await repositories.removeRepository(repository);
      for (const digest of digests)
        await inTurn(digest, async () => {
          if (!(await isProtected(digest))) await removeUnused(digest);
        });
    },
  };
}

/** Digests that are marked for a time. */
function createMarks(now: () => number, forMs: number) {
  const until = new Map<Digest, number>();
  const has = (digest: Digest) => (until.get(digest) ?? 0) > now();
  return {
    has,
    add(digest: Digest): void {
      // Re-inserted, so that the oldest come first and each is looked at once when its time is over.
      until.delete(digest);
      until.set(digest, now() + forMs);
      for (const old of until.keys()) {
        if (has(old)) break;
        until.delete(old);
      }
    },
  };
}

async function openQuota(files: OwnedBlobFiles, limitBytes: number | undefined): Promise<Quota> {
  if (limitBytes !== undefined) await files.countBytes();
  return createQuota({ limitBytes, storedBytes: files.storedBytes });
}
