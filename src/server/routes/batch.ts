import { WherryError } from '../../base/errors.js';
import { BATCH_LIMITS } from '../../domain/batch.js';
import type { BatchName, BatchPage, BatchStatus } from '../../engine/batch.js';
import type { Engine } from '../../engine/engine.js';
import { type Exchange, sendJson } from '../exchange.js';
import { sliceElements, sliceMembers } from '../raw-json.js';
import { readInteger, readLimited } from '../submission.js';

/** The batch API (job-api §9), told apart by method and the rest of the path. */
export async function serveBatch(engine: Engine, exchange: Exchange, { endpointId }: { readonly endpointId: string }): Promise<void> {
  const [, , , , batchId = '', part = '', requestId = ''] = exchange.path.split('/');
  const name = { endpointId, batchId };
  const { batches } = engine;
  const shape = `${exchange.method} ${batchId ? '/{b}' : ''}${part ? `/${part}` : ''}${requestId ? '/{r}' : ''}`;
  switch (shape) {
    case 'POST ':
      return sendStatus(exchange, await batches.create(endpointId, await readList(exchange)));
    case 'GET ':
      return sendJson(exchange, 200, `[${(await batches.list(endpointId)).map(formatStatus).join(',')}]`);
    case 'GET /{b}':
      return sendStatus(exchange, await batches.get(name));
    case 'PUT /{b}':
      return sendStatus(exchange, await batches.rename(name, await readName(exchange)));
    case 'POST /{b}/requests':
      return sendJson(exchange, 200, JSON.stringify({ ids: await batches.add(name, await readRequests(exchange)) }));
    case 'GET /{b}/requests':
      return sendPage(engine, exchange, name);
    case 'DELETE /{b}/requests/{r}':
      await batches.removeRequest(name, requestId);
      return sendJson(exchange, 200, JSON.stringify({ id: requestId, removed: true }));
    case 'POST /{b}/finalize':
      return sendStatus(exchange, await batches.finalize(name));
    case 'POST /{b}/cancel':
      return sendStatus(exchange, await batches.cancel(name));
    default:
      throw new WherryError('NOT_FOUND', `the batch API has no ${exchange.method} for this path`, { hint: 'see docs/job-api.md' });
  }
}

function sendStatus(exchange: Exchange, status: BatchStatus): void {
  sendJson(exchange, 200, formatStatus(status));
}

function formatStatus({ batch, total, inProgress, completed, failed }: BatchStatus): string {
  const { id, endpointId, name, state, createdAt } = batch;
  const counts = { requestTotal: total, requestInProgress: inProgress, requestCompleted: completed, requestFailed: failed };
  return JSON.stringify({ id, endpointId, ...(name !== null && { name }), status: state, ...counts, createdAt });
}

async function sendPage(engine: Engine, exchange: Exchange, name: BatchName): Promise<void> {
  const limit = readInteger(exchange, 'limit', { min: 1, max: BATCH_LIMITS.page.max }) ?? BATCH_LIMITS.page.initial;
  const offset = readInteger(exchange, 'offset', { min: 0, max: BATCH_LIMITS.requests }) ?? 0;
  const { requests, total } = await engine.batches.page(name, { offset, limit });
  const hasMore = offset + requests.length < total;
  sendJson(
    exchange,
    200,
    `{"requests":[${requests.map(formatRequest).join(',')}],"total":${total},"offset":${offset},"limit":${limit},"hasMore":${hasMore}}`,
  );
}

/** `output` and `error` are the worker's own text. */
function formatRequest({ id, job }: BatchPage['requests'][number]): string {
  const members = [`"id":${JSON.stringify(id)}`, `"status":"${job?.state ?? 'DRAFT'}"`];
  if (job?.state === 'COMPLETED') members.push(`"output":${job.output ?? 'null'}`);
  if (job?.error != null) members.push(`"error":${job.error}`);
  if (job?.claimedAt != null) members.push(`"startedAt":"${new Date(job.claimedAt).toISOString()}"`);
  if (job?.finishedAt != null) members.push(`"completedAt":"${new Date(job.finishedAt).toISOString()}"`);
  return `{${members.join(',')}}`;
}

/** A JSON array of `{"input": …}`; gives the texts of the inputs. */
async function readList(exchange: Exchange): Promise<readonly string[]> {
  return inputsOf(await readLimited(exchange, BATCH_LIMITS.bodyBytes), 'the body');
}

async function readRequests(exchange: Exchange): Promise<readonly string[]> {
  const requests = sliceMembers(await readLimited(exchange, BATCH_LIMITS.bodyBytes))?.raw.get('requests');
  return inputsOf(requests ?? '', "'requests'");
}

function inputsOf(text: string, what: string): readonly string[] {
  const elements = sliceElements(text);
  if (!elements) throw new WherryError('REQUEST_INVALID', `${what} is not a JSON array of requests`);
  return elements.map((element, at) => {
    const input = sliceMembers(element)?.raw.get('input');
    if (input === undefined) throw new WherryError('REQUEST_INVALID', `request ${at} of ${what} has no 'input'`);
    return input;
  });
}

const NAME_LENGTH = 191;

async function readName(exchange: Exchange): Promise<string> {
  const body = sliceMembers(await readLimited(exchange, BATCH_LIMITS.bodyBytes))?.parsed;
  const name = body?.['name'] ?? body?.['displayName'];
  if (typeof name === 'string' && name.length <= NAME_LENGTH) return name;
  throw new WherryError('REQUEST_INVALID', `name is not a text of at most ${NAME_LENGTH} characters`);
}
