import { setTimeout as delay } from 'node:timers/promises';
import { isExpired } from '../domain/endpoint.js';
import { LOOK_MS } from '../domain/scale.js';
import type { Worker } from '../domain/worker.js';
import type { FleetView } from '../store/store.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { stopLost } from './lost-workers.js';
import { endOverdueHold } from './rollout.js';
import { replaceUseless, scaleEndpoint } from './scaling.js';
import { startCandidate, startForPinned, stopOutdated } from './turnover.js';

/** Wakes that come closer than `pace` share one look: a flood of requests must not be a flood of looks. */
const { pace: PACE_MS, tick: TICK_MS } = LOOK_MS;

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
  if (!found || core.removals.has(endpointId) || isExpired(found.endpoint, core.clock.now())) return false;
  await stopLost(core, found.workers, core.clock.now());
  if (found.rollout) await endOverdueHold(core, found.rollout);
  const view = (await core.store.viewFleet(endpointId)) ?? found;
  const { endpoint, workers, rollout, pinned } = view;
  if (rollout || pinned.length > 0) core.split.add(endpointId);
  else core.split.delete(endpointId);
  await retryCandidates(core, view);
  if (rollout) await startCandidate(core, view, rollout);
  await startForPinned(core, view, backoff);
  stopOutdated(core, view);
  await scaleEndpoint(core, view, backoff);
  const { inQueue } = await core.store.sampleQueue(endpointId);
  // A net below the wake-ups: a queued job and a worker that waits do not stay apart for longer than a tick.
  if (inQueue > 0) {
    const isServing = ({ release, isCandidate }: Worker) => isCandidate || release === endpoint.activeRelease || release === rollout?.to;
    await replaceUseless(core, workers.filter(isServing));
    core.polls.wake(endpointId);
  }
  // Frozen ones need no looks: what changes them wakes.
  return workers.some(({ state }) => state !== 'FROZEN') || inQueue > 0 || rollout !== undefined || endpoint.settings.scale.min > 0;
}

/** Candidates wait for room on the host as others do. */
async function retryCandidates(core: Core, { endpoint: { id: endpointId, settings }, workers }: FleetView): Promise<void> {
  if (settings.scale.max === 0) return;
  const throttled = workers.filter(({ state, isCandidate }) => state === 'THROTTLED' && isCandidate);
  if (throttled.length === 0) return;
  const started = await core.places.retry(throttled);
  if (started.length < throttled.length) await core.host.makeRoom(endpointId);
}
