import { setTimeout as delay } from 'node:timers/promises';
import { toAbortSignal } from '../../base/ending.js';
import { toWherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { JOB_LIMITS } from '../../domain/job.js';
import type { Worker } from '../../domain/worker.js';
import type { Engine, Report } from '../../engine/engine.js';
import { readCredential } from '../auth.js';
import { beginJson, type Exchange, endJson, readBody, sendEmpty, sendJson } from '../exchange.js';
import { sliceMembers } from '../raw-json.js';

/** The parts of `/v2/{endpoint}/{verb}/{worker}/{job}`. */
export interface WorkerPath {
  readonly endpointId: string;
  readonly verb: string;
  readonly workerId: string;
  readonly jobId: string;
}

interface WorkerRequest extends WorkerPath {
  readonly worker: Worker;
}

type Route = (engine: Engine, exchange: Exchange, path: WorkerRequest) => Promise<void>;

const ROUTES: Readonly<Record<string, Route>> = {
  'job-take': takeOne,
  'job-take-batch': takeMany,
  'job-stop': stops,
  'job-done': done,
  'job-stream': addChunk,
  ping,
};

export const WORKER_VERBS: readonly string[] = Object.keys(ROUTES);

/** A worker that is refused asks again at once, some thousand times a second: it is made to wait. */
const REFUSAL_DELAY_MS = 1_000;

/** The worker side of the queue (worker-protocol §4–§6, §11). Never rejects. */
export async function serveWorkers(
  { engine, log }: { readonly engine: Engine; readonly log: Log },
  exchange: Exchange,
  path: WorkerPath,
): Promise<void> {
  try {
    const token = readCredential(exchange.request.headers) ?? '';
    const worker = await engine.authenticateWorker(token, path.workerId);
    const route = ROUTES[path.verb];
    if (!worker || !route || worker.endpointId !== path.endpointId) {
      const { endpointId, workerId } = path;
      log.warn({ endpointId, workerId }, 'a worker was refused: its token is not for this worker and endpoint');
      return await refuse(exchange, worker ? FOREIGN : UNKNOWN);
    }
    await route(engine, exchange, { worker, ...path });
  } catch (thrown) {
    const error = toWherryError(thrown);
    if (error.code === 'INTERNAL') log.error({ err: thrown, verb: path.verb }, 'a worker request failed');
    // An answer that was begun can only break off: what it had to say was in its head.
    if (exchange.response.headersSent) exchange.response.destroy();
    else sendJson(exchange, error.status, JSON.stringify({ error: error.message }));
  }
}

const UNKNOWN = { status: 401, body: '{"error":"this token is not for this worker"}' } as const;
/** A worker of another endpoint learns nothing about this one (decision 16). */
const FOREIGN = { status: 404, body: '{"error":"there is no such worker here"}' } as const;

async function refuse(exchange: Exchange, { status, body }: { readonly status: number; readonly body: string }): Promise<void> {
  exchange.request.resume();
  await delay(REFUSAL_DELAY_MS, undefined, { signal: toAbortSignal(exchange.signal) }).catch(() => {});
  sendJson(exchange, status, body);
}

async function takeOne(engine: Engine, exchange: Exchange, { workerId }: WorkerPath): Promise<void> {
  const [job] = await engine.take(workerId, { limit: 1, isBusy: isBusy(exchange), signal: exchange.signal });
  if (job) sendJson(exchange, 200, job.body);
  else sendEmpty(exchange, 204);
}

async function takeMany(engine: Engine, exchange: Exchange, { workerId }: WorkerPath): Promise<void> {
  const size = Number(exchange.query.get('batch_size') ?? 1);
  const limit = Number.isInteger(size) && size > 0 ? Math.min(size, 1_000) : 1;
  const jobs = await engine.take(workerId, { limit, isBusy: isBusy(exchange), signal: exchange.signal });
  if (jobs.length > 0) sendJson(exchange, 200, `[${jobs.map(({ body }) => body).join(',')}]`);
  else sendEmpty(exchange, 204);
}

function isBusy({ query }: Exchange): boolean {
  return query.get('job_in_progress') === '1';
}

async function stops(engine: Engine, exchange: Exchange, { workerId }: WorkerPath): Promise<void> {
  const jobsToStop = await engine.stops(workerId, exchange.signal);
  if (jobsToStop.length > 0) sendJson(exchange, 200, JSON.stringify({ jobsToStop }));
  else sendEmpty(exchange, 204);
}

/** Any 2xx tells the worker that its result is safe, so nothing it can post is answered with 4xx. */
async function done(engine: Engine, exchange: Exchange, { endpointId, worker, jobId }: WorkerRequest): Promise<void> {
  const limit = await resultLimit(engine, endpointId);
  const text = await readBody(exchange, limit);
  const asksNext = exchange.query.get('next') === '1';
  const { isEnd, next } = await engine.done(worker, { jobId, ...readResult(text, limit), ...(asksNext && { next: exchange.signal }) });
  if (next) return sendJson(exchange, 200, next.body);
  // A post that is repeated gets no job: the one its lost answer brought may be on its way.
  if (isEnd && asksNext) await sendNext(engine, exchange, worker.id);
  else sendJson(exchange, 200, '{}');
}

function readResult(text: string | undefined, limit: number): Pick<Report, 'body' | 'rawOutput'> {
  if (text === undefined) return { body: { error: `the result is larger than ${limit} bytes` } };
  const body = sliceMembers(text);
  return { body: body?.parsed, rawOutput: body?.raw.get('output') };
}

/** The worker's next job as the answer to its result (ADR 11), when there was none at once: the head of the answer says that the result is safe. */
async function sendNext(engine: Engine, exchange: Exchange, workerId: string): Promise<void> {
  const onHold = () => beginJson(exchange, 200);
  const [job] = await engine.take(workerId, { limit: 1, isBusy: false, signal: exchange.signal, onHold });
  endJson(exchange, 200, job?.body ?? '{}');
}

/** A chunk that cannot be kept is not the worker's to try again: it goes on, and the job fails. */
async function addChunk(engine: Engine, exchange: Exchange, { endpointId, worker, workerId, jobId }: WorkerRequest): Promise<void> {
  const limit = await resultLimit(engine, endpointId);
  const text = await readBody(exchange, limit);
  if (text === undefined) await engine.done(worker, { jobId, body: { error: `a chunk is larger than ${limit} bytes` } });
  else {
    const post = Number(exchange.query.get('chunk') ?? Number.NaN);
    const output = sliceMembers(text)?.raw.get('output') ?? 'null';
    await engine.addChunk({ workerId, jobId, output, ...(Number.isInteger(post) && post > 0 && { post }) });
  }
  sendJson(exchange, 200, '{}');
}

async function ping(engine: Engine, exchange: Exchange, { worker }: WorkerRequest): Promise<void> {
  const { query } = exchange;
  const jobIds = (query.get('job_id') ?? '').split(',').filter((id) => id !== '');
  const isUnhealthy = query.get('status') === 'unhealthy';
  const unhealthy = `fitness check ${query.get('check') ?? ''} failed: ${query.get('reason') ?? 'no reason was given'}`;
  await engine.ping(worker, isUnhealthy ? { jobIds, unhealthy } : { jobIds });
  sendJson(exchange, 200, '{}');
}

async function resultLimit(engine: Engine, endpointId: string): Promise<number> {
  return (await engine.getEndpoint(endpointId)).settings.limits.resultBytes ?? JOB_LIMITS.resultBytes;
}
