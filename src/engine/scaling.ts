import type { Endpoint } from '../domain/endpoint.js';
import { decideScale, decideStops } from '../domain/scale.js';
import type { Worker } from '../domain/worker.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { drain } from './drain.js';

type ScaleView = {
  readonly endpoint: Endpoint;
  readonly serving: readonly Worker[];
  readonly workers: readonly Worker[];
  readonly backoff: Backoff;
};

/** Starts and stops workers of the release that serves, as the scaler decides. */
export async function scaleEndpoint(core: Core, { endpoint, serving, workers, backoff }: ScaleView): Promise<void> {
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
export async function replaceUseless(core: Core, serving: readonly Worker[]): Promise<void> {
  for (const worker of serving.filter(({ id, state }) => state === 'IDLE' && core.polls.isWaiting(id))) {
    const { id, endpointId } = worker;
    const [untried] = await core.store.listJobs({ endpointId, states: ['IN_QUEUE'], untriedBy: id, limit: 1 });
    const now = await core.store.getWorker(id);
    if (!untried && now?.state === 'IDLE' && (await core.store.sampleQueue(endpointId)).inQueue > 0)
      drain(core, worker, { reason: 'it had every job that waits before' });
  }
}
