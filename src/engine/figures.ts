import type { Endpoint } from '../domain/endpoint.js';
import { describeHealth } from '../domain/health.js';
import { WORKER_STATES, type Worker, type WorkerState } from '../domain/worker.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import type { EndpointFigures } from './reports.js';
import { findOpenRollout } from './rollout.js';

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
    endpoints.map(async (endpoint) => ({
      endpoint,
      queue: await core.store.sampleQueue(endpoint.id),
      crashLoop: backoff.loopOf(endpoint.id),
      ...countWorkers(endpoint, byEndpoint.get(endpoint.id) ?? [], stopped.get(endpoint.id) ?? 0),
    })),
  );
}

function countWorkers({ activeRelease }: Endpoint, live: readonly Worker[], stopped: number) {
  const workers = countStates(live);
  const outdated = live.filter(({ release, isCandidate }) => !isCandidate && release !== activeRelease).length;
  const frozenBytes = live.reduce((sum, { state, memoryBytes }) => sum + (state === 'FROZEN' ? (memoryBytes ?? 0) : 0), 0);
  return { workers: { ...workers, STOPPED: stopped }, outdated, frozenBytes };
}

/** How many workers are in each state. */
export function countStates(workers: readonly Pick<Worker, 'state'>[]): Record<WorkerState, number> {
  const counts = Object.fromEntries(WORKER_STATES.map((state) => [state, 0])) as Record<WorkerState, number>;
  for (const { state } of workers) counts[state]++;
  return counts;
}

/** One sentence about each endpoint, by its id. */
export async function summarizeEndpoints(core: Core, backoff: Backoff): Promise<ReadonlyMap<string, string>> {
  const now = core.clock.now();
  const figures = await measureEndpoints(core, backoff);
  const summaries = figures.map(async ({ endpoint, workers, queue, crashLoop }): Promise<[string, string]> => {
    const rollout = await findOpenRollout(core, endpoint.id);
    return [endpoint.id, describeHealth({ endpoint, workers, inQueue: queue.inQueue, oldestAt: queue.oldestAt, crashLoop, rollout }, now)];
  });
  return new Map(await Promise.all(summaries));
}
