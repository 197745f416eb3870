import type { Rollout } from '../domain/release.js';
import type { FleetView } from '../store/store.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { drain } from './drain.js';

/** One worker of the new release, above max; it proves the release by asking for work. Not while max is 0. */
export async function startCandidate(core: Core, { endpoint, workers }: FleetView, rollout: Rollout): Promise<void> {
  if (rollout.state !== 'PROVING') return;
  const isThere = workers.some(({ release, isCandidate }) => release === rollout.to && isCandidate);
  if (isThere || endpoint.settings.scale.max === 0) return;
  await core.fleet.start(endpoint.id, rollout.to, { isCandidate: true });
}

/**
 * One worker for jobs that are pinned to a release that neither serves nor is being rolled out. Like a candidate it stands above max and
 * gets nothing else; one release after the other.
 */
export async function startForPinned(core: Core, view: FleetView, backoff: Backoff): Promise<void> {
  const { endpoint, workers, rollout, pinned } = view;
  const [release] = pinned.filter((number) => number !== endpoint.activeRelease && number !== rollout?.to);
  if (release === undefined || endpoint.settings.scale.max === 0 || endpoint.pausedReason !== null) return;
  const isTaken = workers.some((worker) => worker.isCandidate && worker.release !== rollout?.to);
  if (isTaken || core.clock.now() < backoff.nextStartAt({ endpointId: endpoint.id, release })) return;
  await core.fleet.start(endpoint.id, release, { isCandidate: true });
}

/** Workers of releases that do not serve: idle ones go at once, busy ones finish their job. */
export function stopOutdated(core: Core, { endpoint, rollout, workers, pinned }: FleetView): void {
  for (const worker of workers) {
    const isRolledOut = worker.release === rollout?.to && (worker.isCandidate || rollout.state === 'CANARY');
    const isForPinned = worker.isCandidate && pinned.includes(worker.release);
    if (worker.release === endpoint.activeRelease || isRolledOut || isForPinned || worker.state === 'DRAINING') continue;
    drain(core, worker, { reason: 'its release does not serve any more' });
  }
}
