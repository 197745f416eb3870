import { describeRest } from '../domain/at-rest.js';
import type { CrashLoop } from '../domain/crashes.js';
import type { Endpoint } from '../domain/endpoint.js';
import { totalFrozen } from '../domain/frozen.js';
import { describeHealth } from '../domain/health.js';
import { servingReleases } from '../domain/release.js';
import { WORKER_STATES, type Worker, type WorkerState } from '../domain/worker.js';
import type { QueueSample } from '../store/store.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import type { EndpointFigures, EndpointSummary } from './reports.js';
import { countScale, lastRequestAt } from './requests.js';
import { findMovingRollout } from './rollout.js';

/** Every endpoint. */
export async function measureEndpoints(core: Core, backoff: Backoff): Promise<readonly EndpointFigures[]> {
  const [endpoints, live, stopped] = await Promise.all([
    core.store.listEndpoints(),
    core.store.listWorkers(undefined),
    core.store.countStopped(),
  ]);
  const byEndpoint = new Map<string, Worker[]>();
  for (const worker of live) byEndpoint.set(worker.endpointId, [...(byEndpoint.get(worker.endpointId) ?? []), worker]);
  return Promise.all(
    endpoints.map((endpoint) =>
      measureEndpoint(core, backoff, { endpoint, live: byEndpoint.get(endpoint.id) ?? [], stopped: stopped.get(endpoint.id) ?? 0 }),
    ),
  );
}

interface Measured {
  readonly endpoint: Endpoint;
  readonly live: readonly Worker[];
  /** How many are kept of those that stopped. */
  readonly stopped: number;
}

/** One endpoint in numbers. */
export async function measureEndpoint(core: Core, backoff: Backoff, { endpoint, live, stopped }: Measured): Promise<EndpointFigures> {
  const { id, activeRelease } = endpoint;
  const [queue, rollout] = await Promise.all([core.store.sampleQueue(id), findMovingRollout(core, id, live)]);
  const serving = servingReleases(activeRelease, rollout);
  return {
    endpoint,
    queue,
    rollout,
    workers: { ...countStates(live), STOPPED: stopped },
    outdated: live.filter(({ release, isCandidate }) => !isCandidate && !serving.has(release)).length,
    frozen: totalFrozen(live),
    crashLoop: crashLoopOf(backoff, endpoint),
    rest: restOf(core, endpoint, queue),
  };
}

/** Of the release that serves; null while no worker of it ended in vain since its last success. */
function crashLoopOf(backoff: Backoff, { id, activeRelease }: Endpoint): CrashLoop | null {
  const loop = activeRelease === null ? undefined : backoff.loopOf({ endpointId: id, release: activeRelease });
  return loop && loop.crashes > 0 ? loop : null;
}

/** Of an endpoint whose min does not count; null for others. */
function restOf(core: Core, endpoint: Endpoint, queue: QueueSample): string | null {
  const { scale } = endpoint.settings;
  if (scale.min === 0 || countScale(core, endpoint, queue) === scale) return null;
  return describeRest(scale, { requestedAt: lastRequestAt(core, endpoint, queue.inQueue) }, core.clock.now());
}

function countStates(workers: readonly Pick<Worker, 'state'>[]): Record<WorkerState, number> {
  const counts = Object.fromEntries(WORKER_STATES.map((state) => [state, 0])) as Record<WorkerState, number>;
  for (const { state } of workers) counts[state]++;
  return counts;
}

/** Each endpoint in a sentence, by its id. */
export async function summarizeEndpoints(core: Core, backoff: Backoff): Promise<ReadonlyMap<string, EndpointSummary>> {
  const figures = await measureEndpoints(core, backoff);
  return new Map(
    figures.map((one) => [one.endpoint.id, { text: describeFigures(one, core.clock.now()), frozen: one.frozen, rollout: one.rollout }]),
  );
}

/** Its health in one sentence. */
export function describeFigures({ queue: { inQueue, oldestAt }, ...figures }: EndpointFigures, now: number): string {
  return describeHealth({ ...figures, inQueue, oldestAt }, now);
}
