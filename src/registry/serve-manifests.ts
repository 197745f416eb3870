import { WherryError } from '../base/errors.js';
import { digestOf, isDigest, parseDigest } from '../oci/digest.js';
import { type Index, isIndex, type Manifest, mediaTypeOf, parseManifest, refuseForeign } from '../oci/manifest.js';
import { isTag } from '../oci/reference.js';
import { bodyOf, type Exchange, refuseMethod, sendAnswer } from './exchange.js';
import { partsOf } from './parts.js';
import { MANIFEST_LIMIT_BYTES, unknownManifest } from './repositories.js';

/** Answers `/v2/NAME/manifests/REFERENCE` (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting tags"). */
export async function serveManifest(exchange: Exchange, repository: string, reference: string): Promise<void> {
  const { blobs, method } = exchange;
  if (reference.includes(':')) parseDigest(reference);
  else if (!isTag(reference)) throw new WherryError('MANIFEST_INVALID', `neither a tag nor a digest: '${reference}'`);
  if (method === 'GET' || method === 'HEAD') return sendManifest(exchange, repository, reference);
  if (method === 'PUT') return takeManifest(exchange, repository, reference);
  if (method !== 'DELETE') throw refuseMethod(exchange);
  if (isDigest(reference)) await blobs.deleteManifest(repository, reference);
  else await blobs.deleteTag(repository, reference);
  sendAnswer(exchange, 202);
}

async function sendManifest(exchange: Exchange, repository: string, reference: string): Promise<void> {
  await exchange.mirrors.bringManifest(repository, reference);
  const found = await exchange.blobs.getManifest(repository, reference);
  if (!found) throw unknownManifest(repository, reference);
  const { bytes, digest, mediaType } = found;
  const headers = { 'content-type': mediaType, 'docker-content-digest': digest, etag: `"${digest}"`, 'content-length': bytes.length };
  sendAnswer(exchange, 200, { headers, body: bytes });
}

async function takeManifest(exchange: Exchange, repository: string, reference: string): Promise<void> {
  const bytes = await readBody(exchange);
  const digest = digestOf(bytes);
  if (isDigest(reference) && reference !== digest) {
    throw new WherryError('DIGEST_INVALID', `the manifest sent as '${reference}' hashes to '${digest}'`, { detail: { actual: digest } });
  }
  const manifest = parseManifest(bytes);
  const mediaType = mediaTypeOf(manifest, exchange.request.headers['content-type']);
  refuseForeign(manifest, `${repository}@${digest}`);
  await checkParts(exchange, repository, manifest);
  await exchange.blobs.putManifest(repository, digest, bytes, { mediaType, tag: isDigest(reference) ? undefined : reference });
  const subject = manifest.subject && { 'oci-subject': manifest.subject.digest };
  sendAnswer(exchange, 201, {
    headers: { location: `/v2/${repository}/manifests/${digest}`, 'docker-content-digest': digest, ...subject },
  });
}

async function readBody(exchange: Exchange): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of bodyOf(exchange)) {
    size += part.length;
    if (size > MANIFEST_LIMIT_BYTES) {
      throw new WherryError('INPUT_TOO_LARGE', `the manifest is larger than ${MANIFEST_LIMIT_BYTES} bytes`, {
        hint: 'keep large data in blobs',
      });
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function checkParts({ blobs }: Exchange, repository: string, manifest: Manifest | Index): Promise<void> {
  const { manifests, blobs: named } = partsOf(manifest);
  const parts = [...manifests, ...named];
  // Before they are looked for: from here on no collection takes them.
  await blobs.spare(parts.map(({ digest }) => digest));
  for (const { digest, size } of parts) {
    const found = isIndex(manifest)
      ? await blobs.getManifest(repository, digest).then((child) => child && { size: child.bytes.length })
      : (await blobs.isLinked(repository, digest)) && (await blobs.has(digest));
    if (!found) {
      throw new WherryError('MANIFEST_BLOB_UNKNOWN', `the manifest names '${digest}', which repository '${repository}' does not have`, {
        hint: 'push it first',
        detail: { digest },
      });
    }
    if (found.size !== size) {
      throw new WherryError('MANIFEST_INVALID', `the manifest gives '${digest}' ${size} bytes, it has ${found.size}`, {
        detail: { digest },
      });
    }
  }
}
