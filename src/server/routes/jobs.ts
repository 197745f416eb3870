import { toWherryError, WherryError } from '../../base/errors.js';
import { JOB_LIMITS } from '../../domain/job.js';
import type { Engine, Submission } from '../../engine/engine.js';
import { authenticate, mayUse } from '../auth.js';
import { type Exchange, readBody, sendJson } from '../exchange.js';
import { formatJob } from '../job-view.js';
import type { Keys } from '../keys.js';
import { sliceMembers } from '../raw-json.js';

/** The parts of `/v2/{endpoint}/{verb}/{id}`. */
export interface JobPath {
  readonly endpointId: string;
  readonly verb: string;
  readonly id: string;
}

type Route = (engine: Engine, exchange: Exchange, path: JobPath) => Promise<void>;

const READ = ['GET', 'POST'];
const ROUTES: Readonly<Record<string, { readonly methods: readonly string[]; readonly route: Route }>> = {
  run: { methods: ['POST'], route: run },
  runsync: { methods: ['POST'], route: runsync },
  status: { methods: READ, route: status },
  'status-sync': { methods: READ, route: statusSync },
  cancel: { methods: ['POST'], route: cancel },
  'purge-queue': { methods: ['POST'], route: purgeQueue },
  health: { methods: ['GET'], route: health },
};

/** The job API (job-api §1–§6): 200 on success, `{"error": text}` otherwise. Never rejects. */
export async function serveJobs(
  { engine, keys }: { readonly engine: Engine; readonly keys: Keys },
  exchange: Exchange,
  path: JobPath,
): Promise<void> {
  try {
    const key = await authenticate(keys, exchange.request.headers);
    if (!key || !mayUse(key, path.endpointId))
      throw new WherryError('UNAUTHORIZED', 'the key is missing, unknown, or not for this endpoint');
    const found = ROUTES[path.verb];
    if (!found) throw new WherryError('NOT_FOUND', `/${path.verb} is not available in this version`);
    if (!found.methods.includes(exchange.method)) {
      return sendJson(exchange, 405, JSON.stringify({ error: `use ${found.methods.join(' or ')} for /${path.verb}` }), {
        allow: found.methods.join(', '),
      });
    }
    await found.route(engine, exchange, path);
  } catch (thrown) {
    sendFailure(exchange, thrown);
  }
}

function sendFailure(exchange: Exchange, thrown: unknown): void {
  const error = toWherryError(thrown);
  const status = error.status === 413 ? 400 : error.status;
  const retry: Record<string, string> = status === 503 || status === 429 ? { 'retry-after': '1' } : {};
  sendJson(exchange, status, JSON.stringify({ error: error.message }), retry);
}

async function run(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  const job = await engine.submit(await readSubmission(exchange, { endpointId, isSync: false }));
  sendJson(exchange, 200, `{"id":"${job.id}","status":"IN_QUEUE"}`);
}

async function runsync(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  const waitMs = readWait(exchange);
  const job = await engine.submit(await readSubmission(exchange, { endpointId, isSync: true }));
  sendJson(exchange, 200, formatJob(await engine.waitFor({ endpointId, jobId: job.id }, waitMs, exchange.signal)));
}

async function status(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  sendJson(exchange, 200, formatJob(await engine.getJob(endpointId, id)));
}

async function statusSync(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  const waitMs = readWait(exchange);
  sendJson(exchange, 200, formatJob(await engine.waitFor({ endpointId, jobId: id }, waitMs, exchange.signal)));
}

async function cancel(engine: Engine, exchange: Exchange, { endpointId, id }: JobPath): Promise<void> {
  sendJson(exchange, 200, formatJob(await engine.cancel(endpointId, id)));
}

async function purgeQueue(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  sendJson(exchange, 200, JSON.stringify({ removed: await engine.purge(endpointId), status: 'completed' }));
}

async function health(engine: Engine, exchange: Exchange, { endpointId }: JobPath): Promise<void> {
  sendJson(exchange, 200, JSON.stringify(await engine.health(endpointId)));
}

function readWait({ query }: Exchange): number {
  const { min, max, initial } = JOB_LIMITS.waitMs;
  const text = query.get('wait');
  if (text === null) return initial;
  const waitMs = Number(text);
  if (Number.isInteger(waitMs) && waitMs >= min && waitMs <= max) return waitMs;
  throw new WherryError('REQUEST_INVALID', `wait is invalid; must be between ${min} and ${max}`);
}

/** Keys of the body that are not for the worker. */
const OWN_KEYS = new Set(['id', 'input', 'policy', 'webhook', 'webhookV2']);

async function readSubmission(
  exchange: Exchange,
  { endpointId, isSync }: { readonly endpointId: string; readonly isSync: boolean },
): Promise<Submission> {
  const limit = isSync ? JOB_LIMITS.runsyncBytes : JOB_LIMITS.runBytes;
  const text = await readBody(exchange, limit, { isStrict: true });
  if (text === undefined) throw new WherryError('INPUT_TOO_LARGE', `the body is larger than ${limit / 1024 / 1024} MiB`);
  const body = sliceMembers(text);
  if (!body) throw new WherryError('REQUEST_INVALID', 'the body is not a JSON object');
  const input = body.raw.get('input');
  if (input === undefined) throw new WherryError('REQUEST_INVALID', "the body has no 'input'");
  const extras = [...body.raw].filter(([name]) => !OWN_KEYS.has(name)).map(([name, raw]) => `${JSON.stringify(name)}:${raw}`);
  return { endpointId, isSync, input, extras: extras.length === 0 ? null : `{${extras.join(',')}}`, ...readPolicy(body.parsed['policy']) };
}

function readPolicy(policy: unknown): Pick<Submission, 'isLowPriority' | 'executionTimeoutMs' | 'ttlMs'> {
  if (policy === undefined || policy === null) return { isLowPriority: false };
  if (typeof policy !== 'object') throw new WherryError('REQUEST_INVALID', 'policy is not an object');
  const { executionTimeout, ttl, lowPriority } = policy as Record<string, unknown>;
  const executionTimeoutMs = readRange('policy.executionTimeout', executionTimeout, JOB_LIMITS.executionTimeoutMs);
  const ttlMs = readRange('policy.ttl', ttl, JOB_LIMITS.ttlMs);
  return {
    isLowPriority: lowPriority === true,
    ...(executionTimeoutMs !== undefined && { executionTimeoutMs }),
    ...(ttlMs !== undefined && { ttlMs }),
  };
}

function readRange(name: string, value: unknown, { min, max }: { readonly min: number; readonly max: number }): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new WherryError('REQUEST_INVALID', `${name} is invalid; must be between ${min} and ${max}`);
}
