import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { usingDirectory } from '../base/directory.js';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import { withLock } from '../base/lock-file.js';
import { once } from '../base/once.js';
import { markUsed } from '../base/use-mark.js';
import { type Descriptor, MEDIA_TYPES } from './descriptor.js';
import { type Digest, digestOf } from './digest.js';
import { replaceDurably, syncDirectory, writeAll } from './durable-file.js';
import { type Index, isIndex, parseManifest } from './manifest.js';

/** A directory in the OCI image layout (image-spec, image-layout.md). What reads or changes its names throws MANIFEST_INVALID when its index is none. */
export interface Layout {
  readonly dir: string;
  /** Whoever removes blobs or changes names holds it; see {@link withLock}. */
  readonly lockFile: string;
  /** Whether the blob is here with all its bytes, by its size. Counts as a use of it, so that it stays for a while; see {@link markUsed}. */
  has(blob: { readonly digest: Digest; readonly size: number }): Promise<boolean>;
  /** Streams a blob to disk, hashing on the way; it appears whole and durable or not at all. With `expected` throws DIGEST_MISMATCH when the bytes are others. */
  writeBlob(source: AsyncIterable<Uint8Array>, expected?: Digest): Promise<{ readonly digest: Digest; readonly size: number }>;
  putBytes(bytes: Uint8Array | string): Promise<{ readonly digest: Digest; readonly size: number }>;
  openBlob(digest: Digest): AsyncIterable<Uint8Array>;
  /** Counts as a use of the blob. Throws BLOB_UNKNOWN, DIGEST_MISMATCH. */
  readBytes(digest: Digest): Promise<Uint8Array>;
  /** Names a manifest; a name has one. */
  putRef(name: string, manifest: Descriptor): Promise<void>;
  getRef(name: string): Promise<Descriptor | undefined>;
  listRefs(): Promise<readonly NamedManifest[]>;
  /** Lets go of names, of those only that still mean the given manifest; under the lock, which the caller holds. */
  removeRefs(refs: readonly NamedManifest[]): Promise<void>;
}

export interface NamedManifest {
  readonly name: string;
  readonly digest: Digest;
}

/** Where the blobs of a layout are, each under the hex digits of its digest. */
export function blobsDirOf(layoutDir: string): string {
  return join(layoutDir, 'blobs', 'sha256');
}

const indexFileOf = (dir: string) => join(dir, 'index.json');

const REF_NAME = 'org.opencontainers.image.ref.name';

/** Opens a layout, made when missing. Throws CONFIG_INVALID when the directory cannot be one. */
export async function openLayout(dir: string): Promise<Layout> {
  const blobsDir = blobsDirOf(dir);
  const lockFile = lockFileOf(dir);
  await usingDirectory(dir, async () => {
    await mkdir(blobsDir, { recursive: true });
    await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  });
  const fileOf = (digest: Digest) => join(blobsDir, digest.slice('sha256:'.length));
  const has: Layout['has'] = async ({ digest, size }) => (await markUsed(fileOf(digest), lockFile)) && hasSize(fileOf(digest), size);
  const writeBlob: Layout['writeBlob'] = (source, expected) => writeHashed(source, { dir, lockFile, fileOf, expected });
  return {
    dir,
    lockFile,
    has,
    writeBlob,
    async putBytes(content) {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content;
      const blob = { digest: digestOf(bytes), size: bytes.length };
      const known = (await has(blob)) ? await readFile(fileOf(blob.digest)).catch(() => undefined) : undefined;
      return known?.equals(bytes) ? blob : writeBlob(once(bytes));
    },
    openBlob: (digest) => createReadStream(fileOf(digest), { highWaterMark: 256 * 1024 }),
    async readBytes(digest) {
      await markUsed(fileOf(digest));
      return readVerified(fileOf(digest), digest);
    },
    async putRef(name, manifest) {
      const named = { ...manifest, annotations: { ...manifest.annotations, [REF_NAME]: name } };
      const isSame = (known: Descriptor) => JSON.stringify(known) === JSON.stringify(named);
      if ((await readIndex(dir)).manifests.some(isSame)) return;
      // Builds of other projects put their names there at the same time.
      await withLock(lockFile, () => changeRefs(dir, (known) => [...known.filter((other) => nameOf(other) !== name), named]));
    },
    getRef: async (name) => (await readIndex(dir)).manifests.find((known) => nameOf(known) === name),
    async listRefs() {
      return (await readIndex(dir)).manifests.map((known) => ({ name: nameOf(known), digest: known.digest }));
    },
    removeRefs: (refs) =>
      changeRefs(dir, (known) => known.filter((each) => !refs.some(({ name, digest }) => name === nameOf(each) && digest === each.digest))),
  };
}

/** The lock of a layout, and of what builds keep beside it. */
function lockFileOf(layoutDir: string): string {
  return join(layoutDir, 'lock');
}

const nameOf = ({ annotations }: Descriptor) => annotations?.[REF_NAME] ?? '';

async function changeRefs(dir: string, change: (known: readonly Descriptor[]) => readonly Descriptor[]): Promise<void> {
  const index = await readIndex(dir);
  await replaceDurably(indexFileOf(dir), JSON.stringify({ ...index, manifests: change(index.manifests) }));
}

type Place = {
  readonly dir: string;
  readonly lockFile: string;
  readonly fileOf: (digest: Digest) => string;
  readonly expected: Digest | undefined;
};

async function writeHashed(source: AsyncIterable<Uint8Array>, { dir, lockFile, fileOf, expected }: Place) {
  const temporary = join(dir, `blob-${randomUUID()}.part`);
  const hash = createHash('sha256');
  let size = 0;
  try {
    const handle = await open(temporary, 'wx', 0o644);
    try {
      for await (const part of source) {
        hash.update(part);
        await writeAll(handle, part, size);
        size += part.length;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    const digest = `sha256:${hash.digest('hex')}` as Digest;
    if (expected && digest !== expected) throw mismatch(expected, digest);
    // One of the same digest that is being removed must not take this one with it.
    await withLock(lockFile, () => rename(temporary, fileOf(digest)));
    await syncDirectory(dirname(fileOf(digest)));
    return { digest, size };
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}

async function readVerified(file: string, digest: Digest): Promise<Uint8Array> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new WherryError('BLOB_UNKNOWN', `blob ${digest} is not in the image layout`, { hint: 'build the image again', cause });
  });
  if (digestOf(bytes) !== digest) throw mismatch(digest, digestOf(bytes));
  return bytes;
}

/** Throws MANIFEST_INVALID, with the name of the file, for what is no index: it was damaged, or belongs to something else. */
async function readIndex(dir: string): Promise<Index> {
  const file = indexFileOf(dir);
  try {
    const manifest = parseManifest(await readFile(file, 'utf8'));
    if (isIndex(manifest)) return manifest;
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [] };
    throw noIndex(file, messageOf(thrown), thrown);
  }
  throw noIndex(file, 'it is an image');
}

function noIndex(file: string, why: string, cause?: unknown): WherryError {
  return new WherryError('MANIFEST_INVALID', `'${file}' is no index of an image layout: ${why}`, {
    hint: 'name another directory, or remove the file and build again: the next build writes it anew',
    cause,
  });
}

async function hasSize(file: string, size: number): Promise<boolean> {
  try {
    return (await stat(file)).size === size;
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return false;
    throw thrown;
  }
}

function mismatch(expected: Digest, actual: Digest): WherryError {
  return new WherryError('DIGEST_MISMATCH', `blob ${expected} has other bytes: they hash to ${actual}`, {
    hint: 'fetch or build the image again',
  });
}
