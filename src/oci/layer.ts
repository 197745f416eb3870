import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream';
import { createGzip } from 'node:zlib';
import type { Digest } from './digest.js';
import { packTar, type TarEntry } from './tar.js';

/** The compressor that makes layer bytes; written into manifests, because equal input gives equal bytes only for equal encoders. */
export function encoderName(zlibVersion: string): string {
  return `gzip-6 zlib-${zlibVersion}`;
}

export interface EncodedLayer {
  /** Compressed bytes; read them to the end. */
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Digest of the uncompressed tar; throws before `bytes` was read to the end. */
  diffId(): Digest;
}

/** Packs and compresses entries as one stream: memory does not grow with their size. */
export function encodeLayer(entries: readonly TarEntry[]): EncodedLayer {
  return encodeTar(packTar(entries));
}

/** Compresses a tar that is there already. */
export function encodeTar(tar: AsyncIterable<Uint8Array>): EncodedLayer {
  const hash = createHash('sha256');
  let diffId: Digest | undefined;
  const gzip = createGzip({ level: 6 });
  async function* hashed(): AsyncIterable<Uint8Array> {
    for await (const part of tar) {
      hash.update(part);
      yield part;
    }
    diffId = `sha256:${hash.digest('hex')}` as Digest;
  }
  // What breaks reaches whoever reads the bytes.
  pipeline(hashed(), gzip, () => {});
  return {
    bytes: withoutSystem(gzip),
    diffId: () => {
      if (!diffId) throw new Error('the layer was not read to its end');
      return diffId;
    },
  };
}

/** Byte 9 of a gzip header names the operating system (RFC 1952 §2.3.1); 255 is "unknown", so that it is the same everywhere. */
async function* withoutSystem(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  let offset = 0;
  for await (const part of source) {
    if (offset <= 9 && offset + part.length > 9) part[9 - offset] = 255;
    offset += part.length;
    yield part;
  }
}
