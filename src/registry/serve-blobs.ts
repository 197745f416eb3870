import { pipeline } from 'node:stream/promises';
import { WherryError } from '../base/errors.js';
import { type Digest, parseDigest } from '../oci/digest.js';
import { type ByteRange, unknownBlob } from './blob-files.js';
import { type Exchange, refuseMethod, sendAnswer } from './exchange.js';

/** Answers `/v2/NAME/blobs/DIGEST` (distribution-spec, "Pulling Blobs", "Deleting Blobs"). */
export async function serveBlob(exchange: Exchange, repository: string, reference: string): Promise<void> {
  const digest = parseDigest(reference);
  if (exchange.method === 'GET' || exchange.method === 'HEAD') return sendBlob(exchange, repository, digest);
  if (exchange.method !== 'DELETE') throw refuseMethod(exchange);
  await exchange.blobs.unlinkBlob(repository, digest);
  sendAnswer(exchange, 202);
}

async function sendBlob(exchange: Exchange, repository: string, digest: Digest): Promise<void> {
  const { blobs, mirrors, method, request, response } = exchange;
  // Who hears that it is here does not upload it, and names it in a manifest next.
  if (method === 'HEAD') await blobs.spare([digest]);
  const here = (await blobs.isLinked(repository, digest)) ? await blobs.has(digest) : undefined;
  const found = here ?? (await mirrors.findBlob(repository, digest));
  if (!found) throw unknownBlob(digest);
  const range = parseRange(request.headers.range, found.size);
  const headers = {
    'content-type': 'application/octet-stream',
    'docker-content-digest': digest,
    etag: `"${digest}"`,
    'accept-ranges': 'bytes',
  };
  if (range === 'unsatisfiable') {
    response.setHeader('content-range', `bytes */${found.size}`);
    throw new WherryError('RANGE_INVALID', `range '${request.headers.range ?? ''}' of '${digest}' is outside its ${found.size} bytes`);
  }
  const length = range ? range.end - range.start + 1 : found.size;
  const partial = range && { 'content-range': `bytes ${range.start}-${range.end}/${found.size}` };
  if (method === 'HEAD')
    return sendAnswer(exchange, partial ? 206 : 200, { headers: { ...headers, ...partial, 'content-length': length } });
  const stream = here ? (await blobs.open(digest, range)).stream : await mirrors.openBlob(repository, { digest, size: found.size }, range);
  response.writeHead(partial ? 206 : 200, { ...headers, ...partial, 'content-length': length });
  await pipeline(stream, response);
}

/** One range of RFC 9110 §14.1.2; undefined for none, and for forms that a server may ignore. */
function parseRange(header: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined;
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1);
  return start > end ? 'unsatisfiable' : { start, end };
}
