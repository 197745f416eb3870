import { countPolicy } from './at-rest.js';
import type { EndpointSettings } from './endpoint.js';
import { decideThaws } from './frozen.js';
import { decideRest, decideScale, LOOK_MS } from './scale.js';

/** A request of a trace. Milliseconds; `at` counts from the beginning of the trace. */
export interface TracedRequest {
  readonly at: number;
  readonly runMs: number;
}

/** What is replayed, under which settings, and how fast workers are there. */
export interface SimulationPlan {
  /** In order of `at`. */
  readonly requests: readonly TracedRequest[];
  readonly policy: EndpointSettings['scale'];
  /** Workers that are there when it begins, idle. */
  readonly ready: number;
  readonly startMs: number;
  readonly thawMs: number;
  readonly stopMs: number;
  /** How long it goes on after the last request has come; a trace that is not served by then leaves requests. */
  readonly silenceMs: number;
}

/** The endpoint from `at` on, until the next sample. */
export interface SimulationSample {
  readonly at: number;
  readonly queued: number;
  /** Those that start, are awake, frozen or stopping. */
  readonly workers: number;
  readonly frozen: number;
}

export interface Simulation {
  readonly samples: readonly SimulationSample[];
  /** When workers were started. */
  readonly starts: readonly number[];
  readonly thaws: number;
  /** Of each request that got a worker, in that order. */
  readonly delaysMs: readonly number[];
  /** Requests whose worker became ready after they came. */
  readonly coldStarts: number;
  /** Requests that still waited or ran at the end. */
  readonly left: number;
  /** Workers that were stopped or frozen with a request; always 0. */
  readonly busyStops: number;
  /** Of all workers together, from their start until they were gone. */
  readonly awakeMs: number;
  readonly frozenMs: number;
}

interface SimulatedWorker {
  readonly id: string;
  readonly startedAt: number;
  readonly readyAt: number;
  /** It takes requests from then on: when it is ready, and again after each thaw. */
  openAt: number;
  busyUntil: number | null;
  idleSince: number | null;
  frozenAt: number | null;
  goneAt: number | null;
}

interface State {
  now: number;
  workers: SimulatedWorker[];
  /** When the waiting requests came, and how long they run. */
  readonly queue: TracedRequest[];
  /** When the next look is due; null while nothing is to be looked at. */
  lookAt: number | null;
  lookedAt: number;
  requestedAt: number;
  readonly samples: SimulationSample[];
  readonly starts: number[];
  readonly delaysMs: number[];
  thaws: number;
  coldStarts: number;
  busyStops: number;
  awakeMs: number;
  frozenMs: number;
}

/**
 * Replays requests on a simulated clock against the decisions that the control loop makes too. One request at a time and worker; no limit
 * of the host; a worker that waits longest takes the next request, as the server has it.
 */
export function simulateScale(plan: SimulationPlan): Simulation {
  const { requests, silenceMs } = plan;
  const end = (requests.at(-1)?.at ?? 0) + silenceMs;
  const state = createState(plan.ready);
  for (let next = 0; ; ) {
    const at = nextMoment(state, requests[next]?.at);
    if (at === undefined || at > end) break;
    state.now = at;
    leave(state);
    finish(state);
    for (let request = requests[next]; request && request.at <= at; request = requests[++next]) arrive(state, plan, request);
    assign(state);
    if (state.lookAt !== null && state.lookAt <= at) look(state, plan);
    record(state);
  }
  return summarize(state, end);
}

const NEW_WORKER = { startedAt: 0, readyAt: 0, openAt: 0, busyUntil: null, idleSince: null, frozenAt: null, goneAt: null };

function createState(ready: number): State {
  return {
    now: 0,
    workers: Array.from({ length: ready }, (_, place) => ({ ...NEW_WORKER, id: `r${place}`, idleSince: 0 })),
    queue: [],
    lookAt: 0,
    lookedAt: Number.NEGATIVE_INFINITY,
    requestedAt: 0,
    samples: [],
    starts: [],
    delaysMs: [],
    thaws: 0,
    coldStarts: 0,
    busyStops: 0,
    awakeMs: 0,
    frozenMs: 0,
  };
}

/** The next moment at which something happens. */
function nextMoment({ now, workers, lookAt }: State, arrivalAt: number | undefined): number | undefined {
  let next = Math.min(arrivalAt ?? Number.POSITIVE_INFINITY, lookAt ?? Number.POSITIVE_INFINITY);
  for (const { openAt, busyUntil, goneAt } of workers) {
    if (openAt > now) next = Math.min(next, openAt);
    if (busyUntil !== null) next = Math.min(next, busyUntil);
    if (goneAt !== null) next = Math.min(next, goneAt);
  }
  return next === Number.POSITIVE_INFINITY ? undefined : next;
}

/** Something happened: a look follows, but not too soon after the last one. */
function wake(state: State): void {
  const at = Math.max(state.now, state.lookedAt + LOOK_MS.pace);
  state.lookAt = Math.min(state.lookAt ?? at, at);
}

function leave(state: State): void {
  const isGone = ({ goneAt }: SimulatedWorker) => goneAt !== null && goneAt <= state.now;
  if (!state.workers.some(isGone)) return;
  for (const { startedAt, goneAt } of state.workers.filter(isGone)) state.awakeMs += (goneAt ?? 0) - startedAt;
  state.workers = state.workers.filter((worker) => !isGone(worker));
  wake(state);
}

/** Workers that became ready or finished a request are idle. */
function finish(state: State): void {
  for (const worker of state.workers) {
    const isDone = worker.busyUntil !== null && worker.busyUntil <= state.now;
    const isNew = worker.busyUntil === null && worker.idleSince === null && worker.frozenAt === null && worker.goneAt === null;
    if (!isDone && !(isNew && worker.readyAt <= state.now)) continue;
    worker.busyUntil = null;
    worker.idleSince = state.now;
    wake(state);
  }
}

function arrive(state: State, plan: SimulationPlan, request: TracedRequest): void {
  state.queue.push(request);
  state.requestedAt = state.now;
  const free = state.workers.filter((worker) => worker.goneAt === null && worker.idleSince !== null).length;
  if (free >= state.queue.length) return;
  // As the server does when a request comes and no worker waits.
  thaw(state, plan, 1);
  wake(state);
}

function assign(state: State): void {
  const open = state.workers
    .filter(({ goneAt, idleSince, openAt }) => goneAt === null && idleSince !== null && openAt <= state.now)
    .sort((a, b) => (a.idleSince ?? 0) - (b.idleSince ?? 0));
  for (const worker of open) {
    const request = state.queue.shift();
    if (!request) return;
    state.delaysMs.push(state.now - request.at);
    if (worker.readyAt > request.at) state.coldStarts++;
    worker.busyUntil = state.now + request.runMs;
    worker.idleSince = null;
  }
}

/** Wakes frozen workers, the last frozen first. */
function thaw(state: State, { thawMs }: SimulationPlan, count: number): void {
  const frozen = state.workers.filter(({ frozenAt, goneAt }) => frozenAt !== null && goneAt === null);
  for (const worker of frozen.sort((a, b) => (b.frozenAt ?? 0) - (a.frozenAt ?? 0)).slice(0, count)) {
    endFreeze(state, worker);
    worker.idleSince = state.now;
    worker.openAt = state.now + Math.max(1, thawMs);
    state.thaws++;
  }
}

function endFreeze(state: State, worker: SimulatedWorker): void {
  const frozenMs = state.now - (worker.frozenAt ?? state.now);
  state.frozenMs += frozenMs;
  state.awakeMs -= frozenMs;
  worker.frozenAt = null;
}

/** What the control loop does each time (engine/scaling). */
function look(state: State, plan: SimulationPlan): void {
  const { now, queue, requestedAt } = state;
  const { policy, startMs } = plan;
  state.lookedAt = now;
  const up = state.workers.filter(({ goneAt }) => goneAt === null);
  const idle = up.filter(({ idleSince }) => idleSince !== null);
  const frozen = up.filter(({ frozenAt }) => frozenAt !== null).length;
  const busy = up.filter(({ busyUntil }) => busyUntil !== null).length;
  const counted = countPolicy({ queued: queue.length, inProgress: busy, requestedAt }, policy, now);
  thaw(state, plan, decideThaws({ queued: queue.length, idle: idle.length, awake: up.length - frozen, frozen }, counted));
  const starting = up.filter(({ readyAt }) => readyAt > now).length;
  const decision = decideScale(
    {
      queued: queue.length,
      inProgress: busy,
      oldestQueuedAt: queue[0]?.at ?? null,
      starting,
      ready: up.length - starting,
      busy,
      workedAt: latest(idle.flatMap(({ idleSince, readyAt }) => (idleSince !== null && idleSince > readyAt ? [idleSince] : []))),
      stopping: state.workers.length - up.length,
      requestedAt,
    },
    policy,
    now,
  );
  for (let count = 0; count < decision.start; count++) start(state, startMs);
  rest(state, plan, { up, floor: decision.floor });
  const isActive = queue.length > 0 || policy.min > 0 || state.workers.some(({ frozenAt }) => frozenAt === null);
  state.lookAt = isActive ? now + LOOK_MS.tick : null;
}

function start(state: State, startMs: number): void {
  const { now, starts, workers } = state;
  const readyAt = now + Math.max(1, startMs);
  workers.push({ ...NEW_WORKER, id: `w${starts.length}`, startedAt: now, readyAt, openAt: readyAt });
  starts.push(now);
}

function rest(
  state: State,
  { policy, stopMs }: SimulationPlan,
  { up, floor }: { readonly up: readonly SimulatedWorker[]; readonly floor: number },
): void {
  const { now } = state;
  const after = policy.keep === 'none' ? ('stop' as const) : ('freeze' as const);
  const views = up.map(({ id, readyAt, idleSince, frozenAt }) => ({ id, isStarting: readyAt > now, idleSince, frozenAt, rest: after }));
  const decision = decideRest(views, { ...policy, min: floor }, now);
  for (const worker of up) {
    const isStopped = decision.stop.includes(worker.id);
    if (!isStopped && !decision.freeze.includes(worker.id)) continue;
    if (worker.busyUntil !== null) state.busyStops++;
    worker.idleSince = null;
    if (!isStopped) worker.frozenAt = now;
    else {
      endFreeze(state, worker);
      worker.goneAt = now + stopMs;
    }
  }
}

/** A new sample where something changed; of one moment the last. */
function record({ now, workers, queue, samples }: State): void {
  const frozen = workers.filter(({ frozenAt }) => frozenAt !== null).length;
  const sample = { at: now, queued: queue.length, workers: workers.length, frozen };
  const last = samples.at(-1);
  if (last?.queued === sample.queued && last.workers === sample.workers && last.frozen === frozen) return;
  if (last?.at === now) samples.pop();
  samples.push(sample);
}

function summarize(state: State, end: number): Simulation {
  const { samples, starts, delaysMs, thaws, coldStarts, busyStops, workers, queue } = state;
  state.now = end;
  for (const worker of workers) {
    endFreeze(state, worker);
    state.awakeMs += end - worker.startedAt;
  }
  const left = queue.length + workers.filter(({ busyUntil }) => busyUntil !== null).length;
  return { samples, starts, thaws, delaysMs, coldStarts, left, busyStops, awakeMs: state.awakeMs, frozenMs: state.frozenMs };
}

function latest(moments: readonly number[]): number | null {
  return moments.length === 0 ? null : Math.max(...moments);
}
