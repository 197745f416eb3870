import { WherryError } from '../base/errors.js';
import type { Digest } from '../oci/digest.js';
import type { PulledManifest, RegistryClient } from './client.js';
import type { BlobSize } from './client-context.js';
import { forEachOf } from './parallel.js';

/** A blob to push; `open` may be called more than once. */
export interface SourceBlob extends BlobSize {
  open(): AsyncIterable<Uint8Array>;
}

export interface PushOptions {
  readonly client: RegistryClient;
  readonly repository: string;
  /** Tags that shall name the manifest; may be empty. */
  readonly tags: readonly string[];
  readonly manifest: PulledManifest;
  /** The manifests that it lists when it is an index. */
  readonly listed?: readonly PulledManifest[];
  /** Configs and layers. */
  readonly blobs: readonly SourceBlob[];
  /** A repository of the same registry that may have a blob already, so that it need not travel. */
  readonly mountFrom?: ((digest: Digest) => Promise<string | undefined>) | undefined;
  /** Told of the bytes of large blobs as they go out. */
  readonly onSent?: (bytes: number) => void;
}

export interface PushResult {
  readonly digest: Digest;
  /** Blobs sent, and blobs that were there. */
  readonly uploaded: number;
  readonly skipped: number;
}

const PARALLEL = 4;

/**
 * Pushes an image: blobs, then the manifest under its tags, or by digest without any; before an index come the manifests that it lists. At the
 * end everything is asked for again, so that success means the registry has it. Idempotent. Throws what the client throws, and REGISTRY_UNAVAILABLE when a
 * part is missing afterwards.
 */
export async function pushImage(options: PushOptions): Promise<PushResult> {
  const { client, repository, tags, manifest, listed = [], blobs, mountFrom, onSent } = options;
  const parts = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
  let uploaded = 0;
  await forEachOf(parts, PARALLEL, async (blob) => {
    const from = await mountFrom?.(blob.digest);
    const isElsewhere = from !== undefined && from !== repository;
    const options = { ...(isElsewhere && { mountFrom: from }), ...(onSent && { onSent }) };
    if (await client.putBlob(repository, blob, () => blob.open(), options)) uploaded += 1;
  });
  for (const { digest, bytes, mediaType } of listed) await client.putManifest(repository, digest, bytes, mediaType);
  for (const name of tags.length > 0 ? tags : [manifest.digest])
    await client.putManifest(repository, name, manifest.bytes, manifest.mediaType);
  const manifests = [...listed, manifest];
  const questions = [
    ...manifests.map((each) => () => client.getManifest(repository, each.digest)),
    ...parts.map((blob) => () => checkBlob(client, repository, blob)),
  ];
  await forEachOf(questions, PARALLEL, async (ask) => void (await ask()));
  return { digest: manifest.digest, uploaded, skipped: parts.length - uploaded };
}

async function checkBlob(client: RegistryClient, repository: string, { digest, size }: BlobSize): Promise<void> {
  if (await client.hasBlob(repository, { digest, size })) return;
  const what = `blob '${digest}' is not in '${repository}' with its ${size} bytes after it was pushed`;
  throw new WherryError('REGISTRY_UNAVAILABLE', what, { hint: 'push again' });
}
