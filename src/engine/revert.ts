import { WherryError } from '../base/errors.js';
import { WATCH_MS } from '../domain/crashes.js';
import { formatRelease } from '../domain/release.js';
import type { FleetName } from './backoff.js';
import type { Core } from './core.js';
import { rollback } from './deploy.js';
import { endRollout } from './rollout.js';

/** Who makes a release that nobody asked for. */
const SELF = 'wherry';

/**
 * Takes back a release whose workers crash: a canary at once; one that serves, within its first minutes, by a rollback to what served
 * before, which has to prove itself like any release. Only what was deployed is taken back: not a rollback, be it ours or somebody's own.
 */
export async function revertBroken(core: Core, { endpointId, release }: FleetName, why: string): Promise<void> {
  const [newest] = await core.store.listRollouts(endpointId, { limit: 1 });
  if (newest?.to !== release) return;
  const reason = `reverted automatically: ${why}`;
  if (newest.state === 'CANARY') {
    await endRollout(core, { endpointId, to: release, state: 'REVERTED', reason });
    return;
  }
  const isWatched = newest.state === 'DONE' && core.clock.now() - (newest.endedAt ?? 0) <= WATCH_MS;
  const { source } = (await core.store.getRelease(endpointId, release)) ?? {};
  if (!isWatched || newest.from === null || source !== 'deploy') return;
  core.log.warn({ endpointId, release, to: newest.from }, `${formatRelease(release)} crashes: rolling back`);
  await rollback(core, endpointId, { release: newest.from, author: SELF, reason }).catch((thrown: unknown) => {
    // Somebody's release, or this very rollback for the crash before, was first.
    if (!(thrown instanceof WherryError && thrown.code === 'ROLLOUT_OPEN')) throw thrown;
  });
}
