import type { Endpoint, EndpointSettings } from '../domain/endpoint.js';
import { decideThaws } from '../domain/frozen.js';
import { placesHeld, scaleOfCanary, scaleOfStable } from '../domain/lane.js';
import { decideRest, decideScale, type IdleView, type ScaleDecision } from '../domain/scale.js';
import type { Worker } from '../domain/worker.js';
import type { FleetView } from '../store/store.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { drain } from './drain.js';

/** The workers of one release that gets jobs, with its part of the endpoint's scale. */
interface Lane {
  readonly endpoint: Endpoint;
  readonly release: number;
  readonly policy: EndpointSettings['scale'];
  /** Of the release, those that stop too. */
  readonly workers: readonly Worker[];
  /** Places that workers hold which are none of the release's own. */
  readonly held: number;
  /** The whole queue is the release's. */
  readonly isWhole: boolean;
}

/** Starts and stops workers of the releases that serve, as the scaler decides. */
export async function scaleEndpoint(core: Core, { endpoint, workers, rollout, pinned }: FleetView, backoff: Backoff): Promise<void> {
  const { activeRelease, settings } = endpoint;
  if (activeRelease === null) return;
  const counted = workers.filter(({ isCandidate }) => !isCandidate);
  const active = counted.filter(({ release }) => release === activeRelease);
  if (rollout?.state !== 'CANARY') {
    const isWhole = pinned.length === 0;
    const held = counted.length - active.length;
    await scaleLane(core, { endpoint, release: activeRelease, policy: settings.scale, workers: active, held, isWhole }, backoff);
    return;
  }
  const { to, share } = rollout;
  const canary = counted.filter(({ release }) => release === to);
  const policy = scaleOfCanary(settings.scale, share);
  const places = { max: settings.scale.max, canaryMax: policy.max };
  const held = placesHeld(places, { others: counted.length - canary.length, canary: canary.length });
  const wanted = await scaleLane(core, { endpoint, release: to, policy, workers: canary, held, isWhole: false }, backoff);
  const rest = scaleOfStable(settings.scale, { min: policy.min, workers: Math.max(wanted, canary.length) });
  const others = counted.length - canary.length - active.length;
  await scaleLane(core, { endpoint, release: activeRelease, policy: rest, workers: active, held: others, isWhole: false }, backoff);
  if (wanted > canary.length) makeRoom(core, active, rest.max);
}

/** The canary waits for places: workers at work give them up after their job, idle ones went already. */
function makeRoom(core: Core, workers: readonly Worker[], max: number): void {
  const busy = workers.filter(({ state }) => state === 'RUNNING');
  const staying = workers.filter(({ state }) => state !== 'DRAINING' && state !== 'UNHEALTHY').length;
  for (const worker of busy.slice(0, Math.max(0, staying - max))) drain(core, worker, { reason: 'its place is for the canary' });
}

/** Gives how many workers the lane wants. */
async function scaleLane(core: Core, lane: Lane, backoff: Backoff): Promise<number> {
  const { endpoint, release, policy, workers, held, isWhole } = lane;
  const now = core.clock.now();
  const sample = await core.store.sampleQueue(endpoint.id, isWhole ? undefined : release);
  const up = workers.filter(({ state }) => state !== 'DRAINING' && state !== 'UNHEALTHY');
  const resting = { endpointId: endpoint.id, release, policy, up };
  if (endpoint.pausedReason === null) thawWorkers(core, resting, sample.queuedNormal);
  const starting = up.filter(({ state }) => state === 'INITIALIZING').length;
  const decision = decideScale(
    {
      queued: sample.queuedNormal,
      inProgress: sample.inProgress,
      oldestQueuedAt: sample.oldestQueuedAt,
      starting,
      ready: up.length - starting,
      stopping: workers.length - up.length + held,
    },
    policy,
    now,
  );
  const mayStart = endpoint.pausedReason === null && now >= backoff.nextStartAt({ endpointId: endpoint.id, release });
  if (mayStart) await startWorkers(core, lane, decision);
  restWorkers(core, resting);
  return decision.wanted;
}

/** Workers of one release that are up, and its part of the scale. */
interface Resting extends Pick<Lane, 'release' | 'policy'> {
  readonly endpointId: string;
  readonly up: readonly Worker[];
}

/** A thawed worker is expected to ask for work within this time; then it does not count as one that takes the next job. */
const EXPECTED_MS = 1_000;

function thawWorkers(core: Core, { endpointId, release, policy, up }: Resting, queued: number): void {
  const now = core.clock.now();
  // What is being thawed may still be FROZEN in the store.
  const waitedMs = ({ id }: Worker) => now - (core.freezer.awaitedSince(id) ?? now);
  const isWaking = ({ id }: Worker) => core.freezer.awaitedSince(id) !== undefined;
  const frozen = up.filter((worker) => worker.state === 'FROZEN' && !isWaking(worker));
  const idle = up.filter((worker) => (worker.state === 'IDLE' || isWaking(worker)) && waitedMs(worker) < EXPECTED_MS);
  const count = decideThaws({ queued, idle: idle.length, awake: up.length - frozen.length, frozen: frozen.length }, policy);
  core.freezer.thaw({ endpointId, release }, count);
}

function restWorkers(core: Core, { policy, up }: Resting): void {
  const now = core.clock.now();
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

async function startWorkers(core: Core, { endpoint, release }: Lane, { start, wanted, reason }: ScaleDecision): Promise<void> {
  for (let count = 0; count < start; count++) {
    core.log.debug({ endpointId: endpoint.id, release, wanted, reason }, 'starting a worker');
    await core.fleet.start(endpoint.id, release, { isCandidate: false });
  }
}

/** A worker that had every job that waits for it may have none of them again: another one has to take its place. */
export async function replaceUseless(core: Core, workers: readonly Worker[]): Promise<void> {
  for (const worker of workers.filter(({ id, state }) => state === 'IDLE' && core.polls.isWaiting(id))) {
    const { id, endpointId, release } = worker;
    const [claimable] = await core.store.listJobs({ endpointId, claimableBy: worker, limit: 1 });
    const now = await core.store.getWorker(id);
    if (!claimable && now?.state === 'IDLE' && (await core.store.sampleQueue(endpointId, release)).inQueue > 0)
      drain(core, worker, { reason: 'it had every job that waits before' });
  }
}
