// The worker side of the RunPod Serverless worker protocol, for one job at a time. Only node:http, so that it starts fast.
import { Agent, request } from 'node:http';

const POLL_LIMIT_MS = 90_000;
const POST_LIMIT_MS = 60_000;
const GIVE_UP_MS = 300_000;
const FIRST_PING_MS = 200;

let isStarted = false;

/** True once {@link start} was called: a handler file may do that itself. */
export function hasStarted() {
  return isStarted;
}

/**
 * Serves jobs until SIGTERM or a refresh. `handler(job)` gets `{ id, input, … }`; what it returns (or resolves to) is the output.
 * Without RUNPOD_WEBHOOK_GET_JOB it runs one job from `--test_input` or `test_input.json` instead.
 */
export async function start({ handler }) {
  if (typeof handler !== 'function') throw new TypeError('start({ handler }): handler is not a function');
  isStarted = true;
  const env = process.env;
  if (!env.RUNPOD_WEBHOOK_GET_JOB || process.argv.includes('--test_input')) return (await import('./local.mjs')).runOnce(handler);
  const worker = env.RUNPOD_POD_ID ?? '';
  const call = createCaller(env.RUNPOD_AI_API_KEY ?? '');
  const takeUrl = env.RUNPOD_WEBHOOK_GET_JOB.replaceAll('$ID', worker);
  const doneUrl = (job) => env.RUNPOD_WEBHOOK_POST_OUTPUT.replaceAll('$RUNPOD_POD_ID', worker).replaceAll('$ID', job);
  const state = { isStopping: false, job: undefined, poll: undefined };
  const stop = () => {
    state.isStopping = true;
    state.poll?.destroy();
  };
  // Not `once`: a second signal, from a server that was restarted meanwhile, would end the job that is being finished.
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);

  let stopPings;
  const ping = async () => {
    stopPings ??= await startPings(env, worker, state);
  };
  // Not before the first answer, unless that takes long: the thread that pings would slow down the first job.
  const firstPing = setTimeout(ping, FIRST_PING_MS);
  let lastAnswerAt = Date.now();
  let failures = 0;
  while (!state.isStopping) {
    const answer = await call('GET', `${takeUrl}&job_in_progress=0`, { limitMs: POLL_LIMIT_MS, onRequest: (poll) => (state.poll = poll) });
    clearTimeout(firstPing);
    await ping();
    if (state.isStopping && answer.status !== 200) break;
    if (answer.status === 200 || answer.status === 204) {
      lastAnswerAt = Date.now();
      failures = 0;
    } else {
      if (Date.now() - lastAnswerAt > GIVE_UP_MS) fail(`no answer from the server for ${GIVE_UP_MS / 1000} s`);
      await pause(answer.status === 429 ? 5_000 : Math.min(2_000, 50 * 2 ** failures++) * (0.5 + Math.random() / 2));
    }
    const job = answer.status === 200 ? parseJob(answer.text) : undefined;
    if (!job) continue;
    state.job = job.id;
    const { body, isLast } = await runHandler(handler, job);
    await postResult(call, `${doneUrl(job.id)}&isStream=false`, body);
    state.job = undefined;
    if (isLast) break;
  }
  stopPings?.();
  process.exit(0);
}

/** Runs the handler and gives the body to post (worker-protocol: result bodies). */
export async function runHandler(handler, job) {
  let value;
  try {
    value = await handler(job);
  } catch (error) {
    return { body: JSON.stringify({ error: describe(error) }), isLast: false };
  }
  return encode(value);
}

function encode(value) {
  try {
    return encodeValue(value);
  } catch (error) {
    const message = `the handler's value cannot be sent as JSON: ${error instanceof Error ? error.message : error}`;
    return { body: JSON.stringify({ error: message }), isLast: false };
  }
}

function encodeValue(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { body: stringify({ output: value ?? null }), isLast: false };
  const { error, refresh_worker: isLast, ...rest } = value;
  const body = {};
  if (Object.keys(rest).length > 0) body.output = 'error' in value || 'refresh_worker' in value ? rest : value;
  if (error) body.error = error;
  if (isLast) body.stopPod = true;
  return { body: stringify(body), isLast: Boolean(isLast) };
}

/** JSON that refuses what JSON.stringify would silently turn into null or drop. */
function stringify(body) {
  return JSON.stringify(body, (key, value) => {
    if (typeof value === 'number' && !Number.isFinite(value)) throw new Error(`${value} at '${key}' is not JSON`);
    if (typeof value === 'function' || typeof value === 'symbol') throw new Error(`a ${typeof value} at '${key}' is not JSON`);
    return value;
  });
}

function describe(thrown) {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return JSON.stringify({
    error_type: error.name,
    error_message: error.message,
    error_traceback: error.stack ?? '',
    hostname: process.env.RUNPOD_POD_HOSTNAME ?? 'unknown',
    worker_id: process.env.RUNPOD_POD_ID ?? 'unknown',
    runpod_version: 'wherry-node',
  });
}

/** Posts until the server has it: (job, worker) makes a repeated post harmless, so a restarting server loses no result. */
async function postResult(call, url, body) {
  const end = Date.now() + POST_LIMIT_MS;
  for (let waitMs = 50; ; waitMs = Math.min(2_000, waitMs * 2)) {
    const { status } = await call('POST', url, { body, limitMs: 30_000 });
    if (status >= 200 && status < 500) return;
    if (Date.now() > end) return log('ERROR', `a result could not be delivered for ${POST_LIMIT_MS / 1000} s; giving it up`);
    await pause(waitMs);
  }
}

/** Pings from a thread of their own, so that a handler that blocks the loop does not look dead. */
async function startPings(env, worker, state) {
  if (!env.RUNPOD_WEBHOOK_PING || !env.RUNPOD_AI_API_KEY || !worker) return () => {};
  const { startPinger } = await import('./ping.mjs');
  return startPinger({
    url: env.RUNPOD_WEBHOOK_PING.replaceAll('$RUNPOD_POD_ID', worker),
    key: env.RUNPOD_AI_API_KEY,
    intervalMs: Math.max(1_000, Number(env.RUNPOD_PING_INTERVAL) || 10_000),
    state,
  });
}

/** `call(method, url, …)` resolves with status and text; 0 when nothing answered. Connections are kept. */
function createCaller(key) {
  const agent = new Agent({ keepAlive: true, maxSockets: 2 });
  return (method, url, { body, limitMs, onRequest }) =>
    new Promise((resolve) => {
      const headers = { authorization: key, 'content-type': 'application/json' };
      if (body !== undefined) headers['content-length'] = Buffer.byteLength(body);
      const outgoing = request(url, { method, headers, agent, timeout: limitMs }, (answer) => {
        const parts = [];
        answer.on('data', (part) => parts.push(part));
        answer.on('end', () => resolve({ status: answer.statusCode, text: Buffer.concat(parts).toString() }));
        answer.on('error', () => resolve({ status: 0, text: '' }));
      });
      onRequest?.(outgoing);
      outgoing.on('timeout', () => outgoing.destroy());
      outgoing.on('error', () => resolve({ status: 0, text: '' }));
      outgoing.end(body);
    });
}

function parseJob(text) {
  try {
    const job = JSON.parse(text);
    if (typeof job?.id === 'string' && 'input' in job) return job;
  } catch {
    // Reported below, as any other answer that is no job.
  }
  log('ERROR', 'the server answered something that is no job');
  return undefined;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function log(level, message) {
  process.stderr.write(`${JSON.stringify({ requestId: null, message, level })}\n`);
}

function fail(message) {
  log('ERROR', message);
  process.exit(1);
}
