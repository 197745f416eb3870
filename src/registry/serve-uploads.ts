import { WherryError } from '../base/errors.js';
import { type Digest, parseDigest } from '../oci/digest.js';
import { bodyOf, checkRepository, type Exchange, refuseMethod, sendAnswer } from './exchange.js';

/** Answers `/v2/NAME/blobs/uploads/`: starts an upload, takes a whole blob, or mounts one (distribution-spec, "Pushing Blobs"). */
export async function serveUploads(exchange: Exchange, repository: string): Promise<void> {
  if (exchange.method !== 'POST') throw refuseMethod(exchange);
  const digest = exchange.query.get('digest');
  if (digest !== null) parseDigest(digest);
  if (await mountBlob(exchange, repository)) return;
  // Refused when nothing more fits, before anything is sent.
  exchange.blobs.checkQuota(1);
  const id = await exchange.blobs.startUpload();
  if (digest !== null) return finishUpload(exchange, { repository, id, digest: parseDigest(digest) });
  sendProgress(exchange, { repository, id, size: 0 });
}

/** Answers `/v2/NAME/blobs/uploads/ID`: chunks, status, end and cancel. */
export async function serveUpload(exchange: Exchange, repository: string, id: string): Promise<void> {
  const { blobs, method, query } = exchange;
  if (method === 'GET' || method === 'HEAD') return sendProgress(exchange, { repository, id, size: await blobs.uploadSize(id) });
  if (method === 'PATCH') return sendProgress(exchange, { repository, id, size: await appendChunk(exchange, repository, id) });
  if (method === 'PUT') return finishUpload(exchange, { repository, id, digest: parseDigest(query.get('digest') ?? '') });
  if (method !== 'DELETE') throw refuseMethod(exchange);
  await blobs.cancelUpload(id);
  sendAnswer(exchange, 204);
}

/** Shows a blob of another repository in this one. False when there is none: the client then uploads, as the spec has it. */
async function mountBlob(exchange: Exchange, repository: string): Promise<boolean> {
  const { blobs, query } = exchange;
  const mount = query.get('mount');
  const from = query.get('from');
  if (mount === null || from === null) return false;
  const digest = parseDigest(mount);
  checkRepository(exchange, from);
  if (!(await blobs.isLinked(from, digest))) return false;
  try {
    await blobs.linkBlob(repository, digest);
  } catch (thrown) {
    if (thrown instanceof WherryError && thrown.code === 'BLOB_UNKNOWN') return false;
    throw thrown;
  }
  sendCreated(exchange, repository, digest);
  return true;
}

async function appendChunk(exchange: Exchange, repository: string, id: string): Promise<number> {
  const start = parseChunkStart(exchange);
  exchange.blobs.checkQuota(Number(exchange.request.headers['content-length'] ?? 0));
  try {
    return await exchange.blobs.appendUpload(id, bodyOf(exchange), { start });
  } catch (thrown) {
    // A refused chunk is told where to go on.
    if (thrown instanceof WherryError && thrown.code === 'RANGE_INVALID') {
      for (const [name, value] of progressHeaders({ repository, id, size: await exchange.blobs.uploadSize(id) })) {
        exchange.response.setHeader(name, value);
      }
    }
    throw thrown;
  }
}

/** The first byte of `Content-Range: START-END`, which must agree with the length of the body. */
function parseChunkStart({ request }: Exchange): number | undefined {
  const header = request.headers['content-range'];
  if (header === undefined) return undefined;
  const [, first, last] = /^(?:bytes )?(\d+)-(\d+)(?:\/(?:\d+|\*))?$/.exec(header) ?? [];
  if (first === undefined || last === undefined)
    throw new WherryError('SIZE_INVALID', `not a chunk's range: '${header}'`, { hint: 'send START-END' });
  const length = request.headers['content-length'];
  if (length !== undefined && Number(length) !== Number(last) - Number(first) + 1) {
    throw new WherryError('SIZE_INVALID', `the range '${header}' does not have the ${length} bytes of the body`);
  }
  return Number(first);
}

interface FinishedUpload {
  readonly repository: string;
  readonly id: string;
  readonly digest: Digest;
}

async function finishUpload(exchange: Exchange, { repository, id, digest }: FinishedUpload): Promise<void> {
  const { blobs } = exchange;
  await appendChunk(exchange, repository, id);
  try {
    await blobs.finishUpload(id, digest, repository);
  } catch (thrown) {
    if (!(thrown instanceof WherryError) || thrown.code !== 'DIGEST_MISMATCH') throw thrown;
    throw new WherryError('DIGEST_INVALID', thrown.message, { hint: 'send the bytes again', detail: thrown.detail, cause: thrown });
  }
  sendCreated(exchange, repository, digest);
}

interface Progress {
  readonly repository: string;
  readonly id: string;
  readonly size: number;
}

function progressHeaders({ repository, id, size }: Progress): [string, string][] {
  return [
    ['location', `/v2/${repository}/blobs/uploads/${id}`],
    ['range', `0-${Math.max(0, size - 1)}`],
    ['docker-upload-uuid', id],
  ];
}

function sendProgress(exchange: Exchange, progress: Progress): void {
  const isStatus = exchange.method === 'GET' || exchange.method === 'HEAD';
  sendAnswer(exchange, isStatus ? 204 : 202, { headers: Object.fromEntries(progressHeaders(progress)) });
}

function sendCreated(exchange: Exchange, repository: string, digest: Digest): void {
  sendAnswer(exchange, 201, { headers: { location: `/v2/${repository}/blobs/${digest}`, 'docker-content-digest': digest } });
}
