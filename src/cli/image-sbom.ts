import { WherryError } from '../base/errors.js';
import { SBOM_TYPE } from '../image/sbom.js';
import { readBlob } from '../image/source.js';
import { type Descriptor, MEDIA_TYPES } from '../oci/descriptor.js';
import { type Digest, digestOf } from '../oci/digest.js';
import { isIndex, type Manifest, parseManifest } from '../oci/manifest.js';
import type { OpenRepository } from './image-source.js';

/** The empty JSON object that stands for a config where there is none (OCI image-spec, manifest.md, "Guidance for an Empty Descriptor"). */
const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json';
const SBOM_LIMIT_BYTES = 64 * 1024 * 1024;

export interface AttachedSbom {
  /** Of the manifest that refers to the image. */
  readonly digest: Digest;
  /** Also named by the tag that stands in where a registry lists no referrers. */
  readonly isTagged: boolean;
}

/**
 * Attaches an SBOM to an image of the repository (OCI image-spec, manifest.md, "Guidelines for Artifact Usage"; distribution-spec,
 * "Pushing Manifests with Subject"): where the registry lists no referrers, the index under the image's tag schema is kept as well.
 * Idempotent: the same text gives the same manifest. Throws what the client throws.
 */
export async function attachSbom({ client, name }: OpenRepository, image: Descriptor, sbom: string): Promise<AttachedSbom> {
  const [config, layer] = await Promise.all([
    putBytes({ client, name }, EMPTY_TYPE, Buffer.from('{}')),
    putBytes({ client, name }, SBOM_TYPE, Buffer.from(sbom)),
  ]);
  const { mediaType, digest: subject, size } = image;
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType: SBOM_TYPE,
    config,
    layers: [layer],
    subject: { mediaType, digest: subject, size },
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const digest = digestOf(bytes);
  const taken = await client.putManifest(name, digest, bytes, MEDIA_TYPES.manifest);
  if (taken.subject !== undefined) return { digest, isTagged: false };
  await tagReferrer({ client, name }, subject, { mediaType: MEDIA_TYPES.manifest, digest, size: bytes.length, artifactType: SBOM_TYPE });
  return { digest, isTagged: true };
}

/** Whether an SBOM is attached to an image. Throws what the client throws. */
export async function hasSbom(repository: OpenRepository, image: Digest): Promise<boolean> {
  return (await findReferrer(repository, image)) !== undefined;
}

/** The SBOM that is attached to an image, as parsed JSON, or undefined. Throws MANIFEST_INVALID and what the client throws. */
export async function findSbom({ client, name }: OpenRepository, image: Digest): Promise<object | undefined> {
  const found = await findReferrer({ client, name }, image);
  if (!found) return undefined;
  const manifest = parseManifest((await client.getManifest(name, found.digest)).bytes);
  const layer = isIndex(manifest) ? undefined : manifest.layers.find(({ mediaType }) => mediaType === SBOM_TYPE);
  // Anybody who may push can list something under an image; it must say itself that it belongs there.
  if (isIndex(manifest) || layer === undefined || manifest.subject?.digest !== image) return undefined;
  const bytes = await readBlob({ getBlob: (blob) => client.getBlob(name, blob) }, layer, SBOM_LIMIT_BYTES);
  return parseSbom(Buffer.from(bytes).toString('utf8'), found.digest);
}

async function findReferrer({ client, name }: OpenRepository, image: Digest): Promise<Descriptor | undefined> {
  const listed = (await client.listReferrers(name, image)) ?? (await readTagged({ client, name }, image));
  return listed.find(({ artifactType }) => artifactType === SBOM_TYPE);
}

function parseSbom(text: string, digest: Digest): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Falls through: it is no document either way.
  }
  throw new WherryError('MANIFEST_INVALID', `the SBOM in '${digest}' is not a JSON object`, {
    hint: '--generate makes one from the layers',
  });
}

async function putBytes({ client, name }: OpenRepository, mediaType: string, bytes: Buffer): Promise<Descriptor> {
  const blob = { digest: digestOf(bytes), size: bytes.length };
  await client.putBlob(name, blob, async function* open() {
    yield bytes;
  });
  return { mediaType, ...blob };
}

/** distribution-spec, "Referrers Tag Schema". */
function referrersTag(image: Digest): string {
  return image.replace(':', '-');
}

async function tagReferrer({ client, name }: OpenRepository, image: Digest, referrer: Descriptor): Promise<void> {
  const others = (await readTagged({ client, name }, image)).filter(({ digest }) => digest !== referrer.digest);
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [...others, referrer] };
  await client.putManifest(name, referrersTag(image), Buffer.from(JSON.stringify(index)), MEDIA_TYPES.index);
}

async function readTagged({ client, name }: OpenRepository, image: Digest): Promise<readonly Descriptor[]> {
  try {
    const index = parseManifest((await client.getManifest(name, referrersTag(image))).bytes);
    return isIndex(index) ? index.manifests : [];
  } catch (thrown) {
    if (thrown instanceof WherryError && thrown.code === 'IMAGE_UNKNOWN') return [];
    throw thrown;
  }
}
