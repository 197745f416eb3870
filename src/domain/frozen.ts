import type { EndpointSettings } from './endpoint.js';
import type { Worker } from './worker.js';

/** What the decision to thaw sees of an endpoint at one moment. */
export interface ThawSample {
  /** Queued jobs above low priority: those that may wake workers. */
  readonly queued: number;
  /** Workers without a job that run, those too that were thawed a moment ago. */
  readonly idle: number;
  /** Workers that start, idle and busy ones. */
  readonly awake: number;
  readonly frozen: number;
}

/**
 * How many frozen workers to wake: one for each job that no idle worker can take, at once, because it costs milliseconds; and as many
 * as are missing to the minimum, of which none is frozen. Never more than fit below max.
 */
export function decideThaws(
  { queued, idle, awake, frozen }: ThawSample,
  { min, max }: Pick<EndpointSettings['scale'], 'min' | 'max'>,
): number {
  return Math.max(0, Math.min(frozen, max - awake, Math.max(queued - idle, min - awake)));
}

/** A frozen worker as the memory budget sees it. */
export interface FrozenView {
  readonly id: string;
  readonly frozenAt: number;
  readonly memoryBytes: number;
}

/**
 * Ids of the frozen workers that have to go so that the others fit the budget: those that are larger than all of it, then the longest
 * frozen.
 */
export function decideEvictions(frozen: readonly FrozenView[], budgetBytes: number): readonly string[] {
  const tooLarge = frozen.filter(({ memoryBytes }) => memoryBytes > budgetBytes);
  const rest = frozen.filter((each) => !tooLarge.includes(each)).sort((a, b) => a.frozenAt - b.frozenAt);
  let excess = rest.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0) - budgetBytes;
  const evicted: FrozenView[] = [];
  for (const each of rest) {
    if (excess <= 0) break;
    evicted.push(each);
    excess -= each.memoryBytes;
  }
  return [...tooLarge, ...evicted].map(({ id }) => id);
}

/** The frozen workers of an endpoint together. */
export interface FrozenTotal {
  readonly workers: number;
  /** Memory they hold. */
  readonly bytes: number;
  /** Since when the one that is frozen longest is; null when none is. */
  readonly since: number | null;
}

/** How many workers are frozen, the memory that they hold, and since when the first one is. */
export function totalFrozen(workers: readonly Pick<Worker, 'state' | 'frozenAt' | 'memoryBytes'>[]): FrozenTotal {
  const frozen = workers.filter(({ state }) => state === 'FROZEN');
  const moments = frozen.flatMap(({ frozenAt }) => frozenAt ?? []);
  return {
    workers: frozen.length,
    bytes: frozen.reduce((sum, { memoryBytes }) => sum + (memoryBytes ?? 0), 0),
    since: moments.length === 0 ? null : Math.min(...moments),
  };
}

/** What frozen workers hold, for people: `85 MB`. */
export function formatHeld(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
