// The worker side of the RunPod Serverless worker protocol.
import { createCaller, postUntilTaken } from './http.mjs';
import { createProgress } from './progress.mjs';
import { isGenerator, runGenerator, runHandler } from './results.mjs';

const POLL_LIMIT_MS = 90_000;
const GIVE_UP_MS = 300_000;
const FIRST_PING_MS = 200;

/** One for the process: a handler that is bundled may carry a copy of this module, and the entry another. */
const SHARED = Symbol.for('wherry.worker');
globalThis[SHARED] ??= { isStarted: false, checks: [], progress: new Map() };
const shared = globalThis[SHARED];

/** True once {@link start} was called: a handler file may do that itself. */
export function hasStarted() {
  return shared.isStarted;
}

/** A function (plain or async) that runs before the first job; when it throws, the worker says so and ends with code 1. */
export function registerFitnessCheck(check) {
  if (typeof check !== 'function') throw new TypeError('registerFitnessCheck(check): check is not a function');
  shared.checks.push(check);
  return check;
}

/** Shows a value as the job's `output` while it runs. Never fails the job and never comes after its result. */
export function progressUpdate(job, value) {
  try {
    shared.progress.get(job.id)?.update(value);
  } catch (error) {
    log('ERROR', `a progress value cannot be sent: ${error instanceof Error ? error.message : error}`);
  }
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
  if (!env.RUNPOD_WEBHOOK_GET_JOB || process.argv.some((argument) => argument.split('=')[0] === '--test_input'))
    return (await import('./local.mjs')).runOnce(handler);
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
  const state = { isStopping: false, jobs: [], given: [], poll: undefined, stops: undefined, failingSince: undefined };
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
  const pings = startPings({ url: urls.ping, env, state });
  await takeJobs({ call, urls, state, config, onAnswer: pings.begin });
  await Promise.all(state.jobs.map(({ done }) => done));
  pings.end();
  process.exit(0);
}

/** Pings: begun with the first answer, or when that takes long, so that they do not slow the first job. */
function startPings({ url, env, state }) {
  let begun;
  const open = async () => {
    if (!url) return () => {};
    const { startPinger } = await import('./ping.mjs');
    const intervalMs = Math.max(1_000, Number(env.RUNPOD_PING_INTERVAL) || 10_000);
    return startPinger({ url, key: env.RUNPOD_AI_API_KEY, intervalMs, state });
  };
  const begin = () => {
    clearTimeout(late);
    begun ??= open();
    return begun;
  };
  const late = setTimeout(begin, FIRST_PING_MS);
  return {
    begin,
    end: () => {
      clearTimeout(late);
      void begun?.then((stop) => stop());
    },
  };
}

async function takeJobs({ call, urls, state, config, onAnswer }) {
  let limit = 1;
  let failures = 0;
  for (;;) {
    for (const job of state.given.splice(0)) serveJob(job, { call, urls, state, config });
    if (state.isStopping) return;
    limit = readLimit(config.modifier, limit);
    const need = limit - state.jobs.length;
    if (need <= 0) {
      await Promise.race(state.jobs.map(({ done }) => done));
      continue;
    }
    const answer = await call('GET', pollUrl(urls.take, need, state), { limitMs: POLL_LIMIT_MS, onRequest: (poll) => (state.poll = poll) });
    await onAnswer();
    if (answer.status === 200 || answer.status === 204) {
      state.failingSince = undefined;
      failures = 0;
    } else if (!state.isStopping) {
      // From the first failure on: time in which this process was suspended says nothing about the server.
      state.failingSince ??= Date.now();
      if (Date.now() - state.failingSince > GIVE_UP_MS) fail(`no answer from the server for ${GIVE_UP_MS / 1000} s`);
      await pause(answer.status === 429 ? 5_000 : waitAfter(failures++));
    }
    for (const job of answer.status === 200 ? parseJobs(answer.text) : []) serveJob(job, { call, urls, state, config });
  }
}

/** The first time not at all: a connection that was kept may have ended while this process was suspended. */
function waitAfter(failures) {
  return failures === 0 ? 0 : Math.min(2_000, 50 * 2 ** failures) * (0.5 + Math.random() / 2);
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
function serveJob(job, desk) {
  const { call, urls, state, config } = desk;
  const held = new HeldJob(job, desk);
  // Before it runs: a handler that blocks would keep the pings from naming it.
  state.jobs = [...state.jobs, held];
  const progress = createProgress(call, urls.progress(job.id));
  shared.progress.set(job.id, progress);
  held.done = (async () => {
    const { body, isLast } = await runJob(job, { call, urls, config, context: held.context });
    await progress.settle();
    if (!held.isStopped) {
      const isEnd = isLast || config.refresh;
      const sealed = isEnd && !isLast ? JSON.stringify({ ...JSON.parse(body), stopPod: true }) : body;
      if (isEnd) {
        // Before the result: a job that comes meanwhile would be run here although the worker is used up.
        state.isStopping = true;
        state.poll?.destroy();
      }
      await deliver(held, sealed, desk);
    }
    shared.progress.delete(job.id);
    state.jobs = state.jobs.filter((other) => other !== held);
  })();
}

/**
 * Posts a result. A worker that serves one job at a time asks for the next one with it, which spares a request: the head of the answer
 * says that the result is taken, its body, when there is one, is the next job (ADR 11; another server answers something that is no job).
 */
async function deliver(held, body, { call, urls, state, config }) {
  const asksNext = () => !state.isStopping && !config.modifier;
  const url = () => urls.done(held.id) + (asksNext() ? '&next=1' : '');
  const { status, text } = await postUntilTaken(call, url, body, {
    onRequest: (request) => {
      if (asksNext()) state.poll = request;
    },
    onHead: (head) => {
      // Pings name what runs: what is left is the wait for the next job.
      if (head === 200) state.jobs = state.jobs.filter((other) => other !== held);
    },
  });
  if (status === 0) return log('ERROR', 'a result could not be delivered; giving it up');
  state.failingSince = undefined;
  if (text.includes('"input"')) state.given.push(...parseJobs(text));
}

/**
 * A job in this worker's hands. Only one whose handler looked at the signal can be stopped: then the stop channel opens, and
 * until then the server, hearing nobody there, ends the worker instead.
 */
class HeldJob {
  isStopped = false;
  done;
  #controller;

  constructor({ id }, desk) {
    this.id = id;
    this.context = new Context(() => this.#listen(desk));
  }

  stop() {
    if (!this.#controller || this.isStopped) return false;
    this.isStopped = true;
    this.#controller.abort(new Error('the job was stopped'));
    return true;
  }

  #listen({ call, urls, state }) {
    this.#controller ??= new AbortController();
    state.stops ??= openStops({ call, urls, state });
    return this.#controller.signal;
  }
}

/** What a handler gets beside its job. A class: a getter in an object literal costs a hidden class of each object. */
class Context {
  #listen;

  constructor(listen) {
    this.#listen = listen;
  }

  get signal() {
    return this.#listen();
  }
}

async function openStops({ call, urls, state }) {
  if (!urls.take.includes('/job-take/')) return;
  const { listenForStops } = await import('./stops.mjs');
  const stop = (id) => state.jobs.find((held) => held.id === id)?.stop() ?? false;
  await listenForStops({ call, url: urls.take.replace('/job-take/', '/job-stop/'), stop });
}

function runJob(job, { call, urls, config: { handler, isStream, aggregate }, context }) {
  if (!isStream) return runHandler(handler, job, context);
  let sent = 0;
  const send = async (body) => {
    // Its number lets a chunk whose answer was lost be posted again without being there twice.
    const url = `${urls.stream(job.id)}&chunk=${++sent}`;
    const { status } = await postUntilTaken(call, () => url, body);
    // A chunk that is not taken ends the stream: it would have a gap.
    if (status < 200 || status >= 300) throw new Error(`the server did not take a chunk (${status || 'no answer'})`);
  };
  return runGenerator(handler, job, { aggregate, context, send });
}

function parseJobs(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    // Reported below, as any other answer that is no job.
  }
  const named = Array.isArray(found) ? found : [found];
  const jobs = named.filter((job) => typeof job?.id === 'string' && 'input' in job);
  if (jobs.length < named.length) log('ERROR', 'the server answered something that is no job');
  return jobs;
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
