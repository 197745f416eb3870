import { open } from 'node:fs/promises';
import { type Header, type Pack, pack } from 'tar-stream';
import { messageOf, WherryError } from '../base/errors.js';

/** One entry of a layer. `path` is relative, with `/`, without a final slash. */
export type TarEntry =
  | { readonly path: string; readonly type: 'file'; readonly isExecutable: boolean; readonly content: TarContent }
  | { readonly path: string; readonly type: 'symlink'; readonly target: string };

/** Bytes in memory, or a file of a known size that is read when its turn comes. */
export type TarContent = { readonly bytes: Uint8Array } | { readonly file: string; readonly size: number };

/** Files up to this size are read in one piece, which is faster than a stream each. */
const WHOLE_FILE_BYTES = 1024 * 1024;

/**
 * A tar stream that depends on nothing but the entries: sorted by path, parents before children, owner 0, time 0, modes
 * 0755 and 0644. Ends with BUILD_FAILED when a file cannot be read or changes its size meanwhile.
 */
export async function* packTar(entries: readonly TarEntry[]): AsyncIterable<Uint8Array> {
  const packer = pack();
  // Errors reach the reader of the stream; here they only end the writer.
  writeEntries(packer, entries).then(
    () => packer.finalize(),
    (thrown: unknown) => packer.destroy(thrown instanceof Error ? thrown : new Error(String(thrown))),
  );
  for await (const part of packer) yield part as Uint8Array;
}

type Sink = ReturnType<Pack['entry']>;

async function writeEntries(packer: Pack, entries: readonly TarEntry[]): Promise<void> {
  const written = new Set<string>();
  for (const entry of [...entries].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    for (const parent of parentsOf(entry.path)) {
      if (written.has(parent)) continue;
      written.add(parent);
      await writeWhole(packer, { ...FIXED, name: `${parent}/`, type: 'directory', mode: 0o755 });
    }
    if (entry.type === 'symlink')
      await writeWhole(packer, { ...FIXED, name: entry.path, type: 'symlink', mode: 0o777, linkname: entry.target });
    else await writeFile(packer, entry);
  }
}

const FIXED = { uid: 0, gid: 0, uname: '', gname: '', mtime: new Date(0), size: 0, linkname: '', devmajor: 0, devminor: 0 } as const;

function parentsOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

async function writeFile(packer: Pack, entry: Extract<TarEntry, { type: 'file' }>): Promise<void> {
  const { path: name, content } = entry;
  const header = { ...FIXED, name, type: 'file', mode: entry.isExecutable ? 0o755 : 0o644 } as const;
  if ('bytes' in content) return writeWhole(packer, { ...header, size: content.bytes.length }, content.bytes);
  if (content.size <= WHOLE_FILE_BYTES) {
    const bytes = await readExactly(content);
    return writeWhole(packer, { ...header, size: bytes.length }, bytes);
  }
  return writeStreamed(packer, { ...header, size: content.size }, content.file);
}

async function readExactly({ file, size }: { file: string; size: number }): Promise<Uint8Array> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  try {
    const bytes = await handle.readFile();
    if (bytes.length !== size) throw changed(file);
    return bytes;
  } finally {
    await handle.close();
  }
}

function writeWhole(packer: Pack, header: Header, bytes: Uint8Array = new Uint8Array()): Promise<void> {
  return new Promise((done, fail) => {
    packer.entry(header, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), (error) => (error ? fail(error) : done()));
  });
}

/** The size is checked before the packer sees the end: it could only answer with an error nobody can catch. */
async function writeStreamed(packer: Pack, header: Header, file: string): Promise<void> {
  const ended = new Promise<void>((done, fail) => {
    const sink = packer.entry(header, (error) => (error ? fail(error) : done()));
    sink.on('error', fail);
    feed(sink, file, header.size).catch(fail);
  });
  await ended;
}

async function feed(sink: Sink, file: string, size: number): Promise<void> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  try {
    let left = size;
    for await (const part of handle.createReadStream({ highWaterMark: 256 * 1024, autoClose: false })) {
      left -= (part as Uint8Array).length;
      if (left < 0) break;
      if (!sink.write(part)) await drained(sink);
      if (sink.destroyed) return;
    }
    if (left !== 0) throw changed(file);
    sink.end(undefined);
  } finally {
    await handle.close();
  }
}

function drained(sink: Sink): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      sink.off('drain', go);
      sink.off('close', go);
      resolve();
    };
    sink.on('drain', go).on('close', go);
  });
}

function changed(file: string): WherryError {
  return new WherryError('BUILD_FAILED', `file '${file}' changed while it was packed`, {
    hint: 'build again when nothing writes to the project',
  });
}

function unreadable(file: string, cause: unknown): WherryError {
  return new WherryError('BUILD_FAILED', `file '${file}' cannot be read: ${messageOf(cause)}`, { hint: 'check its permissions', cause });
}
