import { matchKinds } from './gpu.js';

/** One GPU of this host, which at most one worker holds. */
export interface GpuDevice {
  /** The UUID that its driver tells, else its index: engines and CUDA take either. */
  readonly id: string;
  readonly name?: string | undefined;
}

/** What a worker asks for. */
export interface GpuOrder {
  readonly count: number;
  /** As in {@link matchKinds}; preferred, not required. */
  readonly kinds: readonly string[];
}

/** Ids of the GPUs that a worker gets: free ones of a wanted kind first, each in the order of the host. Fewer when fewer are free. */
export function chooseGpus(devices: readonly GpuDevice[], held: ReadonlySet<string>, { count, kinds }: GpuOrder): readonly string[] {
  // A server without the driver's list knew them by their index.
  const free = devices.filter(({ id }, index) => !held.has(id) && !held.has(String(index)));
  const isWanted = ({ name }: GpuDevice) => name === undefined || matchKinds(kinds, [name]).isMet;
  const ordered = [...free.filter(isWanted), ...free.filter((device) => !isWanted(device))];
  return ordered.slice(0, count).map(({ id }) => id);
}

/** The ids that engines give so many GPUs by when they are told no more than the number: the first ones, whoever has them. */
export function firstGpus(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => String(index));
}

/** How many GPUs a worker takes that holds these. An id that is not known now may be that of any GPU, so that it takes all. */
export function countHeld(ids: readonly string[], devices: readonly GpuDevice[]): number {
  const isKnown = (held: string) => devices.some(({ id }, index) => id === held || String(index) === held);
  return ids.every(isKnown) ? ids.length : Math.max(ids.length, devices.length);
}
