import { WherryError } from '../base/errors.js';
import type { Worker } from '../domain/worker.js';
import { removeBatches } from './batches.js';
import type { Core } from './core.js';
import { removeDeliveries } from './deliveries.js';
import { endQueued } from './jobs.js';
import { endRollout, findOpenRollout } from './rollout.js';
import { removeReports } from './test-reports.js';

const GRACE_MS = 1_000;
/** Jobs removed together. */
const REMOVED = 500;

/** Ends the removals under way: those that wait for workers are left to the next server. Resolves when none reaches for the store. */
export async function endRemovals({ removals }: Core): Promise<void> {
  const left = [...removals.values()];
  for (const { giveUp } of left) giveUp();
  await Promise.allSettled(left.map(({ done }) => done));
}

function stopIfStopped({ life }: Core, id: string): void {
  if (life.isStopped) throw stopped(id);
}

function stopped(id: string): WherryError {
  return new WherryError('RUNTIME_UNAVAILABLE', `the server stops before endpoint '${id}' is removed`, {
    hint: 'remove it again when the server is back; one that expired goes by itself',
  });
}

/**
 * Removes an endpoint with everything of it. First its rollout ends and no look starts a worker any more, then its workers
 * are stopped until none is left, then who waits for its jobs hears of their end; its rows and keys go in one step.
 * `settle` waits for a look that is under way. Throws ENDPOINT_UNKNOWN.
 */
export function removeEndpoint(core: Core, id: string, settle: () => Promise<void>): Promise<void> {
  const known = core.removals.get(id);
  if (known) return known.done;
  let giveUp = () => {};
  const givenUp = new Promise<never>((_, reject) => {
    giveUp = () => reject(stopped(id));
  });
  givenUp.catch(() => {});
  const done = remove(core, id, { settle, givenUp }).finally(() => core.removals.delete(id));
  core.removals.set(id, { done, giveUp });
  return done;
}

interface Removing {
  readonly settle: () => Promise<void>;
  readonly givenUp: Promise<never>;
}

async function remove(core: Core, id: string, { settle, givenUp }: Removing): Promise<void> {
  stopIfStopped(core, id);
  // A server that dies from here on leaves a paused endpoint, which can be removed again.
  await core.store.updateEndpoint(id, { pausedReason: 'being removed' });
  const rollout = await findOpenRollout(core, id);
  if (rollout) await endRollout(core, { endpointId: id, to: rollout.to, state: 'REVERTED', reason: 'its endpoint is removed' });
  await settle();
  for (let workers = await core.store.listWorkers(id); workers.length > 0; workers = await core.store.listWorkers(id)) {
    stopIfStopped(core, id);
    const drain = ({ id: workerId }: Worker) => core.fleet.drain(workerId, { reason: 'its endpoint is removed', graceMs: GRACE_MS });
    await Promise.race([Promise.all(workers.map(drain)), givenUp]);
  }
  await endQueued(core, id, 0);
  // In parts: a long history would hold everybody else up.
  while ((await core.store.removeJobs(id, REMOVED)) > 0) stopIfStopped(core, id);
  // What is left is short, and a half of it would stay for ever: a stop waits for it.
  await removeReports(core, id);
  await core.store.removeEndpoint(id);
  await removeDeliveries(core, id);
  await removeBatches(core, id);
  await core.decisions.forget(id);
  core.depths.delete(id);
  core.requests.delete(id);
  core.lastCrashes.delete(id);
  await core.logs.removeEndpoint(id);
}
