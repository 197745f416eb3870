import type { Rollout } from '../domain/release.js';
import type { FleetView } from '../store/store.js';
import type { Core } from './core.js';
import { drain } from './drain.js';

/** One worker of the new release, above max; it proves the release by asking for work. Not while max is 0. */
export async function startCandidate(core: Core, { endpoint, rollout, workers }: FleetView & { rollout: Rollout }): Promise<void> {
  const isThere = workers.some(({ release, isCandidate }) => release === rollout.to && isCandidate);
  if (isThere || endpoint.settings.scale.max === 0) return;
  await core.fleet.start(endpoint.id, rollout.to, { isCandidate: true });
}

/** Workers of releases that do not serve: idle ones go at once, busy ones finish their job. */
export function stopOutdated(core: Core, { endpoint, rollout, workers }: FleetView): void {
  for (const worker of workers) {
    const isWanted = worker.release === endpoint.activeRelease || (worker.isCandidate && worker.release === rollout?.to);
    if (isWanted || worker.state === 'DRAINING') continue;
    drain(core, worker, { reason: 'its release does not serve any more' });
  }
}
