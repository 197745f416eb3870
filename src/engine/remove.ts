import { WherryError } from '../base/errors.js';
import { removeBatches } from './batches.js';
import type { Core } from './core.js';
import { removeDeliveries } from './deliveries.js';
import { endQueued } from './jobs.js';
import { endRollout, findOpenRollout } from './rollout.js';
import { removeReports } from './test-reports.js';

const GRACE_MS = 1_000;
/** Jobs removed together. */
const REMOVED = 500;

function stopIfStopped({ life }: Core, id: string): void {
  if (life.isStopped) throw new WherryError('RUNTIME_UNAVAILABLE', `the server stops before endpoint '${id}' is removed`);
}

/**
 * Removes an endpoint with everything of it. First its rollout ends and no look starts a worker any more, then its workers
 * are stopped until none is left, then who waits for its jobs hears of their end; its rows and keys go in one step.
 * `settle` waits for a look that is under way. Throws ENDPOINT_UNKNOWN.
 */
export function removeEndpoint(core: Core, id: string, settle: () => Promise<void>): Promise<void> {
  const known = core.removals.get(id);
  if (known) return known;
  const removed = remove(core, id, settle).finally(() => core.removals.delete(id));
  core.removals.set(id, removed);
  return removed;
}

async function remove(core: Core, id: string, settle: () => Promise<void>): Promise<void> {
  // A server that dies from here on leaves a paused endpoint, which can be removed again.
  await core.store.updateEndpoint(id, { pausedReason: 'being removed' });
  const rollout = await findOpenRollout(core, id);
  if (rollout) await endRollout(core, { endpointId: id, to: rollout.to, state: 'REVERTED', reason: 'its endpoint is removed' });
  await settle();
  for (let workers = await core.store.listWorkers(id); workers.length > 0; workers = await core.store.listWorkers(id)) {
    stopIfStopped(core, id);
    await Promise.all(workers.map((worker) => core.fleet.drain(worker.id, { reason: 'its endpoint is removed', graceMs: GRACE_MS })));
  }
  await endQueued(core, id, 0);
  // In parts: a long history would hold everybody else up.
  while ((await core.store.removeJobs(id, REMOVED)) > 0) stopIfStopped(core, id);
  await removeReports(core, id);
  await core.store.removeEndpoint(id);
  await removeDeliveries(core, id);
  await removeBatches(core, id);
  await core.decisions.forget(id);
  core.depths.delete(id);
  core.lastCrashes.delete(id);
  await core.logs.removeEndpoint(id);
}
