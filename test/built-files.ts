import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { readTar } from '../src/oci/foreign-tar.js';

/** What `wherry build --json` prints. */
export interface Built {
  readonly digest: string;
  readonly layers: readonly { readonly role: string; readonly digest: string; readonly diffId: string; readonly isCached: boolean }[];
  readonly warnings: readonly string[];
}

export function readBlob(dataDir: string, digest: string): Buffer {
  return readFileSync(join(dataDir, 'images/blobs/sha256', digest.slice('sha256:'.length)));
}

/** Everything that the layers of a built image hold, by path; those that are kept in the data directory. */
export async function readFiles(dataDir: string, { digest }: Pick<Built, 'digest'>): Promise<ReadonlyMap<string, string>> {
  const { layers } = JSON.parse(readBlob(dataDir, digest).toString()) as { layers: { digest: string }[] };
  const files = new Map<string, string>();
  for (const layer of layers) {
    const tar = gunzipSync(readBlob(dataDir, layer.digest));
    for await (const { parts, type, target, content } of readTar(once(tar))) {
      if (type === 'directory') continue;
      const text: Uint8Array[] = [];
      for await (const part of content) text.push(part);
      files.set(parts.join('/'), type === 'file' ? Buffer.concat(text).toString() : `-> ${target}`);
    }
  }
  return files;
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
