import {
  addRoom,
  decideAdmissions,
  decideDisplaced,
  explainThrottle,
  findBlocked,
  type HostSample,
  type IdleHolder,
  NO_ROOM,
  type Room,
  subtractRoom,
  type WantedWorker,
} from '../domain/capacity.js';
import { chooseGpus, countHeld, firstGpus } from '../domain/gpu-device.js';
import { DEFAULT_SPEC } from '../domain/release.js';
import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';
import { drain } from './drain.js';
import { countScale } from './requests.js';
import { type Demand, demandOf, type Host } from './room.js';

/** A worker counts as starting until it is ready, but no longer than this: one that loads a large model keeps nobody waiting. */
const STARTING_MS = 10_000;
/** A worker that gives way is expected to be gone by then. */
const LEAVING_MS = 10_000;

interface Holder {
  readonly endpointId: string;
  readonly need: Room;
  /** Ids of those that it has for itself. */
  readonly gpus: readonly string[];
  /** Until then it counts as starting. */
  startsUntil: number;
}

export function createHost(core: Core): Host {
  const { total, startLimit, node } = core.capacity;
  const holders = new Map<string, Holder>();
  const waiting = new Map<string, WantedWorker>();
  /** Workers that were told to give way, and until when that is believed. */
  const leaving = new Map<string, number>();
  /** When a worker of each endpoint was started last. */
  const startedAt = new Map<string, number>();
  let used = NO_ROOM;

  const countStarting = (): Map<string, number> => {
    const now = core.clock.now();
    const counts = new Map<string, number>();
    for (const { endpointId, startsUntil } of holders.values()) {
      if (startsUntil > now) counts.set(endpointId, (counts.get(endpointId) ?? 0) + 1);
    }
    return counts;
  };
  const sample = (): HostSample => ({ total, free: subtractRoom(total, used), starting: countStarting(), startedAt, startLimit });
  const hold = (workerId: string, holder: Holder): void => {
    if (holders.has(workerId)) return;
    holders.set(workerId, holder);
    used = addRoom(used, holder.need);
  };
  /** Their turn has come; each endpoint starts its own, at its next look. */
  const wakeNext = (): void => {
    if (waiting.size === 0) return;
    const admitted = decideAdmissions(sample(), [...waiting.values()]);
    for (const endpointId of new Set(admitted.map((id) => waiting.get(id)?.endpointId ?? ''))) core.wake(endpointId);
  };
  const tryEnter: Host['tryEnter'] = (worker) => {
    const others = [...waiting.values()].filter(({ id }) => id !== worker.id);
    if (!decideAdmissions(sample(), [...others, worker]).includes(worker.id)) return false;
    waiting.delete(worker.id);
    const now = core.clock.now();
    startedAt.set(worker.endpointId, now);
    const { id, endpointId, need, kinds = [] } = worker;
    const held = new Set([...holders.values()].flatMap(({ gpus }) => gpus));
    hold(id, { endpointId, need, gpus: chooseGpus(node.gpus, held, { count: need.gpu, kinds }), startsUntil: now + STARTING_MS });
    return true;
  };
  const demandFor = async ({ endpointId, release, runtime }: Worker): Promise<Demand> => {
    const known = await core.store.getRelease(endpointId, release);
    return demandOf(known?.spec ?? DEFAULT_SPEC, node, core.runtimes.all.find(({ name }) => name === runtime)?.capabilities);
  };
  /** What is free, with what those that give way already will leave. */
  const expectFree = (): Room => {
    const now = core.clock.now();
    for (const [id, until] of leaving) if (until < now || !holders.has(id)) leaving.delete(id);
    return [...leaving.keys()].reduce((free, id) => addRoom(free, holders.get(id)?.need ?? NO_ROOM), sample().free);
  };

  return {
    enter(worker) {
      if (tryEnter(worker)) return true;
      waiting.set(worker.id, worker);
      return false;
    },
    tryEnter,
    lackOf(workerId) {
      const worker = waiting.get(workerId);
      return worker && explainThrottle(worker, sample());
    },
    gpusOf: (workerId) => holders.get(workerId)?.gpus ?? [],
    settle(workerId) {
      const holder = holders.get(workerId);
      if (!holder || holder.startsUntil === 0) return;
      holder.startsUntil = 0;
      wakeNext();
    },
    leave(workerId) {
      const holder = holders.get(workerId);
      if (holder) {
        holders.delete(workerId);
        used = holders.size === 0 ? NO_ROOM : subtractRoom(used, holder.need);
      }
      if (waiting.delete(workerId) || holder) wakeNext();
    },
    async makeRoom(endpointId) {
      const wanted = [...waiting.values()];
      const own = wanted.filter((worker) => worker.endpointId === endpointId);
      const blocked = findBlocked({ ...sample(), free: expectFree() }, own);
      if (!blocked) return;
      const idle = await listIdle(core, blocked, (id) => holders.get(id)?.need);
      const free = expectFree();
      // What the first of all waits for is kept for it.
      const first = findBlocked({ ...sample(), free }, wanted);
      const left = first && first.id !== blocked.id ? subtractRoom(free, first.need) : free;
      const until = core.clock.now() + LEAVING_MS;
      for (const id of decideDisplaced(blocked.need, left, idle)) {
        leaving.set(id, until);
        const worker = await core.store.getWorker(id);
        if (worker) drain(core, worker, { reason: `its room is for a worker of '${endpointId}'` });
      }
    },
    async adopt() {
      const demands = new Map<string, Demand>();
      for (const worker of await core.store.listWorkers(undefined)) demands.set(worker.id, await demandFor(worker));
      // Read again: one may have ended meanwhile, and would be held for ever.
      for (const worker of await core.store.listWorkers(undefined)) {
        const { id, endpointId, state, createdAt: since, admittedAt } = worker;
        const demand = demands.get(id) ?? { need: NO_ROOM };
        if (state === 'THROTTLED') waiting.set(id, { id, endpointId, since, ...demand });
        else {
          // Before workers remembered theirs, engines gave them the first ones.
          const gpus = worker.gpus ?? firstGpus(demand.need.gpu);
          const need = { ...demand.need, gpu: countHeld(gpus, node.gpus) };
          hold(id, { endpointId, need, gpus, startsUntil: state === 'INITIALIZING' ? (admittedAt ?? since) + STARTING_MS : 0 });
        }
      }
    },
    view() {
      const starting = [...countStarting().values()].reduce((sum, count) => sum + count, 0);
      return { total, used, starting, startLimit, throttled: waiting.size, labels: node.labels };
    },
  };
}

type Idle = Parameters<typeof decideDisplaced>[2];

/**
 * Workers without work that may give way to a wanted one, and how many of each endpoint: not those of its min, nor as many as have jobs
 * waiting. A candidate may take the place of any idle worker of its own endpoint: else an endpoint whose min fills the host could never
 * change its release.
 */
async function listIdle(core: Core, wanted: WantedWorker, needIn: (workerId: string) => Room | undefined): Promise<Idle> {
  const live = await core.store.listWorkers(undefined);
  const self = live.find(({ id }) => id === wanted.id);
  const idle: IdleHolder[] = [];
  const spare = new Map<string, number>();
  for (const endpointId of new Set(live.map((worker) => worker.endpointId))) {
    const own = live.filter((worker) => worker.endpointId === endpointId && isUp(worker));
    const isOwn = endpointId === wanted.endpointId;
    const resting = own.filter((worker) => isResting(worker) && !(isOwn && worker.release === self?.release));
    if (resting.length === 0) continue;
    spare.set(
      endpointId,
      isOwn && self?.isCandidate ? resting.length : await countSpare(core, endpointId, { up: own.length, idle: resting.length }),
    );
    for (const { id, state, idleSince, frozenAt } of resting) {
      const isFrozen = state === 'FROZEN';
      idle.push({ id, endpointId, need: needIn(id) ?? NO_ROOM, isFrozen, since: (isFrozen ? frozenAt : idleSince) ?? 0 });
    }
  }
  return { idle, spare };
}

const isUp = ({ state, isCandidate }: Worker) => !isCandidate && !['THROTTLED', 'DRAINING', 'UNHEALTHY'].includes(state);
const isResting = ({ state }: Worker) => state === 'IDLE' || state === 'FROZEN';

async function countSpare(core: Core, endpointId: string, { up, idle }: { readonly up: number; readonly idle: number }): Promise<number> {
  const endpoint = await core.store.getEndpoint(endpointId);
  const queue = await core.store.sampleQueue(endpointId);
  const min = endpoint ? countScale(core, endpoint, queue).min : 0;
  return Math.max(0, Math.min(idle, up - min, idle - queue.queuedNormal));
}
