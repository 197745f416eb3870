// The worker side of the RunPod Serverless worker protocol.
import { createCaller, postUntilTaken } from './http.mjs';
import { isGenerator, runGenerator, runHandler } from './results.mjs';

const POLL_LIMIT_MS = 90_000;
const GIVE_UP_MS = 300_000;
const FIRST_PING_MS = 200;

/** One for the process: a handler that is bundled may carry a copy of this module, and the entry another. */
const SHARED = Symbol.for('wherry.worker');
globalThis[SHARED] ??= { isStarted: false, checks: [], progress: undefined };
const shared = globalThis[SHARED];

/** True once {@link start} was called: a handler file may do that itself. */
export function hasStarted() {
  return shared.isStarted;
}

/** A function (plain or async) that runs before the first job; when it throws, the worker says so and ends with code 1. */
export function registerFitnessCheck(check) {
  shared.checks.push(check);
  return check;
}

/** Shows a value as the job's `output` while it runs. Never fails the job and never comes after its result. */
export function progressUpdate(job, value) {
  shared.progress?.update(job.id, value);
}

/**
 * Serves jobs until SIGTERM or a refresh. `handler(job, { signal })` gets `{ id, input, … }`; what it returns (or resolves to)
 * is the output, what a generator yields is streamed. Without RUNPOD_WEBHOOK_GET_JOB it runs one job from `--test_input` or
 * `test_input.json` instead.
 */
export async function start(config) {
  const { handler } = config;
  if (typeof handler !== 'function') throw new TypeError('start({ handler }): handler is not a function');
  shared.isStarted = true;
  const env = process.env;
  if (!env.RUNPOD_WEBHOOK_GET_JOB || process.argv.includes('--test_input')) return (await import('./local.mjs')).runOnce(handler);
  await serve(readConfig(config), env);
}

/** Both spellings: RunPod's and JavaScript's. */
function readConfig(config) {
  return {
    handler: config.handler,
    isStream: isGenerator(config.handler),
    aggregate: Boolean(config.returnAggregateStream ?? config.return_aggregate_stream),
    refresh: Boolean(config.refreshWorker ?? config.refresh_worker),
    modifier: config.concurrencyModifier ?? config.concurrency_modifier,
  };
}

async function serve(config, env) {
  const worker = env.RUNPOD_POD_ID ?? '';
  const fill = (template, job) => (template ?? '').replaceAll('$RUNPOD_POD_ID', worker).replaceAll('$ID', job);
  const call = createCaller(env.RUNPOD_AI_API_KEY ?? '');
  const state = { isStopping: false, jobs: [], poll: undefined };
  const urls = {
    take: env.RUNPOD_WEBHOOK_GET_JOB.replaceAll('$ID', worker),
    done: (job) => `${fill(env.RUNPOD_WEBHOOK_POST_OUTPUT, job)}&isStream=${config.isStream}`,
    progress: (job) => `${fill(env.RUNPOD_WEBHOOK_POST_OUTPUT, job)}&isStream=false`,
    stream: (job) => `${fill(env.RUNPOD_WEBHOOK_POST_STREAM, job)}&isStream=false`,
    ping: env.RUNPOD_WEBHOOK_PING && env.RUNPOD_AI_API_KEY && worker ? fill(env.RUNPOD_WEBHOOK_PING, '') : undefined,
  };
  const stop = () => {
    state.isStopping = true;
    state.poll?.destroy();
  };
  // Not once: a second signal must not end a job that is being finished.
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  if (shared.checks.length > 0) await (await import('./fitness.mjs')).runChecks(shared.checks, { call, url: urls.ping });
  shared.progress = createProgress(call, urls.progress);
  const stopSide = startSide({ call, urls, state, env, config });
  await takeJobs({ call, urls, state, config, onAnswer: stopSide.begin });
  await Promise.all(state.jobs.map(({ done }) => done));
  stopSide.end();
  process.exit(0);
}

/** Pings and the stop channel: begun with the first answer, or when that takes long, so that they do not slow the first job. */
function startSide({ call, urls, state, env, config }) {
  let begun;
  const open = async () => {
    const { startPinger } = await import('./ping.mjs');
    const intervalMs = Math.max(1_000, Number(env.RUNPOD_PING_INTERVAL) || 10_000);
    if (urls.ping) return startPinger({ url: urls.ping, key: env.RUNPOD_AI_API_KEY, intervalMs, state });
    return () => {};
  };
  const begin = () => {
    if (begun) return begun;
    clearTimeout(late);
    // A handler that does not take the signal cannot be stopped: without a listener the server ends the worker instead.
    if (config.handler.length !== 1 || config.isStream) void listenForStops({ call, url: urls.take, state });
    begun = open();
    return begun;
  };
  const late = setTimeout(begin, FIRST_PING_MS);
  return {
    begin,
    end: () => {
      clearTimeout(late);
      void begun?.then((stopPings) => stopPings());
    },
  };
}

async function takeJobs({ call, urls, state, config, onAnswer }) {
  let limit = 1;
  let lastAnswerAt = Date.now();
  let failures = 0;
  while (!state.isStopping) {
    limit = readLimit(config.modifier, limit);
    const need = limit - state.jobs.length;
    if (need <= 0) {
      await Promise.race(state.jobs.map(({ done }) => done));
      continue;
    }
    const answer = await call('GET', pollUrl(urls.take, need, state), { limitMs: POLL_LIMIT_MS, onRequest: (poll) => (state.poll = poll) });
    await onAnswer();
    if (answer.status === 200 || answer.status === 204) {
      lastAnswerAt = Date.now();
      failures = 0;
    } else if (!state.isStopping) {
      if (Date.now() - lastAnswerAt > GIVE_UP_MS) fail(`no answer from the server for ${GIVE_UP_MS / 1000} s`);
      await pause(answer.status === 429 ? 5_000 : Math.min(2_000, 50 * 2 ** failures++) * (0.5 + Math.random() / 2));
    }
    for (const job of answer.status === 200 ? parseJobs(answer.text) : []) serveJob(job, { call, urls, state, config });
  }
}

function readLimit(modifier, limit) {
  if (!modifier) return 1;
  try {
    return Math.max(1, Math.trunc(Number(modifier(limit))) || 1);
  } catch (error) {
    log('ERROR', `the concurrency modifier failed: ${error}`);
    return limit;
  }
}

function pollUrl(take, need, { jobs }) {
  const flag = `&job_in_progress=${jobs.length > 0 ? 1 : 0}`;
  return need === 1 ? take + flag : `${take.replace('/job-take/', '/job-take-batch/')}${flag}&batch_size=${need}`;
}

/** Runs one job beside the others. A job that was stopped posts nothing; its place is free when its handler has ended. */
function serveJob(job, { call, urls, state, config }) {
  const controller = new AbortController();
  const held = { id: job.id, stop: () => controller.abort(new Error('the job was stopped')), done: undefined };
  // Before it runs: a handler that blocks would keep the pings from naming it.
  state.jobs = [...state.jobs, held];
  held.done = (async () => {
    const { body, isLast } = await runJob(job, { call, urls, config, signal: controller.signal });
    if (!controller.signal.aborted) {
      await shared.progress.settle(job.id);
      const isEnd = isLast || config.refresh;
      const sealed = isEnd && !isLast ? JSON.stringify({ ...JSON.parse(body), stopPod: true }) : body;
      if (isEnd) state.isStopping = true;
      if (!(await postUntilTaken(call, urls.done(job.id), sealed))) log('ERROR', 'a result could not be delivered; giving it up');
      if (isEnd) state.poll?.destroy();
    }
    state.jobs = state.jobs.filter((other) => other !== held);
  })();
}

function runJob(job, { call, urls, config: { handler, isStream, aggregate }, signal }) {
  if (!isStream) return runHandler(handler, job, { signal });
  return runGenerator(handler, job, { aggregate, signal, send: (body) => postUntilTaken(call, urls.stream(job.id), body) });
}

/** Asks which jobs to stop, as long as the worker runs. */
async function listenForStops({ call, url, state }) {
  while (!state.isStopping) {
    const { status, text } = await call('GET', url.replace('/job-take/', '/job-stop/'), { limitMs: POLL_LIMIT_MS });
    const named = status === 200 ? readStops(text) : [];
    for (const { stop } of state.jobs.filter(({ id }) => named.includes(id))) stop();
    if (status !== 200) await pause(status === 429 ? 5_000 : 1_000);
  }
}

function readStops(text) {
  try {
    return JSON.parse(text).jobsToStop ?? [];
  } catch {
    return [];
  }
}

/** Posts the newest progress value of each job, one at a time and beside the handler. */
function createProgress(call, url) {
  const waiting = new Map();
  let sending;
  const send = async () => {
    for (let [next] = waiting; next; [next] = waiting) {
      const [id, value] = next;
      waiting.delete(id);
      await call('POST', url(id), { body: JSON.stringify({ status: 'IN_PROGRESS', output: value ?? null }), limitMs: 10_000 });
    }
    sending = undefined;
  };
  return {
    update: (id, value) => {
      waiting.set(id, value);
      sending ??= send().catch((error) => log('ERROR', `a progress value cannot be sent: ${error.message}`));
    },
    /** What waits of the job is forgotten, what is on its way arrives first. */
    settle: async (id) => {
      waiting.delete(id);
      await sending;
    },
  };
}

function parseJobs(text) {
  try {
    const found = JSON.parse(text);
    const jobs = Array.isArray(found) ? found : [found];
    if (jobs.every((job) => typeof job?.id === 'string' && 'input' in job)) return jobs;
  } catch {
    // Reported below, as any other answer that is no job.
  }
  log('ERROR', 'the server answered something that is no job');
  return [];
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
