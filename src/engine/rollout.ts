import { WherryError } from '../base/errors.js';
import {
  formatRelease,
  isAtRest,
  isOpen,
  percentOnLatest,
  type Rollout,
  type RolloutProgress,
  type RolloutStep,
  servingReleases,
} from '../domain/release.js';
import type { Worker } from '../domain/worker.js';
import type { ReleaseRange, RolloutChange } from '../store/store.js';
import type { Core } from './core.js';
import { endJob, requireEndpoint } from './jobs.js';

export interface RolloutEnd {
  readonly endpointId: string;
  readonly to: number;
  readonly state: 'DONE' | 'REVERTED';
  readonly reason: string | null;
}

/** Ends an open rollout once; DONE switches the endpoint to its release in the same step. What is pinned to a release that was taken back ends. */
export async function endRollout(core: Core, end: RolloutEnd): Promise<Rollout | undefined> {
  const rollout = await changeRollout(core, end);
  if (!rollout) return undefined;
  core.log.info({ endpointId: end.endpointId, release: end.to, state: end.state }, 'a rollout ended');
  if (end.state === 'REVERTED') {
    const why = `release ${formatRelease(end.to)}, which the job is pinned to, was taken back: ${end.reason ?? 'no reason was given'}`;
    await endPinned(core, end.endpointId, { release: end.to, why });
  }
  return rollout;
}

async function changeRollout(core: Core, change: RolloutChange): Promise<Rollout | undefined> {
  const { endpointId, to } = change;
  const rollout = await core.store.changeRollout(change, core.clock.now());
  if (!rollout) return undefined;
  const left = rollout.state === 'DONE' ? rollout.from : rollout.state === 'REVERTED' ? to : null;
  if (left !== null) core.fleet.forgetCrashes(endpointId, left);
  core.rolloutWaiters.notify(keyOf(endpointId, to), rollout);
  // Who waits for a job may get others now.
  core.polls.wake(endpointId);
  core.wake(endpointId);
  return rollout;
}

/** Ends the queued jobs that are pinned to a release that cannot run them. */
export async function endPinned(core: Core, endpointId: string, { release, why }: { release: number; why: string }): Promise<void> {
  for (;;) {
    const jobs = await core.store.listJobs({ endpointId, states: ['IN_QUEUE'], pinnedTo: release, limit: PAGE });
    for (const job of jobs) await endJob(core, job, { state: 'FAILED', error: why }, ['IN_QUEUE']);
    if (jobs.length < PAGE) return;
  }
}
const PAGE = 100;

/** What its ready candidate makes of a rollout: it waits to be promoted, becomes a canary, or serves. Undefined when nothing was open to it. */
export async function proveRelease(core: Core, endpointId: string, release: number): Promise<Rollout | undefined> {
  const open = await findOpenRollout(core, endpointId);
  if (open?.to !== release || open.state !== 'PROVING' || isAtRest(open)) return undefined;
  const provedAt = core.clock.now();
  if (open.holdMs !== null) return changeRollout(core, { endpointId, to: release, provedAt });
  return goOn(core, open, provedAt);
}

/** To the canary that was planned, else to the end; with nothing to split with there is no canary. */
async function goOn(core: Core, { endpointId, to, from, state, share }: Rollout, provedAt: number): Promise<Rollout | undefined> {
  if (state === 'PROVING' && share < 100 && from !== null) return changeRollout(core, { endpointId, to, state: 'CANARY', provedAt });
  return changeRollout(core, { endpointId, to, state: 'DONE', share: 100, provedAt });
}

/**
 * Takes a step with the open rollout; `to` says which one is meant. Promoting a held one makes it the canary that was planned or lets it
 * serve; promoting a canary lets it serve. Throws ENDPOINT_UNKNOWN, ROLLOUT_UNKNOWN when none is open (to that release), ROLLOUT_NOT_READY.
 */
export async function stepRollout(
  core: Core,
  endpointId: string,
  { to, ...step }: RolloutStep & { readonly to?: number },
): Promise<Rollout> {
  await requireEndpoint(core, endpointId);
  const open = await findOpenRollout(core, endpointId);
  if (!open || (to !== undefined && open.to !== to)) throw notOpen(endpointId, to);
  const stepped = await takeStep(core, open, step);
  // Somebody else was first.
  if (!stepped) throw notOpen(endpointId, open.to);
  return stepped;
}

async function takeStep(core: Core, open: Rollout, step: RolloutStep): Promise<Rollout | undefined> {
  const { endpointId, to } = open;
  switch (step.action) {
    case 'abort':
      return endRollout(core, { endpointId, to, state: 'REVERTED', reason: step.reason });
    case 'promote':
      if (open.state === 'PROVING' && open.provedAt === null) throw notReady(open, 'promoted');
      return goOn(core, open, open.provedAt ?? core.clock.now());
    case 'share':
      if (open.state === 'PROVING' && open.holdMs === null) throw notReady(open, 'given a share');
      return changeRollout(core, { endpointId, to, share: step.share });
  }
}

function notOpen(endpointId: string, to: number | undefined): WherryError {
  const what = to === undefined ? 'no release' : `release ${formatRelease(to)}`;
  return new WherryError('ROLLOUT_UNKNOWN', `${what} of '${endpointId}' ${to === undefined ? 'is' : 'is not'} being rolled out`, {
    hint: '`wherry releases` lists what became of each release',
  });
}

function notReady({ endpointId, to }: Rollout, what: string): WherryError {
  return new WherryError(
    'ROLLOUT_NOT_READY',
    `release ${formatRelease(to)} of '${endpointId}' cannot be ${what} yet: it is still proving itself`,
    {
      hint: 'wait until its candidate is ready, or abort it',
    },
  );
}

/** Takes back a release whose proved candidate waited too long. */
export async function endOverdueHold(core: Core, { endpointId, to, state, holdMs, provedAt }: Rollout): Promise<void> {
  if (state !== 'PROVING' || holdMs === null || provedAt === null || core.clock.now() - provedAt <= holdMs) return;
  await endRollout(core, {
    endpointId,
    to,
    state: 'REVERTED',
    reason: `not promoted in time: it was held for ${Math.round(holdMs / 1000)} s`,
  });
}

/** The rollout to that release once nothing more happens to it by itself, or as it is when the time is over. Throws RELEASE_UNKNOWN. */
export async function waitRollout(
  core: Core,
  { endpointId, to }: { readonly endpointId: string; readonly to: number },
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Rollout> {
  const wait = core.rolloutWaiters.begin(keyOf(endpointId, to), timeoutMs, signal);
  try {
    const now = await findRollout(core, endpointId, to);
    if (isAtRest(now)) return now;
    return (await wait.value) ?? (await findRollout(core, endpointId, to));
  } finally {
    wait.cancel();
  }
}

async function findRollout({ store }: Core, endpointId: string, to: number): Promise<Rollout> {
  const [rollout] = await store.listRollouts(endpointId, { before: to + 1, limit: 1 });
  if (rollout?.to === to) return rollout;
  throw new WherryError('RELEASE_UNKNOWN', `endpoint '${endpointId}' has no rollout to r${to}`, {
    hint: '`wherry releases` lists its releases',
  });
}

/** Newest first; what moves is said of the newest only. */
export async function listRollouts(core: Core, endpointId: string, range: ReleaseRange = {}): Promise<readonly RolloutProgress[]> {
  await requireEndpoint(core, endpointId);
  const rollouts = await core.store.listRollouts(endpointId, range);
  const workers = range.before === undefined ? await core.store.listWorkers(endpointId) : [];
  return rollouts.map((rollout, index) => ({
    ...rollout,
    percentOnLatest: index === 0 && range.before === undefined ? percentOnLatest(rollout, workers) : null,
  }));
}

/** The newest rollout, while it is open or workers of other releases are left; `workers` are the endpoint's live ones. */
export async function findMovingRollout({ store }: Core, endpointId: string, workers: readonly Worker[]): Promise<RolloutProgress | null> {
  const [newest] = await store.listRollouts(endpointId, { limit: 1 });
  const percent = newest ? percentOnLatest(newest, workers) : null;
  return newest && (isOpen(newest) || (percent ?? 100) < 100) ? { ...newest, percentOnLatest: percent } : null;
}

/** The releases of an endpoint that get jobs. Throws ENDPOINT_UNKNOWN. */
export async function listServing(core: Core, endpointId: string): Promise<ReadonlySet<number>> {
  const { activeRelease } = await requireEndpoint(core, endpointId);
  return servingReleases(activeRelease, (await findOpenRollout(core, endpointId)) ?? null);
}

/** The rollout that is open, if one is. */
export async function findOpenRollout({ store }: Core, endpointId: string): Promise<Rollout | undefined> {
  const [open] = await store.listRollouts(endpointId, { isOpen: true });
  return open;
}

function keyOf(endpointId: string, to: number): string {
  return `${endpointId}/${to}`;
}
