import { countPolicy } from '../domain/at-rest.js';
import type { Endpoint, EndpointSettings } from '../domain/endpoint.js';
import { placesHeld, scaleOfCanary, scaleOfStable } from '../domain/lane.js';
import { decideScale, type ScaleDecision, type ScaleSample } from '../domain/scale.js';
import type { Worker } from '../domain/worker.js';
import type { FleetView } from '../store/store.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { drain } from './drain.js';
import { lastRequestAt } from './requests.js';
import { type RestingFleet, restWorkers, thawWorkers } from './resting.js';

/** The workers of one release that gets jobs, with its part of the endpoint's scale. */
interface Lane {
  readonly endpoint: Endpoint;
  readonly release: number;
  readonly policy: EndpointSettings['scale'];
  /** Of the release, those that stop too, without the throttled ones. */
  readonly workers: readonly Worker[];
  /** Wanted from before, without room on the host. */
  readonly throttled: readonly Worker[];
  /** Places that workers hold which are none of the release's own. */
  readonly held: number;
  /** The whole queue is the release's. */
  readonly isWhole: boolean;
}

/** Starts and stops workers of the releases that serve, as the scaler decides. */
export async function scaleEndpoint(core: Core, { endpoint, workers, rollout, pinned }: FleetView, backoff: Backoff): Promise<void> {
  const { activeRelease, settings } = endpoint;
  if (activeRelease === null) return;
  const waits = ({ state }: Worker) => state === 'THROTTLED';
  const counted = workers.filter((worker) => !worker.isCandidate && !waits(worker));
  const laneOf = (number: number) => ({
    endpoint,
    release: number,
    workers: counted.filter(({ release }) => release === number),
    throttled: workers.filter((worker) => worker.release === number && !worker.isCandidate && waits(worker)),
  });
  const active = laneOf(activeRelease);
  if (rollout?.state !== 'CANARY') {
    const isWhole = pinned.length === 0;
    const held = counted.length - active.workers.length;
    await scaleLane(core, { ...active, policy: settings.scale, held, isWhole }, backoff);
    return;
  }
  const { to, share } = rollout;
  const canary = laneOf(to);
  const count = canary.workers.length;
  const policy = scaleOfCanary(settings.scale, share);
  const places = { max: settings.scale.max, canaryMax: policy.max };
  const held = placesHeld(places, { others: counted.length - count, canary: count });
  const wanted = await scaleLane(core, { ...canary, policy, held, isWhole: false }, backoff);
  const rest = scaleOfStable(settings.scale, { min: policy.min, workers: Math.max(wanted, count) });
  const others = counted.length - count - active.workers.length;
  await scaleLane(core, { ...active, policy: rest, held: others, isWhole: false }, backoff);
  if (wanted > count) makeRoom(core, active.workers, rest.max);
}

/** The canary waits for places: workers at work give them up after their job, idle ones went already. */
function makeRoom(core: Core, workers: readonly Worker[], max: number): void {
  const busy = workers.filter(({ state }) => state === 'RUNNING');
  const staying = workers.filter(({ state }) => state !== 'DRAINING' && state !== 'UNHEALTHY').length;
  for (const worker of busy.slice(0, Math.max(0, staying - max))) drain(core, worker, { reason: 'its place is for the canary' });
}

/** Gives how many workers the lane wants. */
async function scaleLane(core: Core, lane: Lane, backoff: Backoff): Promise<number> {
  const { endpoint, release, policy, workers, throttled } = lane;
  const now = core.clock.now();
  const up = workers.filter(({ state }) => state !== 'DRAINING' && state !== 'UNHEALTHY');
  const sample = await sampleLane(core, lane, up);
  const fleet = { endpointId: endpoint.id, release, policy: countPolicy(sample, policy, now), up };
  if (endpoint.pausedReason === null) thawWorkers(core, fleet, sample.queued);
  const decision = decideScale(sample, policy, now);
  const hold = holdOf(endpoint, now < backoff.nextStartAt({ endpointId: endpoint.id, release }));
  const places = hold === null ? splitStarts(decision, up.length) : { count: 0, extra: 0 };
  const found = await core.places.fill({ endpointId: endpoint.id, release, throttled, idleMs: policy.idleMs, ...places });
  const rest = restWorkers(core, fleet, decision.floor);
  const { wanted, needed, rule, reason, start } = decision;
  core.decisions.note(endpoint.id, {
    at: now,
    release,
    policy,
    sample: { ...sample, frozen: countFrozen(fleet), throttled: throttled.length },
    wanted,
    needed,
    rule,
    reason,
    hold: start > 0 ? hold : null,
    actions: { ...found, ...rest, thaw: core.freezer.takeThawed(fleet) },
  });
  return wanted;
}

async function sampleLane(core: Core, { endpoint, release, isWhole, workers, held }: Lane, up: readonly Worker[]): Promise<ScaleSample> {
  const { queuedNormal, inQueue, inProgress, oldestQueuedAt } = await core.store.sampleQueue(endpoint.id, isWhole ? undefined : release);
  const starting = up.filter(({ state }) => state === 'INITIALIZING').length;
  const busy = up.filter(({ state }) => state === 'RUNNING').length;
  const worked = up.flatMap(({ state, idleSince, readyAt }) => {
    const isAfterWork = state === 'IDLE' && idleSince !== null && idleSince > (readyAt ?? idleSince);
    return isAfterWork ? [idleSince] : [];
  });
  const workedAt = worked.length === 0 ? null : Math.max(...worked);
  const stopping = workers.length - up.length + held;
  const requestedAt = lastRequestAt(core, endpoint, inQueue);
  return { queued: queuedNormal, inProgress, oldestQueuedAt, starting, ready: up.length - starting, busy, workedAt, stopping, requestedAt };
}

function countFrozen({ up }: RestingFleet): number {
  return up.filter(({ state }) => state === 'FROZEN').length;
}

/** Why nobody is started, whatever is wanted. */
function holdOf({ pausedReason }: Endpoint, isBackingOff: boolean): string | null {
  if (pausedReason !== null) return 'the endpoint is paused';
  return isBackingOff ? 'starts wait after crashes' : null;
}

/** Those that the queue and min need may wait for room; those that are held ready only use what is free. */
function splitStarts({ needed, start }: ScaleDecision, have: number): { readonly count: number; readonly extra: number } {
  const count = Math.min(start, Math.max(0, needed - have));
  return { count, extra: start - count };
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
