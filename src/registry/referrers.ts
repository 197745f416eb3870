import type { Descriptor } from '../oci/descriptor.js';
import { MEDIA_TYPES } from '../oci/descriptor.js';
import { type Digest, digestOf } from '../oci/digest.js';
import { isIndex, parseManifest } from '../oci/manifest.js';
import type { RegistryClient } from './client.js';

/** A document to attach to an image. */
export interface Attachment {
  readonly repository: string;
  /** The image's manifest. */
  readonly subject: Descriptor;
  /** Media type of the document and of the artifact. */
  readonly artifactType: string;
  readonly bytes: Uint8Array;
}

const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json';
const EMPTY = Buffer.from('{}');

/**
 * Attaches a document to an image as an OCI artifact (image-spec, manifest.md, "Guidelines for Artifact Usage"), found again as its referrer.
 * Idempotent: the same document gives the same artifact. A registry without a list of referrers gets the tag that stands in for it
 * (distribution-spec, "Referrers Tag Schema"). Throws what the client throws.
 */
export async function attachDocument(client: RegistryClient, { repository, subject, artifactType, bytes }: Attachment): Promise<Digest> {
  const layer = { mediaType: artifactType, digest: digestOf(bytes), size: bytes.length };
  const config = { mediaType: EMPTY_TYPE, digest: digestOf(EMPTY), size: EMPTY.length };
  await client.putBlob(repository, config, () => once(EMPTY));
  await client.putBlob(repository, layer, () => once(bytes));
  const { mediaType, digest, size } = subject;
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType,
    config,
    layers: [layer],
    subject: { mediaType, digest, size },
  };
  const text = Buffer.from(JSON.stringify(manifest));
  const own: Descriptor = { mediaType: MEDIA_TYPES.manifest, digest: digestOf(text), size: text.length, artifactType };
  await client.putManifest(repository, own.digest, text, MEDIA_TYPES.manifest);
  if ((await client.listReferrers(repository, digest)) === undefined) await addToTag(client, repository, { subject: digest, own });
  return own.digest;
}

/** The newest document of a type that is attached to an image, or undefined. */
export async function findDocument(
  client: RegistryClient,
  repository: string,
  { subject, artifactType }: { readonly subject: Digest; readonly artifactType: string },
): Promise<Uint8Array | undefined> {
  const listed = (await client.listReferrers(repository, subject)) ?? (await readTag(client, repository, subject));
  const found = listed.filter((each) => each.artifactType === artifactType).at(-1);
  if (!found) return undefined;
  const manifest = parseManifest((await client.getManifest(repository, found.digest)).bytes);
  const layer = isIndex(manifest) ? undefined : manifest.layers[0];
  if (!layer) return undefined;
  const parts: Uint8Array[] = [];
  for await (const part of client.getBlob(repository, layer.digest)) parts.push(part);
  return Buffer.concat(parts);
}

async function addToTag(client: RegistryClient, repository: string, { subject, own }: { subject: Digest; own: Descriptor }): Promise<void> {
  const others = (await readTag(client, repository, subject)).filter(({ digest }) => digest !== own.digest);
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [...others, own] };
  await client.putManifest(repository, tagOf(subject), Buffer.from(JSON.stringify(index)), MEDIA_TYPES.index);
}

async function readTag(client: RegistryClient, repository: string, subject: Digest): Promise<readonly Descriptor[]> {
  const found = await client.getManifest(repository, tagOf(subject)).catch((thrown: unknown) => {
    if ((thrown as { readonly code?: unknown }).code === 'IMAGE_UNKNOWN') return undefined;
    throw thrown;
  });
  const index = found && parseManifest(found.bytes);
  return index && isIndex(index) ? index.manifests : [];
}

function tagOf(digest: Digest): string {
  return digest.replace(':', '-');
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
