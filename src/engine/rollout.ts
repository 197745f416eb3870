import { WherryError } from '../base/errors.js';
import type { Rollout } from '../domain/release.js';
import type { Core } from './core.js';

export interface RolloutEnd {
  readonly endpointId: string;
  readonly to: number;
  readonly state: 'DONE' | 'REVERTED';
  readonly reason: string | null;
}

/** Ends an open rollout once; DONE switches the endpoint to its release in the same step. */
export async function endRollout(core: Core, end: RolloutEnd): Promise<Rollout | undefined> {
  const rollout = await core.store.endRollout(end, core.clock.now());
  if (!rollout) return undefined;
  core.rolloutWaiters.notify(keyOf(end.endpointId, end.to), rollout);
  core.log.info({ endpointId: end.endpointId, release: end.to, state: end.state }, 'a rollout ended');
  core.wake(end.endpointId);
  return rollout;
}

/** The rollout to that release once it has ended, or as it is when the time is over. Throws RELEASE_UNKNOWN. */
export async function waitRollout(
  core: Core,
  { endpointId, to }: { readonly endpointId: string; readonly to: number },
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Rollout> {
  const wait = core.rolloutWaiters.begin(keyOf(endpointId, to), timeoutMs, signal);
  try {
    const now = await findRollout(core, endpointId, to);
    if (now.state === 'DONE' || now.state === 'REVERTED') return now;
    return (await wait.value) ?? (await findRollout(core, endpointId, to));
  } finally {
    wait.cancel();
  }
}

async function findRollout({ store }: Core, endpointId: string, to: number): Promise<Rollout> {
  const rollout = (await store.listRollouts(endpointId)).find((candidate) => candidate.to === to);
  if (rollout) return rollout;
  throw new WherryError('RELEASE_UNKNOWN', `endpoint '${endpointId}' has no rollout to r${to}`, {
    hint: '`wherry releases` lists its releases',
  });
}

/** The rollout that is open, if one is. */
export async function findOpenRollout({ store }: Core, endpointId: string): Promise<Rollout | undefined> {
  return (await store.listRollouts(endpointId)).find(({ state }) => state === 'PROVING' || state === 'CANARY');
}

function keyOf(endpointId: string, to: number): string {
  return `${endpointId}/${to}`;
}
