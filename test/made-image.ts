import { gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { MEDIA_TYPES } from '../src/oci/descriptor.js';
import { digestOf } from '../src/oci/digest.js';
import type { ImageConfig } from '../src/oci/manifest.js';
import type { RegistryClient } from '../src/registry/client.js';
import { pushImage } from '../src/registry/push.js';

export type MadeEntry = Partial<Header> & { readonly name: string; readonly text?: string };

/** The tar of one layer, as other tools than ours write it. */
export async function tarOf(entries: readonly MadeEntry[]): Promise<Buffer> {
  const packer = pack();
  // One time for all: the same entries are the same layer, in whatever second they are packed.
  for (const { text = '', ...header } of entries) packer.entry({ mtime: new Date(0), ...header } as Header, text);
  packer.finalize();
  const parts: Uint8Array[] = [];
  for await (const part of packer) parts.push(part as Uint8Array);
  return Buffer.concat(parts);
}

export interface MadeImage {
  readonly tars: readonly Buffer[];
  readonly config?: Partial<ImageConfig>;
  /** Of the layers; gzip by default. */
  readonly layerType?: string;
}

/** Pushes an image with these layers and gives its descriptor. */
export async function pushMade(client: RegistryClient, [repository, ...tags]: readonly [string, ...string[]], made: MadeImage) {
  const { tars, config = {}, layerType = MEDIA_TYPES.layerGzip } = made;
  const whole = { architecture: 'amd64', os: 'linux', ...config, rootfs: { type: 'layers', diff_ids: tars.map(digestOf) } };
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length, bytes });
  const configBlob = describe(MEDIA_TYPES.config, Buffer.from(JSON.stringify(whole)));
  const layers = tars.map((tar) => describe(layerType, gzipSync(tar)));
  const bare = ({ mediaType, digest, size }: ReturnType<typeof describe>) => ({ mediaType, digest, size });
  const manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config: bare(configBlob), layers: layers.map(bare) };
  const bytes = Buffer.from(JSON.stringify(manifest));
  await pushImage({
    client,
    repository,
    tags,
    manifest: { bytes, digest: digestOf(bytes), mediaType: MEDIA_TYPES.manifest },
    blobs: [configBlob, ...layers].map(({ digest, size, bytes: content }) => ({
      digest,
      size,
      open: async function* open() {
        yield content;
      },
    })),
  });
  return { mediaType: MEDIA_TYPES.manifest, digest: digestOf(bytes), size: bytes.length };
}
