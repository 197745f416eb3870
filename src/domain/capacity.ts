import { countGpus, type NodeFacts } from './placement.js';
import type { ReleaseSpec } from './release.js';

/** Room for workers: what a host has, what is free of it, or what one worker takes. */
export interface Room {
  /** Cores. */
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly gpu: number;
}

/** What a host has for workers, and how many of them may start at once. */
export interface HostCapacity {
  readonly total: Room;
  readonly startLimit: number;
  readonly node: NodeFacts;
}

export const NO_ROOM: Room = { cpu: 0, memoryBytes: 0, gpu: 0 };

/** A worker whose release declares no memory is taken to need so much: an interpreter that waits for work has about this. */
export const UNDECLARED_MEMORY_BYTES = 64 * 2 ** 20;

/**
 * What a worker takes of its host, from the decision to start it until nothing of it is left, frozen too. Cores that are not declared count
 * as none. GPUs count where there are some to have, or a worker cannot be without.
 */
export function needOf({ cpu = 0, memoryBytes = UNDECLARED_MEMORY_BYTES, gpu }: ReleaseSpec['resources'], hasGpus: boolean): Room {
  return { cpu, memoryBytes, gpu: hasGpus ? countGpus(gpu) : 0 };
}

/** Each resource of both. */
export function addRoom(one: Room, other: Room): Room {
  return { cpu: one.cpu + other.cpu, memoryBytes: one.memoryBytes + other.memoryBytes, gpu: one.gpu + other.gpu };
}

/** What is left of each resource; less than nothing when more was taken. */
export function subtractRoom(one: Room, other: Room): Room {
  return { cpu: one.cpu - other.cpu, memoryBytes: one.memoryBytes - other.memoryBytes, gpu: one.gpu - other.gpu };
}

/** Cores are fractions whose sums are not exact. */
const CPU_SLACK = 1e-6;

const LACKS: Readonly<Record<keyof Room, (need: Room, free: Room) => boolean>> = {
  // What takes nothing of a resource never lacks it, also when less than nothing is free after a setting was lowered.
  cpu: (need, free) => need.cpu > 0 && need.cpu > free.cpu + CPU_SLACK,
  memoryBytes: (need, free) => need.memoryBytes > 0 && need.memoryBytes > free.memoryBytes,
  gpu: (need, free) => need.gpu > 0 && need.gpu > free.gpu,
};

/** What there is not enough of. */
export function listLacking(need: Room, free: Room): readonly (keyof Room)[] {
  return (['cpu', 'memoryBytes', 'gpu'] as const).filter((resource) => LACKS[resource](need, free));
}

/** A worker that is wanted and does not start yet. */
export interface WantedWorker {
  readonly id: string;
  readonly endpointId: string;
  /** Since when it is wanted. */
  readonly since: number;
  readonly need: Room;
  /** Of the GPUs it would rather have. */
  readonly kinds?: readonly string[] | undefined;
  /** Why it can never run on this node, whatever is free. */
  readonly misfit?: string | undefined;
}

/** A host at one moment. */
export interface HostSample {
  readonly total: Room;
  readonly free: Room;
  /** Workers that start now, by endpoint. */
  readonly starting: ReadonlyMap<string, number>;
  /** When a worker of each endpoint was started last. */
  readonly startedAt: ReadonlyMap<string, number>;
  /** How many may start at once. */
  readonly startLimit: number;
}

/**
 * The order in which wanted workers have their turn: the endpoint with the fewest that start first; then who waits longest, since it was
 * wanted or since another one of its endpoint was started. So one that wants many does not keep another endpoint waiting.
 */
export function sortByTurn<T extends WantedWorker>(
  wanted: readonly T[],
  { starting, startedAt }: Pick<HostSample, 'starting' | 'startedAt'>,
): readonly T[] {
  const before = new Map(starting);
  const oldest = wanted.toSorted((a, b) => a.since - b.since || (a.id < b.id ? -1 : 1));
  const ranked = oldest.map((worker) => {
    const rank = before.get(worker.endpointId) ?? 0;
    before.set(worker.endpointId, rank + 1);
    return { worker, rank, since: Math.max(worker.since, startedAt.get(worker.endpointId) ?? 0) };
  });
  return ranked.sort((a, b) => a.rank - b.rank || a.since - b.since).map(({ worker }) => worker);
}

/**
 * Ids of the wanted workers that start now, in their order. What the first one that does not fit needs is kept for it, so that small ones
 * never hold a large one back; one that this host could never hold keeps nothing.
 */
export function decideAdmissions(host: HostSample, wanted: readonly WantedWorker[]): readonly string[] {
  const { total, free, starting, startLimit } = host;
  let slots = startLimit - [...starting.values()].reduce((sum, count) => sum + count, 0);
  if (slots <= 0) return [];
  let left = free;
  let isKept = false;
  const admitted: string[] = [];
  for (const worker of sortByTurn(wanted, host)) {
    if (slots <= 0) break;
    if (isHopeless(worker, total)) continue;
    const { id, need } = worker;
    const isBlocked = listLacking(need, left).length > 0;
    if (isBlocked && isKept) continue;
    left = subtractRoom(left, need);
    isKept ||= isBlocked;
    if (isBlocked) continue;
    admitted.push(id);
    slots--;
  }
  return admitted;
}

/** The first wanted worker that the host has no room for now but could have. */
export function findBlocked(host: HostSample, wanted: readonly WantedWorker[]): WantedWorker | undefined {
  const isBlocked = (worker: WantedWorker) => !isHopeless(worker, host.total) && listLacking(worker.need, host.free).length > 0;
  return sortByTurn(wanted, host).find(isBlocked);
}

function isHopeless({ need, misfit }: WantedWorker, total: Room): boolean {
  return misfit !== undefined || listLacking(need, total).length > 0;
}

/** A worker without work. */
export interface IdleHolder {
  readonly id: string;
  readonly endpointId: string;
  readonly need: Room;
  readonly isFrozen: boolean;
  /** Since when it has no work, or is frozen. */
  readonly since: number;
}

/**
 * Ids of the workers without work that give way so that a wanted one fits: frozen ones before idle ones, of each those without work for the
 * longest time, and of no endpoint more than it can `spare`. None when all of them together would not be enough.
 */
export function decideDisplaced(
  need: Room,
  free: Room,
  { idle, spare }: { readonly idle: readonly IdleHolder[]; readonly spare: ReadonlyMap<string, number> },
): readonly string[] {
  const left = new Map(spare);
  const displaced: IdleHolder[] = [];
  let room = free;
  for (const holder of idle.toSorted((a, b) => Number(b.isFrozen) - Number(a.isFrozen) || a.since - b.since)) {
    const lacking = listLacking(need, room);
    if (lacking.length === 0) break;
    const mayGo = left.get(holder.endpointId) ?? 0;
    if (mayGo <= 0 || !lacking.some((resource) => holder.need[resource] > 0)) continue;
    left.set(holder.endpointId, mayGo - 1);
    displaced.push(holder);
    room = addRoom(room, holder.need);
  }
  if (listLacking(need, room).length > 0) return [];
  // A small one may have been chosen before a large one that is enough by itself.
  return displaced
    .filter((holder) => {
      const without = subtractRoom(room, holder.need);
      const isEnough = listLacking(need, without).length === 0;
      if (isEnough) room = without;
      return !isEnough;
    })
    .map(({ id }) => id);
}

const SETTINGS: Readonly<Record<keyof Room, string>> = {
  cpu: 'WHERRY_CAPACITY_CPU',
  memoryBytes: 'WHERRY_CAPACITY_MEMORY',
  gpu: 'WHERRY_CAPACITY_GPU',
};

/** Why a wanted worker does not start, for people: `it needs 2.0 GiB of memory, 1.2 GiB is free`. */
export function explainThrottle({ need, misfit }: WantedWorker, { total, free, starting, startLimit }: HostSample): string {
  if (misfit !== undefined) return misfit;
  const never = listLacking(need, total);
  if (never.length > 0)
    return never
      .map((resource) => `it needs ${formatNeed(resource, need)}, this host has ${formatAmount(resource, total)} (${SETTINGS[resource]})`)
      .join('; ');
  const lacking = listLacking(need, free);
  if (lacking.length > 0)
    return `it needs ${lacking.map((resource) => `${formatNeed(resource, need)}, ${formatAmount(resource, free)} is free`).join(', ')}`;
  const count = [...starting.values()].reduce((sum, each) => sum + each, 0);
  if (count >= startLimit) return `${count} workers are starting, at most ${startLimit} start at once (WHERRY_STARTS)`;
  return 'what is free is kept for workers that are wanted longer';
}

function formatNeed(resource: keyof Room, room: Room): string {
  const amount = room[resource];
  if (resource === 'memoryBytes') return `${formatAmount(resource, room)} of memory`;
  return `${amount} ${resource === 'cpu' ? 'CPU' : 'GPU'}${amount === 1 ? '' : 's'}`;
}

function formatAmount(resource: keyof Room, room: Room): string {
  const amount = Math.max(0, room[resource]);
  if (resource !== 'memoryBytes') return String(Math.round(amount * 100) / 100);
  return amount >= 2 ** 30 ? `${(amount / 2 ** 30).toFixed(1)} GiB` : `${Math.floor(amount / 2 ** 20)} MiB`;
}
