import { createHash, type Hash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import type { Digest } from '../oci/digest.js';
import { writeAll } from '../oci/durable-file.js';
import { asStorage, mismatch, unlessMissing } from './blob-files.js';
import type { Quota } from './quota.js';

/** Blobs on their way in. Steps on one upload happen one after the other; an upload survives a restart for a day. */
export interface Uploads {
  /** A new upload of zero bytes; gives its id. */
  startUpload(): Promise<string>;
  /** Bytes received so far. Throws BLOB_UPLOAD_UNKNOWN. */
  uploadSize(id: string): Promise<number>;
  /** Appends a stream; what came before a break is kept. Gives the new size. Throws RANGE_INVALID when `start` is not the size, BLOB_UPLOAD_UNKNOWN, STORE_UNAVAILABLE, QUOTA_EXCEEDED. */
  appendUpload(id: string, source: AsyncIterable<Uint8Array>, options?: { readonly start?: number | undefined }): Promise<number>;
  /** Ends the upload and makes it a blob of the repository, in one step; gives its size. A DIGEST_MISMATCH ends it too. Throws BLOB_UPLOAD_UNKNOWN. */
  finishUpload(id: string, digest: Digest, repository: string): Promise<number>;
  /** Throws BLOB_UPLOAD_UNKNOWN. */
  cancelUpload(id: string): Promise<void>;
  /** Removes uploads that nobody appended to for a day. */
  removeOldUploads(): Promise<void>;
}

export interface UploadsOptions {
  readonly now: () => number;
  readonly quota: Quota;
  /** Makes a synced file, whose digest was checked, a blob of a repository. */
  readonly adopt: (path: string, as: { readonly digest: Digest; readonly repository: string }) => Promise<void>;
}

interface Upload {
  readonly id: string;
  readonly file: string;
  /** Of the first `size` bytes of the file. */
  readonly hash: Hash;
  size: number;
  /** Whether the quota counts its bytes as incoming. */
  isCounted: boolean;
  /** The end of the step that was asked for last; never rejects. */
  tail: Promise<void>;
}

const KEPT_MS = 24 * 60 * 60 * 1000;
const UPLOAD_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Opens the uploads in `dir`; those older than a day are removed. */
export async function openUploads(dir: string, { adopt, now, quota }: UploadsOptions): Promise<Uploads> {
  await mkdir(dir, { recursive: true });
  await removeOld(dir, now());
  // Promises, so that two requests that arrive together share one upload.
  const live = new Map<string, Promise<Upload>>();

  function find(id: string): Promise<Upload> {
    const known = live.get(id);
    if (known) return known;
    const loaded = loadUpload(dir, id);
    live.set(id, loaded);
    loaded.then(
      ({ size }) => quota.count(size),
      () => live.delete(id),
    );
    return loaded;
  }

  /** Its bytes count no more as incoming: from here on they are stored, or gone. */
  function release(upload: Upload): void {
    if (upload.isCounted) quota.give(upload.size);
    upload.isCounted = false;
  }

  async function end(upload: Upload): Promise<void> {
    release(upload);
    live.delete(upload.id);
    await rm(upload.file, { force: true });
  }

  return {
    async startUpload() {
      const id = randomUUID();
      const handle = await asStorage(open(join(dir, id), 'wx', 0o644));
      await handle.close();
      live.set(
        id,
        Promise.resolve({ id, file: join(dir, id), hash: createHash('sha256'), size: 0, isCounted: true, tail: Promise.resolve() }),
      );
      return id;
    },
    async uploadSize(id) {
      const upload = await find(id);
      return inTurn(upload, async () => upload.size);
    },
    async appendUpload(id, source, { start } = {}) {
      const upload = await find(id);
      return inTurn(upload, () => append(upload, { source, start, quota }));
    },
    async finishUpload(id, digest, repository) {
      const upload = await find(id);
      return inTurn(upload, async () => {
        try {
          await finish(upload, digest);
          release(upload);
          await adopt(upload.file, { digest, repository });
        } finally {
          await end(upload);
        }
        return upload.size;
      });
    },
    async cancelUpload(id) {
      const upload = await find(id);
      await inTurn(upload, () => end(upload));
    },
    async removeOldUploads() {
      for (const id of await removeOld(dir, now())) {
        const upload = await live.get(id);
        if (upload) release(upload);
        live.delete(id);
      }
    },
  };
}

function inTurn<T>(upload: Upload, step: () => Promise<T>): Promise<T> {
  const result = upload.tail.then(step);
  upload.tail = result.then(
    () => {},
    () => {},
  );
  return result;
}

interface Chunk {
  readonly source: AsyncIterable<Uint8Array>;
  readonly start: number | undefined;
  readonly quota: Quota;
}

async function append(upload: Upload, { source, start, quota }: Chunk): Promise<number> {
  if (start !== undefined && start !== upload.size) {
    throw new WherryError('RANGE_INVALID', `chunk at byte ${start} refused: the upload has ${upload.size} bytes`, {
      hint: 'continue at the byte after the last one received',
      detail: { size: upload.size },
    });
  }
  const handle = await unlessMissing(open(upload.file, 'r+'));
  if (!handle) throw unknownUpload(upload.id);
  try {
    for await (const part of source) {
      quota.check(part.length);
      await asStorage(writeAll(handle, part, upload.size));
      quota.count(part.length);
      upload.hash.update(part);
      upload.size += part.length;
    }
  } finally {
    await handle.close();
  }
  return upload.size;
}

async function finish(upload: Upload, digest: Digest): Promise<void> {
  const actual = `sha256:${upload.hash.digest('hex')}`;
  if (actual !== digest) throw mismatch(digest, actual);
  const handle = await unlessMissing(open(upload.file, 'r+'));
  if (!handle) throw unknownUpload(upload.id);
  try {
    // A write that failed half-way may have left bytes after the last counted one.
    await asStorage(handle.truncate(upload.size));
    await asStorage(handle.sync());
  } finally {
    await handle.close();
  }
}

/** An upload of an earlier process: its bytes are hashed again. */
async function loadUpload(dir: string, id: string): Promise<Upload> {
  if (!UPLOAD_ID.test(id)) throw unknownUpload(id);
  const file = join(dir, id);
  const handle = await unlessMissing(open(file, 'r'));
  if (!handle) throw unknownUpload(id);
  const hash = createHash('sha256');
  let size = 0;
  for await (const part of handle.createReadStream({ highWaterMark: 1024 * 1024 })) {
    hash.update(part as Uint8Array);
    size += (part as Uint8Array).length;
  }
  return { id, file, hash, size, isCounted: true, tail: Promise.resolve() };
}

async function removeOld(dir: string, now: number): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const name of await readdir(dir)) {
    const found = await unlessMissing(stat(join(dir, name)));
    if (!found || found.mtimeMs >= now - KEPT_MS) continue;
    await rm(join(dir, name), { force: true });
    removed.push(name);
  }
  return removed;
}

function unknownUpload(id: string): WherryError {
  return new WherryError('BLOB_UPLOAD_UNKNOWN', `upload '${id}' is not known: it ended, or was never started`, {
    hint: 'start the upload again',
  });
}
