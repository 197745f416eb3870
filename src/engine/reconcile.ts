import { setTimeout as delay } from 'node:timers/promises';
import type { Endpoint } from '../domain/endpoint.js';
import type { Rollout } from '../domain/release.js';
import { decideScale, decideStops } from '../domain/scale.js';
import type { Worker } from '../domain/worker.js';
import type { FleetView } from '../store/store.js';
import type { Backoff } from './backoff.js';
import { type Core, LEASE_MS } from './core.js';

/** Wakes that come closer than this share one look: a flood of requests must not be a flood of looks. */
const PACE_MS = 20;
/** Between looks at an endpoint that has workers, jobs or a rollout. */
const TICK_MS = 500;

export interface Reconciler {
  wake(endpointId: string): void;
  /** Resolves when no look at the endpoint is under way. */
  settle(endpointId: string): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Keeps the workers of each endpoint what they should be: one look at a time an endpoint, at each wake and each tick. */
export function createReconciler(core: () => Core, backoff: Backoff): Reconciler {
  const running = new Map<string, Promise<void>>();
  const again = new Set<string>();
  const active = new Set<string>();
  let timer: NodeJS.Timeout | undefined;

  const look = async (endpointId: string): Promise<void> => {
    do {
      again.delete(endpointId);
      const isActive = await reconcile(core(), backoff, endpointId).catch((cause: unknown) => {
        core().log.error({ err: cause, endpointId }, 'an endpoint could not be reconciled');
        return true;
      });
      if (isActive) active.add(endpointId);
      else active.delete(endpointId);
      await delay(PACE_MS);
    } while (again.has(endpointId));
  };
  const wake = (endpointId: string) => {
    if (timer === undefined) return;
    again.add(endpointId);
    if (running.has(endpointId)) return;
    running.set(
      endpointId,
      look(endpointId).finally(() => running.delete(endpointId)),
    );
  };

  return {
    wake,
    settle: async (endpointId) => running.get(endpointId),
    async start() {
      timer = setInterval(() => active.forEach(wake), TICK_MS);
      for (const { id } of await core().store.listEndpoints()) wake(id);
    },
    async stop() {
      clearInterval(timer);
      timer = undefined;
      again.clear();
      await Promise.all(running.values());
    },
  };
}

/** One look. True when the endpoint needs another soon. */
async function reconcile(core: Core, backoff: Backoff, endpointId: string): Promise<boolean> {
  const found = await core.store.viewFleet(endpointId);
  if (!found || core.removals.has(endpointId)) return false;
  await stopLost(core, found.workers, core.clock.now());
  const { endpoint, workers, rollout } = (await core.store.viewFleet(endpointId)) ?? found;
  if (rollout) await startCandidate(core, { endpoint, rollout, workers });
  const serving = workers.filter(({ release, isCandidate }) => release === endpoint.activeRelease && !isCandidate);
  stopOutdated(core, { endpoint, rollout, workers });
  if (endpoint.activeRelease !== null) await scale(core, { endpoint, serving, workers, backoff });
  const { inQueue } = await core.store.sampleQueue(endpointId);
  // A net below the wake-ups: a queued job and a worker that waits do not stay apart for longer than a tick.
  if (inQueue > 0) {
    await replaceUseless(core, serving);
    core.polls.wake(endpointId);
  }
  return workers.length > 0 || inQueue > 0 || rollout !== undefined || endpoint.settings.scale.min > 0;
}

/** One worker of the new release, above max; it proves the release by asking for work. Not while max is 0. */
async function startCandidate(core: Core, { endpoint, rollout, workers }: FleetView & { rollout: Rollout }): Promise<void> {
  const isThere = workers.some(({ release, isCandidate }) => release === rollout.to && isCandidate);
  if (isThere || endpoint.settings.scale.max === 0) return;
  await core.fleet.start(endpoint.id, rollout.to, { isCandidate: true });
}

/** Workers of releases that do not serve: idle ones go at once, busy ones finish their job. */
function stopOutdated(core: Core, { endpoint, rollout, workers }: FleetView): void {
  for (const worker of workers) {
    const isWanted = worker.release === endpoint.activeRelease || (worker.isCandidate && worker.release === rollout?.to);
    if (isWanted || worker.state === 'DRAINING') continue;
    drain(core, worker, { reason: 'its release does not serve any more' });
  }
}

type ScaleView = {
  readonly endpoint: Endpoint;
  readonly serving: readonly Worker[];
  readonly workers: readonly Worker[];
  readonly backoff: Backoff;
};

async function scale(core: Core, { endpoint, serving, workers, backoff }: ScaleView): Promise<void> {
  const now = core.clock.now();
  const policy = endpoint.settings.scale;
  const sample = await core.store.sampleQueue(endpoint.id);
  const up = serving.filter(({ state }) => state !== 'DRAINING' && state !== 'UNHEALTHY');
  const starting = up.filter(({ state }) => state === 'INITIALIZING').length;
  const decision = decideScale(
    {
      queued: sample.queuedNormal,
      inProgress: sample.inProgress,
      oldestQueuedAt: sample.oldestQueuedAt,
      starting,
      ready: up.length - starting,
      stopping: workers.filter(({ isCandidate }) => !isCandidate).length - up.length,
    },
    policy,
    now,
  );
  const mayStart = endpoint.pausedReason === null && now >= backoff.nextStartAt(endpoint.id) && endpoint.activeRelease !== null;
  for (let count = 0; mayStart && count < decision.start; count++) {
    core.log.debug({ endpointId: endpoint.id, wanted: decision.wanted, reason: decision.reason }, 'starting a worker');
    await core.fleet.start(endpoint.id, endpoint.activeRelease ?? 0, { isCandidate: false });
  }
  const views = up.map(({ id, state, idleSince }) => ({
    id,
    isStarting: state === 'INITIALIZING',
    idleSince: state === 'IDLE' ? idleSince : null,
  }));
  for (const id of decideStops(views, policy, now)) {
    const worker = up.find((candidate) => candidate.id === id);
    if (worker) drain(core, worker, { reason: up.length > policy.max ? 'there are more than max' : 'it was idle long enough' });
  }
}

/** A worker that had every job that waits may have none of them again: another one has to take its place. */
async function replaceUseless(core: Core, serving: readonly Worker[]): Promise<void> {
  for (const worker of serving.filter(({ id, state }) => state === 'IDLE' && core.polls.isWaiting(id))) {
    const { id, endpointId } = worker;
    const [untried] = await core.store.listJobs({ endpointId, states: ['IN_QUEUE'], untriedBy: id, limit: 1 });
    const now = await core.store.getWorker(id);
    if (!untried && now?.state === 'IDLE' && (await core.store.sampleQueue(endpointId)).inQueue > 0)
      drain(core, worker, { reason: 'it had every job that waits before' });
  }
}

/** Workers that did not become ready in time, or were not heard of for a lease; and those whose stop failed, which is tried again. */
async function stopLost(core: Core, workers: readonly Worker[], now: number): Promise<void> {
  for (const worker of workers) {
    const isHalfStopped = worker.state === 'DRAINING' || worker.state === 'UNHEALTHY';
    if (isHalfStopped && !core.fleet.isStopping(worker.id)) {
      drain(core, worker, { reason: worker.reason ?? 'it was stopping', ...(worker.state === 'UNHEALTHY' && { graceMs: 0 }) });
    }
    const reason = await judgeLost(core, worker, now);
    if (reason === undefined) continue;
    await core.store.changeWorker({ id: worker.id, state: 'UNHEALTHY', reason });
    drain(core, worker, { reason, graceMs: 0 });
  }
}

async function judgeLost(core: Core, worker: Worker, now: number): Promise<string | undefined> {
  if (worker.state === 'INITIALIZING') {
    const release = await core.store.getRelease(worker.endpointId, worker.release);
    const limitMs = release?.spec.initTimeoutMs ?? 420_000;
    return now - worker.createdAt > limitMs ? `not ready within ${limitMs / 1000} s (limits.init)` : undefined;
  }
  const isHeard = worker.state === 'IDLE' || worker.state === 'RUNNING';
  const seenAt = Math.max(core.seen.get(worker.id) ?? 0, worker.lastSeenAt ?? worker.createdAt, core.startedAt);
  if (!isHeard || core.polls.isWaiting(worker.id) || now - seenAt <= LEASE_MS) return undefined;
  return `not heard of for ${Math.round((now - seenAt) / 1000)} s`;
}

/** Not waited for: the exit comes back as an event. */
function drain(core: Core, worker: Worker, options: { readonly reason: string; readonly graceMs?: number }): void {
  core.fleet.drain(worker.id, options).catch((cause: unknown) => {
    core.log.error({ err: cause, workerId: worker.id }, 'a worker could not be stopped');
  });
}
