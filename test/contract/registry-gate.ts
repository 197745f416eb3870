import type { IncomingMessage, ServerResponse } from 'node:http';
import { silentLog } from '../../src/base/log.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import type { Blobs } from '../../src/registry/blobs.js';
import { createRegistryClient, type RegistryClientOptions } from '../../src/registry/client.js';
import type { Patience } from '../../src/registry/connections.js';
import { listen, type openRegistryServer } from './registry-server.js';

/** True when the request was answered and must not reach the registry. */
export type Gate = (request: IncomingMessage, response: ServerResponse) => boolean;

/** Silence of a peer ends after a second at most: undici's clock ticks twice in one. */
export const HASTE: Patience = { connectMs: 1_000, readMs: 300, writeMs: 300 };

/** A place in front of a registry that may answer in its stead. */
export async function openGate({ handle }: Pick<Awaited<ReturnType<typeof openRegistryServer>>, 'handle'>) {
  const closers: (() => Promise<void>)[] = [];
  let gate: Gate = () => false;
  const asked: string[] = [];
  const front = await listen((request, response) => {
    asked.push(`${request.method} ${request.url?.split('?')[0]}`);
    if (!gate(request, response)) void handle(request, response, { canPush: true });
  });
  closers.push(front.close);
  return {
    host: front.host,
    url: front.url,
    /** Method and path of what came. */
    asked,
    put(next: Gate) {
      gate = next;
    },
    clientOf(options: Partial<RegistryClientOptions> = {}) {
      const client = createRegistryClient({ registry: front.host, log: silentLog, retryDelayMs: 1, patience: HASTE, ...options });
      closers.push(() => client.close());
      return client;
    },
    closeWith: (close: () => Promise<void>) => void closers.push(close),
    async close() {
      for (const close of closers.reverse()) await close();
    },
  };
}

/** Bytes in parts, as a file gives them. */
export async function* streamOf(bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

export const describeBytes = (mediaType: string, bytes: Uint8Array) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });

/** Config and manifest of layers that are plain tars. */
export function composeImage(layers: readonly Buffer[], changes: object = {}) {
  const rootfs = { type: 'layers', diff_ids: layers.map(digestOf) };
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs }));
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config: describeBytes(MEDIA_TYPES.config, config),
      layers: layers.map((layer) => describeBytes(MEDIA_TYPES.layerTar, layer)),
      ...changes,
    }),
  );
  return { config, manifest, digest: digestOf(manifest), blobs: [config, ...layers] };
}

/** Puts a blob into a registry's storage, past its API. */
export async function keepBlob(blobs: Blobs, repository: string, bytes: Buffer): Promise<void> {
  await blobs.put(digestOf(bytes), streamOf(bytes));
  await blobs.linkBlob(repository, digestOf(bytes));
}

/** Puts an image into a registry's storage, past its API. */
export async function keepImage(blobs: Blobs, repository: string, tag: string, image: ReturnType<typeof composeImage>): Promise<void> {
  for (const bytes of image.blobs) await keepBlob(blobs, repository, bytes);
  await blobs.putManifest(repository, image.digest, image.manifest, { mediaType: MEDIA_TYPES.manifest, tag });
}
