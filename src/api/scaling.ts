import type { EndpointSettings } from '../domain/endpoint.js';
import type { ScaleRule } from '../domain/scale.js';
import type { ScaleAction } from '../domain/scale-record.js';

/** A decision of the scaler with its inputs, as /api/v1 sends it; `scaling-schema.ts` describes the same. */
export interface DecisionView {
  readonly at: string;
  readonly release: number;
  readonly wanted: number;
  /** Of `wanted`, those for the queue and for min. */
  readonly needed: number;
  readonly rule: ScaleRule;
  readonly reason: string;
  /** Why nobody was started although more were wanted. */
  readonly hold: string | null;
  readonly sample: Readonly<
    Record<'queued' | 'inProgress' | 'starting' | 'ready' | 'busy' | 'frozen' | 'stopping' | 'throttled', number>
  > & { readonly oldestWaitMs: number | null };
  readonly policy: EndpointSettings['scale'];
  /** Ids of workers. */
  readonly actions: Readonly<Record<ScaleAction, readonly string[]>>;
}

export interface DecisionQuery {
  /** RFC 3339. */
  readonly since?: string;
  readonly limit?: number;
}

/** Cores, memory and GPUs. */
export interface RoomView {
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly gpu: number;
}

/** The machine as all endpoints share it. */
export interface HostView {
  readonly total: RoomView;
  /** What workers hold of it. */
  readonly used: RoomView;
  readonly starting: number;
  readonly startLimit: number;
  /** Of this machine, by key: `gpu`, `cuda`, and those that its owner set. */
  readonly labels: Readonly<Record<string, readonly string[]>>;
  /** Workers that are wanted and have no room. */
  readonly throttled: number;
}
