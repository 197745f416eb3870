import type { Endpoint } from '../domain/endpoint.js';
import { decideThaws } from '../domain/frozen.js';
import { decideRest, type IdleView, type RestDecision } from '../domain/scale.js';
import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';
import { drain } from './drain.js';

type Policy = Endpoint['settings']['scale'];

export interface RestingFleet {
  readonly endpointId: string;
  readonly release: number;
  /** The release's part of the endpoint's scale, as it counts now. */
  readonly policy: Policy;
  readonly up: readonly Worker[];
}

/** A thawed worker is expected to ask for work within this time; then it does not count as one that takes the next job. */
const EXPECTED_MS = 1_000;

/** Wakes frozen workers for jobs that wait. */
export function thawWorkers(core: Core, { endpointId, release, policy, up }: RestingFleet, queued: number): void {
  const now = core.clock.now();
  // What is being thawed may still be FROZEN in the store.
  const waitedMs = ({ id }: Worker) => now - (core.freezer.awaitedSince(id) ?? now);
  const isWaking = ({ id }: Worker) => core.freezer.awaitedSince(id) !== undefined;
  const frozen = up.filter((worker) => worker.state === 'FROZEN' && !isWaking(worker));
  const idle = up.filter((worker) => (worker.state === 'IDLE' || isWaking(worker)) && waitedMs(worker) < EXPECTED_MS);
  const count = decideThaws({ queued, idle: idle.length, awake: up.length - frozen.length, frozen: frozen.length }, policy);
  core.freezer.thaw({ endpointId, release }, count);
}

/** Stops and freezes workers without work; gives which. `floor`: so many stay awake. */
export function restWorkers(core: Core, { policy, up }: RestingFleet, floor: number): RestDecision {
  const now = core.clock.now();
  const views = up.map((worker) => ({
    id: worker.id,
    isStarting: worker.state === 'INITIALIZING',
    idleSince: worker.state === 'IDLE' ? worker.idleSince : null,
    frozenAt: worker.state === 'FROZEN' ? worker.frozenAt : null,
    rest: restOf(core, worker, policy),
  }));
  const decision = decideRest(views, { ...policy, min: floor }, now);
  const found = (ids: readonly string[]) => up.filter(({ id }) => ids.includes(id));
  for (const worker of found(decision.stop))
    drain(core, worker, { reason: up.length > policy.max ? 'there are more than max' : 'it was idle long enough' });
  for (const worker of found(decision.freeze)) core.freezer.freeze(worker);
  return decision;
}

/** A worker that asks for nothing for so long after its idle time is stopped instead of frozen: it might not ask after a thaw either. */
const SILENT_MS = 5_000;

/** Only one that waits for work is frozen: nothing of it is on its way then, in either direction. */
function restOf(core: Core, worker: Worker, { keep = 'freeze', idleMs }: Policy): IdleView['rest'] {
  if (keep === 'none' || !core.freezer.isAble(worker)) return 'stop';
  if (worker.state === 'FROZEN') return 'freeze';
  // It was thawed, and is judged by whether it asks.
  if (core.freezer.awaitedSince(worker.id) !== undefined) return 'wait';
  // It may still work on a job that was ended.
  if (core.stops.open.has(worker.id)) return 'stop';
  if (core.polls.isWaiting(worker.id)) return 'freeze';
  return core.clock.now() - (worker.idleSince ?? 0) < idleMs + SILENT_MS ? 'wait' : 'stop';
}
