import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import { type Digest, digestOf, isDigest } from '../oci/digest.js';
import { syncDirectory, writeAll } from '../oci/durable-file.js';

/** First and last byte wanted, both included, as in an HTTP range. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Verified bytes on disk, one file a digest. */
export interface BlobFiles {
  /** The size in bytes, or undefined when the blob is not here. */
  has(digest: Digest): Promise<{ readonly size: number } | undefined>;
  /** Streams a blob or a part of it; `size` is that of the whole blob. Does not hash again. Throws BLOB_UNKNOWN. */
  open(digest: Digest, range?: ByteRange): Promise<{ readonly size: number; readonly stream: Readable }>;
  /** The whole blob, hashed. Throws BLOB_UNKNOWN, DIGEST_MISMATCH, and SIZE_INVALID above `limitBytes`. */
  read(digest: Digest, limitBytes: number): Promise<Buffer>;
  /** Writes and hashes a stream; the blob appears whole and durable or not at all. Gives the size. Throws DIGEST_MISMATCH, STORE_UNAVAILABLE. */
  put(digest: Digest, source: AsyncIterable<Uint8Array>): Promise<number>;
  /** Hashes a blob again unless its file is the one that was hashed last. Throws BLOB_UNKNOWN, DIGEST_MISMATCH. */
  verify(digest: Digest): Promise<void>;
}

/** A blob on disk. */
export interface StoredBlob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** When its bytes were written, in milliseconds of the machine's clock. */
  readonly writtenAt: number;
}

/** What {@link BlobFiles} offers inside this folder only: callers answer for the digest and for protection. */
export interface OwnedBlobFiles extends BlobFiles {
  /** Moves a synced file whose digest the caller has checked to its place. */
  adopt(path: string, digest: Digest): Promise<void>;
  remove(digest: Digest): Promise<void>;
  /** Every blob, one after the other; those that appear or go meanwhile may be left out. */
  list(): AsyncIterable<StoredBlob>;
  /** Hashes the bytes whatever was hashed before; undefined when there are none. */
  hash(digest: Digest): Promise<string | undefined>;
  /** Moves damaged bytes to `dir/quarantine`, so that the blob is missing until it is pushed or pulled again. Gives the new path. */
  setAside(digest: Digest): Promise<string>;
  /** Counts the bytes in all blobs; to be called before any is added or removed. */
  countBytes(): Promise<void>;
  /** Bytes in all blobs since {@link countBytes}, kept up to date. */
  storedBytes(): number;
}

/** Opens `dir/blobs`, `dir/stamps` and `dir/incoming`; what a crash left in the last one is removed. */
export async function openBlobFiles(dir: string): Promise<OwnedBlobFiles> {
  const incoming = join(dir, 'incoming');
  await rm(incoming, { recursive: true, force: true });
  for (const part of [incoming, join(dir, 'blobs', 'sha256'), join(dir, 'stamps')]) await mkdir(part, { recursive: true });
  const fileOf = (digest: Digest) => join(dir, 'blobs', 'sha256', digest.slice('sha256:'.length));
  const stampOf = (digest: Digest) => join(dir, 'stamps', digest.slice('sha256:'.length));

  /** Without its stamp, on a full disk, a blob is only hashed once more. */
  const stamp = (digest: Digest, text: string) => writeFile(stampOf(digest), text).catch(() => {});

  const has = async (digest: Digest) => {
    const found = await unlessMissing(stat(fileOf(digest)));
    return found && { size: found.size };
  };
  const stored = { bytes: 0 };

  async function adopt(path: string, digest: Digest): Promise<void> {
    const file = fileOf(digest);
    stored.bytes -= (await has(digest))?.size ?? 0;
    await asStorage(rename(path, file));
    await syncDirectory(dirname(file));
    await stamp(digest, await stampFile(file));
    stored.bytes += (await has(digest))?.size ?? 0;
  }

  return {
    adopt,
    has,
    open: (digest, range) => openRange(fileOf(digest), digest, range),
    read: (digest, limitBytes) => readWhole(fileOf(digest), digest, limitBytes),
    async put(digest, source) {
      const path = join(incoming, randomUUID());
      try {
        const size = await writeHashed(path, digest, source);
        await adopt(path, digest);
        return size;
      } finally {
        await rm(path, { force: true });
      }
    },
    async verify(digest) {
      const file = fileOf(digest);
      const before = await unlessMissing(stampFile(file));
      if (before === undefined) throw unknownBlob(digest);
      if (before === (await unlessMissing(readFile(stampOf(digest), 'utf8')))) return;
      const actual = await hashFile(file);
      if (actual !== digest) throw mismatch(digest, actual);
      // A file that changed while it was read gets no stamp, so the next call reads it again.
      if (before === (await stampFile(file))) await stamp(digest, before);
    },
    async remove(digest) {
      stored.bytes -= (await has(digest))?.size ?? 0;
      await rm(fileOf(digest), { force: true });
      await rm(stampOf(digest), { force: true });
      await syncDirectory(join(dir, 'blobs', 'sha256'));
    },
    list: () => listBlobs(join(dir, 'blobs', 'sha256')),
    hash: (digest) => unlessMissing(hashFile(fileOf(digest))),
    async setAside(digest) {
      const quarantine = join(dir, 'quarantine');
      await mkdir(quarantine, { recursive: true });
      const path = join(quarantine, `${digest.slice('sha256:'.length)}.${randomUUID()}`);
      stored.bytes -= (await has(digest))?.size ?? 0;
      await asStorage(rename(fileOf(digest), path));
      await rm(stampOf(digest), { force: true });
      await syncDirectory(join(dir, 'blobs', 'sha256'));
      return path;
    },
    async countBytes() {
      for await (const { size } of listBlobs(join(dir, 'blobs', 'sha256'))) stored.bytes += size;
    },
    storedBytes: () => stored.bytes,
  };
}

async function* listBlobs(dir: string): AsyncIterable<StoredBlob> {
  for (const name of await readdir(dir)) {
    const digest = `sha256:${name}`;
    const found = isDigest(digest) ? await unlessMissing(stat(join(dir, name))) : undefined;
    if (found && isDigest(digest)) yield { digest, size: found.size, writtenAt: found.mtimeMs };
  }
}

/** Identity of a file's content without reading it: size, change times in nanoseconds, inode. */
async function stampFile(file: string): Promise<string> {
  const { size, mtimeNs, ctimeNs, ino } = await stat(file, { bigint: true });
  return `${size} ${mtimeNs} ${ctimeNs} ${ino}`;
}

async function openRange(file: string, digest: Digest, range?: ByteRange) {
  const handle = await unlessMissing(open(file, 'r'));
  if (!handle) throw unknownBlob(digest);
  const { size } = await handle.stat();
  return { size, stream: handle.createReadStream({ highWaterMark: 256 * 1024, ...range }) };
}

async function readWhole(file: string, digest: Digest, limitBytes: number): Promise<Buffer> {
  const handle = await unlessMissing(open(file, 'r'));
  if (!handle) throw unknownBlob(digest);
  try {
    const { size } = await handle.stat();
    if (size > limitBytes)
      throw new WherryError('SIZE_INVALID', `blob '${digest}' has ${size} bytes, at most ${limitBytes} are read at once`);
    const bytes = await handle.readFile();
    const actual = digestOf(bytes);
    if (actual !== digest) throw mismatch(digest, actual);
    return bytes;
  } finally {
    await handle.close();
  }
}

async function writeHashed(path: string, digest: Digest, source: AsyncIterable<Uint8Array>): Promise<number> {
  const hash = createHash('sha256');
  let size = 0;
  const handle = await asStorage(open(path, 'wx', 0o644));
  try {
    for await (const part of source) {
      hash.update(part);
      await asStorage(writeAll(handle, part, size));
      size += part.length;
    }
    await asStorage(handle.sync());
  } finally {
    await handle.close();
  }
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual !== digest) throw mismatch(digest, actual);
  return size;
}

/** The digest of a file's bytes. */
async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  const handle = await open(file, 'r');
  for await (const part of handle.createReadStream({ highWaterMark: 1024 * 1024 })) hash.update(part as Uint8Array);
  return `sha256:${hash.digest('hex')}`;
}

/** Writes a small file so that it is there whole after a crash, or not at all. Throws STORE_UNAVAILABLE. */
export async function writeDurable(file: string, text: string): Promise<void> {
  const dir = dirname(file);
  const made = await asStorage(mkdir(dir, { recursive: true }));
  // No tag, repository or digest begins with a dot, so a leftover of a crash names nothing.
  const path = join(dir, `.${randomUUID()}`);
  const handle = await asStorage(open(path, 'wx', 0o644));
  try {
    await asStorage(handle.writeFile(text));
    await asStorage(handle.sync());
  } finally {
    await handle.close();
  }
  await asStorage(rename(path, file));
  await syncDirectory(dir);
  const top = made === undefined ? dir : dirname(made);
  for (let above = dir; above.length > top.length; ) {
    above = dirname(above);
    await syncDirectory(above);
  }
}

/** The value, or undefined when the file or directory is not there. */
export function unlessMissing<T>(step: Promise<T>): Promise<T | undefined> {
  return step.catch((thrown: unknown) => {
    if (systemCodeOf(thrown) === 'ENOENT' || systemCodeOf(thrown) === 'ENOTDIR') return undefined;
    throw thrown;
  });
}

/** A failing disk as STORE_UNAVAILABLE: nothing was acknowledged, trying again may help. */
export function asStorage<T>(step: Promise<T>): Promise<T> {
  return step.catch((thrown: unknown) => {
    if (systemCodeOf(thrown) === 'ENOENT') throw thrown;
    throw new WherryError('STORE_UNAVAILABLE', `the registry could not write to its disk: ${messageOf(thrown)}`, {
      hint: 'free some space on the disk that holds the data directory',
      cause: thrown,
    });
  });
}

/** BLOB_UNKNOWN for a digest. */
export function unknownBlob(digest: string): WherryError {
  return new WherryError('BLOB_UNKNOWN', `blob '${digest}' is not in the registry`, { detail: { digest } });
}

/** DIGEST_MISMATCH: the bytes of `expected` hash to `actual`. */
export function mismatch(expected: string, actual: string): WherryError {
  return new WherryError('DIGEST_MISMATCH', `the bytes of '${expected}' hash to '${actual}'`, {
    hint: 'push the image again; if it returns, check the disk and the connection',
    detail: { expected, actual },
  });
}
