import type { Endpoint } from '../domain/endpoint.js';
import { decideThaws } from '../domain/frozen.js';
import { decideRest, decideScale, type IdleView } from '../domain/scale.js';
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
  if (endpoint.pausedReason === null) thawWorkers(core, { endpoint, up, queued: sample.queuedNormal });
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
  restWorkers(core, { endpoint, up });
}

type RestingView = { readonly endpoint: Endpoint; readonly up: readonly Worker[] };

/** A thawed worker is expected to ask for work within this time; then it does not count as one that takes the next job. */
const EXPECTED_MS = 1_000;

function thawWorkers(core: Core, { endpoint, up, queued }: RestingView & { readonly queued: number }): void {
  const now = core.clock.now();
  // What is being thawed may still be FROZEN in the store.
  const waitedMs = ({ id }: Worker) => now - (core.freezer.awaitedSince(id) ?? now);
  const isWaking = ({ id }: Worker) => core.freezer.awaitedSince(id) !== undefined;
  const frozen = up.filter((worker) => worker.state === 'FROZEN' && !isWaking(worker));
  const idle = up.filter((worker) => (worker.state === 'IDLE' || isWaking(worker)) && waitedMs(worker) < EXPECTED_MS);
  const count = decideThaws(
    { queued, idle: idle.length, awake: up.length - frozen.length, frozen: frozen.length },
    endpoint.settings.scale,
  );
  core.freezer.thaw(endpoint.id, count);
}

function restWorkers(core: Core, { endpoint, up }: RestingView): void {
  const now = core.clock.now();
  const policy = endpoint.settings.scale;
  const views = up.map((worker) => ({
    id: worker.id,
    isStarting: worker.state === 'INITIALIZING',
    idleSince: worker.state === 'IDLE' ? worker.idleSince : null,
    frozenAt: worker.state === 'FROZEN' ? worker.frozenAt : null,
    rest: restOf(core, worker, policy),
  }));
  const { stop, freeze } = decideRest(views, policy, now);
  const found = (ids: readonly string[]) => up.filter(({ id }) => ids.includes(id));
  for (const worker of found(stop))
    drain(core, worker, { reason: up.length > policy.max ? 'there are more than max' : 'it was idle long enough' });
  for (const worker of found(freeze)) core.freezer.freeze(worker);
}

/** A worker that asks for nothing for so long after its idle time is stopped instead of frozen: it might not ask after a thaw either. */
const SILENT_MS = 5_000;

/** Only one that waits for work is frozen: nothing of it is on its way then, in either direction. */
function restOf(core: Core, worker: Worker, { keep = 'freeze', idleMs }: Endpoint['settings']['scale']): IdleView['rest'] {
  if (keep === 'none' || !core.freezer.isAble(worker)) return 'stop';
  if (worker.state === 'FROZEN') return 'freeze';
  // It was thawed, and is judged by whether it asks.
  if (core.freezer.awaitedSince(worker.id) !== undefined) return 'wait';
  // It may still work on a job that was ended.
  if (core.stops.open.has(worker.id)) return 'stop';
  if (core.polls.isWaiting(worker.id)) return 'freeze';
  return core.clock.now() - (worker.idleSince ?? 0) < idleMs + SILENT_MS ? 'wait' : 'stop';
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
