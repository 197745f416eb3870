import { needOf, type Room, type WantedWorker } from '../domain/capacity.js';
import { findMisfit, kindsOf, type NodeFacts, resourcesOn } from '../domain/placement.js';
import type { ReleaseSpec } from '../domain/release.js';
import type { Worker } from '../domain/worker.js';
import type { RuntimeCapabilities } from '../runtime/runtime.js';

/** What a worker of a release takes of a node, and why it can never run there. Processes run without GPUs where there are none. */
export function demandOf(spec: ReleaseSpec, node: NodeFacts, { gpu = 'host' }: Partial<RuntimeCapabilities> = {}): Demand {
  const need = needOf(resourcesOn(node, spec.resources), gpu !== 'host' || node.gpus.length > 0);
  return { need, kinds: kindsOf(spec.resources.gpu), misfit: findMisfit(spec, node, gpu) };
}

export type Demand = Pick<WantedWorker, 'need' | 'kinds' | 'misfit'>;

/** This machine as all endpoints share it: who has room on it, and who waits for some. In memory; a restart reads it from the workers. */
export interface Host {
  /** Room and a start for a worker that is wanted, at once or never: true when it has both from now on, else it waits for them. */
  enter(worker: WantedWorker): boolean;
  /** The same without waiting. */
  tryEnter(worker: WantedWorker): boolean;
  /** Why a worker waits; undefined when it does not. */
  lackOf(workerId: string): string | undefined;
  /** Ids of the GPUs that a worker has for itself, from its entry until it leaves. */
  gpusOf(workerId: string): readonly string[];
  /** It started: another one may. */
  settle(workerId: string): void;
  /** Nothing of it is left, or it is not wanted any more. */
  leave(workerId: string): void;
  /** Lets idle workers of others go for the first worker of this endpoint that waits for room, if that is enough for it. */
  makeRoom(endpointId: string): Promise<void>;
  /** Workers that a former server left. */
  adopt(): Promise<void>;
  view(): HostView;
}

export interface HostView {
  readonly total: Room;
  readonly used: Room;
  readonly starting: number;
  readonly startLimit: number;
  readonly throttled: number;
  readonly labels: NodeFacts['labels'];
}

/** Workers that one release is to have besides those that it has. */
export interface PlacesWanted {
  readonly endpointId: string;
  readonly release: number;
  /** For the queue and for min: without room they wait, throttled. */
  readonly count: number;
  /** To be held ready: without room there are none. */
  readonly extra: number;
  /** Those that wait from before, oldest first. */
  readonly throttled: readonly Worker[];
  /** A throttled worker that is not wanted goes after so long, as an idle one does. */
  readonly idleMs: number;
}

/** Ids of the workers that were started, and of those that have to wait from now on. */
export interface PlacesFound {
  readonly start: readonly string[];
  readonly throttle: readonly string[];
}

/** Gives wanted workers their places on the host. */
export interface Places {
  fill(wanted: PlacesWanted): Promise<PlacesFound>;
  /** Lets throttled workers start for which there is room now, one after the other until there is none. */
  retry(throttled: readonly Worker[]): Promise<readonly string[]>;
}
