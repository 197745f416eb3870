import { toWherryError, WherryError } from '../../base/errors.js';
import type { EndpointSettings } from '../../domain/endpoint.js';
import { JOB_LIMITS, type Job } from '../../domain/job.js';
import { formatFacts, formatJob, formatReceipt, formatStream } from '../../domain/job-view.js';
import { parseStreamMark } from '../../domain/stream.js';
import type { Engine } from '../../engine/engine.js';
import { authenticate, mayRead, mayUse } from '../auth.js';
import { type Exchange, sendJson } from '../exchange.js';
import type { Keys } from '../keys.js';
import type { Rates } from '../rates.js';
import { readInteger, readSubmission } from '../submission.js';
import { serveBatch } from './batch.js';
import { sendOpenaiFailure, serveOpenai } from './openai.js';

/** The parts of `/v2/{endpoint}/{verb}/{id}`. */
export interface JobPath {
  readonly endpointId: string;
  readonly verb: string;
  readonly id: string;
}

/** A request to a known endpoint. */
interface JobRequest extends JobPath {
  readonly limits: EndpointSettings['limits'];
  readonly mayPin: boolean;
}

type Route = (engine: Engine, exchange: Exchange, request: JobRequest) => Promise<void>;

/** The Python client gives up after 10 s (job-api §8.1). */
const STREAM_HOLD_MS = 8_000;
const READ = ['GET', 'POST'];
const ROUTES: Readonly<Record<string, { readonly methods: readonly string[]; readonly route: Route }>> = {
  run: { methods: ['POST'], route: run },
  runsync: { methods: ['POST'], route: runsync },
  status: { methods: READ, route: status },
  'status-sync': { methods: READ, route: statusSync },
  stream: { methods: READ, route: stream },
  cancel: { methods: ['POST'], route: cancel },
  retry: { methods: ['POST'], route: retry },
  'purge-queue': { methods: ['POST'], route: purgeQueue },
  health: { methods: ['GET'], route: health },
  metrics: { methods: ['GET'], route: metrics },
  requests: { methods: READ, route: requests },
  openai: { methods: READ, route: serveOpenai },
  batch: { methods: ['GET', 'POST', 'PUT', 'DELETE'], route: serveBatch },
};

/** The job API (job-api §1–§6): 200 on success, `{"error": text}` otherwise. Never rejects. */
export async function serveJobs(
  { engine, keys, rates }: { readonly engine: Engine; readonly keys: Keys; readonly rates: Rates },
  exchange: Exchange,
  path: JobPath,
): Promise<void> {
  try {
    const key = await authenticate(keys, exchange.request.headers);
    if (!key || !(mayUse(key, path.endpointId) || mayRead(key, path.verb, exchange.query)))
      throw new WherryError('UNAUTHORIZED', 'the key is missing, unknown, or not for this endpoint');
    const found = ROUTES[path.verb];
    if (!found) throw new WherryError('NOT_FOUND', `/${path.verb} is not available in this version`);
    if (!found.methods.includes(exchange.method)) {
      return sendJson(exchange, 405, JSON.stringify({ error: `use ${found.methods.join(' or ')} for /${path.verb}` }), {
        allow: found.methods.join(', '),
      });
    }
    const { limits } = (await engine.getEndpoint(path.endpointId)).settings;
    const { rate: factor = 0 } = limits;
    const runningWorkers = factor === 0 ? 0 : (await engine.health(path.endpointId)).workers.running;
    const end = rates.admit({ endpointId: path.endpointId, keyId: key.id, verb: path.verb, factor, runningWorkers });
    await found.route(engine, exchange, { limits, mayPin: key.scope === 'admin', ...path }).finally(end);
  } catch (thrown) {
    if (path.verb === 'openai') sendOpenaiFailure(exchange, thrown);
    else sendFailure(exchange, thrown);
  }
}

function sendFailure(exchange: Exchange, thrown: unknown): void {
  const error = toWherryError(thrown);
  const status = error.status === 413 ? 400 : error.status;
  const retry: Record<string, string> = status === 503 || status === 429 ? { 'retry-after': '1' } : {};
  const facts = { error: error.message, ...(error.code === 'JOB_EXPIRED' && { code: error.code, expired: error.detail }) };
  sendJson(exchange, status, JSON.stringify(facts), retry);
}

async function run(engine: Engine, exchange: Exchange, { endpointId, limits, mayPin }: JobRequest): Promise<void> {
  const job = await engine.submit(await readSubmission(exchange, { endpointId, isSync: false, limits, mayPin }));
  sendJson(exchange, 200, formatReceipt(job));
}

async function runsync(engine: Engine, exchange: Exchange, { endpointId, limits, mayPin }: JobRequest): Promise<void> {
  const waitMs = readInteger(exchange, 'wait', JOB_LIMITS.waitMs) ?? JOB_LIMITS.waitMs.initial;
  const job = await engine.submit(await readSubmission(exchange, { endpointId, isSync: true, limits, mayPin }));
  await sendJob(engine, exchange, await engine.waitFor({ endpointId, jobId: job.id }, waitMs, exchange.signal));
}

async function sendJob(engine: Engine, exchange: Exchange, job: Job): Promise<void> {
  sendJson(exchange, 200, formatJob(job, await engine.noteJob(job)));
}

async function status(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  const keepMs = readInteger(exchange, 'ttl', { min: 0, max: JOB_LIMITS.ttlMs.max });
  const job = await engine.getJob(endpointId, id);
  if (keepMs !== undefined) await engine.shortenRetention({ endpointId, jobId: id }, keepMs);
  await sendJob(engine, exchange, job);
}

async function statusSync(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  const waitMs = readInteger(exchange, 'wait', JOB_LIMITS.waitMs) ?? JOB_LIMITS.waitMs.initial;
  await sendJob(engine, exchange, await engine.waitFor({ endpointId, jobId: id }, waitMs, exchange.signal));
}

/**
 * Keys `status` and `stream` are there whatever happened to the job (job-api §13.2). A reader that says what it has (`after`, an
 * extension) takes nothing from others and may ask again.
 */
async function stream(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  const { min, max } = JOB_LIMITS.waitMs;
  const waitMs = readInteger(exchange, 'wait', { min, max }) ?? STREAM_HOLD_MS;
  const mark = exchange.query.get('after');
  const after = mark === null ? 'delivered' : parseStreamMark(mark);
  const { job, ...part } = await engine.readStream({ endpointId, jobId: id, after }, waitMs, exchange.signal);
  sendJson(exchange, 200, formatStream(job, part, { isNumbered: mark !== null }));
}

async function retry(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  sendJson(exchange, 200, formatReceipt(await engine.retry(endpointId, id)));
}

async function cancel(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  await sendJob(engine, exchange, await engine.cancel(endpointId, id));
}

async function purgeQueue(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  sendJson(exchange, 200, JSON.stringify({ removed: await engine.purge(endpointId), status: 'completed' }));
}

async function health(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  sendJson(exchange, 200, JSON.stringify(await engine.health(endpointId)));
}

/** Flash reads which workers are ready (job-api §2). */
async function metrics(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  const [{ workers }, known] = await Promise.all([engine.health(endpointId), engine.listWorkers(endpointId, false)]);
  const readyWorkers = known.filter(({ state }) => READY.has(state)).map(({ id }) => id);
  sendJson(exchange, 200, JSON.stringify({ readyWorkers, workers }));
}

const READY: ReadonlySet<string> = new Set(['IDLE', 'RUNNING', 'FROZEN']);
const REQUESTS = { min: 1, max: 1_000, initial: 100 };

/** Recent jobs, newest first, without what they carry: a client whose connection broke finds its job again (job-api §13.8). */
async function requests(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  const limit = readInteger(exchange, 'limit', REQUESTS) ?? REQUESTS.initial;
  const jobs = await engine.listJobs({ endpointId, limit });
  const listed = jobs.map((job) => `{${formatFacts(job).join(',')},"submittedAt":"${new Date(job.submittedAt).toISOString()}"}`);
  sendJson(exchange, 200, `{"requests":[${listed.join(',')}]}`);
}
