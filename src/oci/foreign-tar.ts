import { isUtf8 } from 'node:buffer';
import { addAbortSignal, Readable } from 'node:stream';
import { extract, type Header } from 'tar-stream';
import { messageOf, WherryError } from '../base/errors.js';

export type ForeignType = 'file' | 'directory' | 'symlink' | 'link' | 'special';

/** One entry of a tar that somebody else wrote. */
export interface ForeignEntry {
  /** The path, absolute ones taken below the root; without `.`, never with `..`, empty for the root itself. */
  readonly parts: readonly string[];
  readonly type: ForeignType;
  /** Permission bits, setuid and its like among them. */
  readonly mode: number;
  /** Bytes; 0 for what is no file. */
  readonly size: number;
  /** Of a link, as it is written; else empty. */
  readonly target: string;
  /** False when path or target are not UTF-8; bytes that are not are written as `\xff` then. */
  readonly isText: boolean;
  /** What is not read of it is skipped with the next entry. Ends with LAYER_INVALID. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** Beyond these an entry is refused; Linux has the same limit for the length. */
export interface NameLimits {
  readonly pathLength: number;
  readonly pathDepth: number;
}

export interface ForeignTarOptions {
  /** For messages. */
  readonly what?: string;
  readonly limits?: NameLimits;
  readonly signal?: AbortSignal | undefined;
}

const NAME_LIMITS: NameLimits = { pathLength: 4_096, pathDepth: 256 };

/** Its types are of an older version of the package, which had no such setting. */
const DECODING: Parameters<typeof extract>[0] & { readonly filenameEncoding: BufferEncoding } = { filenameEncoding: 'latin1' };

/**
 * Reads a tar (POSIX pax, ustar, GNU) one entry after another, in memory that does not grow with its size. Names are only checked; what
 * a link may lead to is for whoever follows it. Throws LAYER_INVALID for what is no tar, for `..` and zero bytes in paths, for names beyond
 * the limits, and for sparse files (OCI image-spec, layer.md, has them avoided); passes on what the source throws.
 */
export async function* readTar(source: AsyncIterable<Uint8Array>, options: ForeignTarOptions = {}): AsyncIterable<ForeignEntry> {
  const { what = 'a layer', limits = NAME_LIMITS, signal } = options;
  // Names are decoded here, because bytes that are not UTF-8 would otherwise become equal.
  const extractor = extract(DECODING);
  const input = Readable.from(source);
  input.on('error', (error) => extractor.destroy(error));
  if (signal) addAbortSignal(signal, input);
  input.pipe(extractor);
  try {
    for await (const stream of extractor) {
      yield { ...describe(stream.header, limits), content: readContent(stream, what) };
      stream.resume();
    }
  } catch (thrown) {
    throw unreadable(what, thrown);
  } finally {
    input.destroy();
  }
}

async function* readContent(stream: AsyncIterable<unknown>, what: string): AsyncIterable<Uint8Array> {
  try {
    for await (const part of stream) yield part as Uint8Array;
  } catch (thrown) {
    throw unreadable(what, thrown);
  }
}

function unreadable(what: string, thrown: unknown): WherryError {
  if (thrown instanceof WherryError) return thrown;
  return new WherryError('LAYER_INVALID', `${what} could not be read: ${messageOf(thrown)}`, {
    hint: 'build and push the image again',
    cause: thrown,
  });
}

/** A path as `parts` of {@link ForeignEntry}. Throws LAYER_INVALID. */
export function splitPath(path: string, { pathLength, pathDepth }: NameLimits = NAME_LIMITS): readonly string[] {
  if (path.includes('\0')) throw refused(path, 'it holds a zero byte');
  if (path.length > pathLength) throw refused(path, `it has a path of ${path.length} characters`);
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length > pathDepth) throw refused(path, `it has a path of ${parts.length} folders`);
  if (parts.includes('..')) throw refused(path, "it holds '..'");
  return parts;
}

const SHOWN_LENGTH = 200;

/** The error for an entry that is not taken. */
export function refused(path: string, why: string): WherryError {
  const shown = path.length > SHOWN_LENGTH ? `${path.slice(0, SHOWN_LENGTH)}…` : path;
  return new WherryError('LAYER_INVALID', `layer entry '${shown}' refused: ${why}`, {
    hint: 'build the image again with a tool you trust',
  });
}

function describe(header: Header, limits: NameLimits): Omit<ForeignEntry, 'content'> {
  const pax = (header.pax ?? {}) as Readonly<Record<string, string>>;
  const name = decodeName(header.name, pax['path']);
  const link = decodeName(header.linkname ?? '', pax['linkpath']);
  const parts = splitPath(name.text, limits);
  if (Object.keys(pax).some((key) => key.startsWith('GNU.sparse.'))) throw refused(name.text, 'it is a sparse file');
  const type = TYPES[header.type ?? ''] ?? 'special';
  const isLink = type === 'symlink' || type === 'link';
  if (isLink && link.text.length > limits.pathLength) throw refused(name.text, `its link target has ${link.text.length} characters`);
  return {
    parts,
    type,
    mode: (header.mode ?? 0) & 0o7777,
    size: type === 'file' ? (header.size ?? 0) : 0,
    target: isLink ? link.text : '',
    isText: name.isText && (!isLink || link.isText),
  };
}

const TYPES: Readonly<Record<string, ForeignType>> = {
  file: 'file',
  'contiguous-file': 'file',
  directory: 'directory',
  symlink: 'symlink',
  link: 'link',
};

/** Of a header, a letter a byte; or of a pax record, which is UTF-8 text and counts when there is one. */
function decodeName(header: string, pax: string | undefined): { readonly text: string; readonly isText: boolean } {
  if (pax) return { text: pax, isText: !pax.includes('\ufffd') };
  const bytes = Buffer.from(header, 'latin1');
  if (isUtf8(bytes)) return { text: bytes.toString('utf8'), isText: true };
  return { text: header.replace(/[\x80-\xff]/g, escapeByte), isText: false };
}

function escapeByte(letter: string): string {
  return `\\x${letter.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
