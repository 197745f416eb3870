import type { EndpointSettings } from './endpoint.js';
import type { ScaleDecision, ScaleSample } from './scale.js';

/** One decision of the scaler with all that it was made of. */
export interface ScaleRecord extends Pick<ScaleDecision, 'wanted' | 'needed' | 'rule' | 'reason'> {
  readonly at: number;
  /** The release whose workers it is about. */
  readonly release: number;
  readonly policy: EndpointSettings['scale'];
  /** What was seen. `frozen` are part of `ready`; `throttled` are wanted from before and found no room yet. */
  readonly sample: ScaleSample & { readonly frozen: number; readonly throttled: number };
  /** Why nobody was started although more were wanted; null when that was not so. */
  readonly hold: string | null;
  /** What followed, as ids of workers. `throttle`: wanted, but without room. */
  readonly actions: Readonly<Record<ScaleAction, readonly string[]>>;
}

export const SCALE_ACTIONS = ['start', 'throttle', 'thaw', 'freeze', 'stop'] as const;
export type ScaleAction = (typeof SCALE_ACTIONS)[number];

/** Decisions that change nothing are kept no closer together than this. */
const PAUSE_MS = 1_000;

/** Whether a decision is kept: it acts, or says something else than the last one that was kept. */
export function isNews(record: ScaleRecord, last: ScaleRecord | undefined): boolean {
  if (SCALE_ACTIONS.some((action) => record.actions[action].length > 0)) return true;
  if (last === undefined) return record.wanted > 0 || record.sample.queued > 0;
  if (record.at - last.at < PAUSE_MS) return false;
  const same = (['wanted', 'rule', 'hold'] as const).every((field) => record[field] === last[field]);
  return !same || record.sample.throttled !== last.sample.throttled;
}

const AT_DIGITS = 15;

/** The key of a record: in the order of time below its endpoint. `number` tells those of one millisecond apart. */
export function recordKeyOf(endpointId: string, at: number, number: number): string {
  return `${endpointId}/${String(at).padStart(AT_DIGITS, '0')}-${String(number % 10_000).padStart(4, '0')}`;
}

/** When the record of a key was made. */
export function momentOfKey(key: string): number {
  return Number(key.slice(key.indexOf('/') + 1).slice(0, AT_DIGITS));
}
