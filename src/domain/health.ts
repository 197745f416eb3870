import type { CrashLoop } from './crashes.js';
import type { Endpoint } from './endpoint.js';
import { type FrozenTotal, formatHeld } from './frozen.js';
import { describeRollout, formatRelease, type RolloutPlace } from './release.js';
import type { WorkerState } from './worker.js';

/** What is known of an endpoint when somebody asks how it is. */
export interface HealthSample {
  readonly endpoint: Pick<Endpoint, 'activeRelease' | 'pausedReason' | 'settings'>;
  readonly workers: Readonly<Record<WorkerState, number>>;
  readonly inQueue: number;
  /** Since when the oldest queued job waits; null when none does. */
  readonly oldestAt: number | null;
  readonly crashLoop: Pick<CrashLoop, 'crashes'> | null;
  /** Why it has fewer workers than its settings say; null while they count. */
  readonly rest: string | null;
  readonly frozen: FrozenTotal;
  /** The newest one, while it moves. */
  readonly rollout: RolloutPlace | null;
}

/** How an endpoint is, in one sentence: what serves, who works, what waits. */
export function describeHealth(sample: HealthSample, now: number): string {
  const { pausedReason } = sample.endpoint;
  const pause = pausedReason === null ? '' : `paused: ${pausedReason.split('\n')[0]}`;
  const rollout = sample.rollout === null ? '' : describeRollout(sample.rollout);
  return [describeService(sample), ...describeWorkers(sample, now), sample.rest ?? '', rollout, describeQueue(sample, now), pause]
    .filter((part) => part !== '')
    .join(', ');
}

function describeService({ endpoint, crashLoop }: HealthSample): string {
  const { activeRelease, pausedReason, settings } = endpoint;
  if (activeRelease === null) return 'no release serves';
  const name = formatRelease(activeRelease);
  if (pausedReason !== null) return name;
  if (settings.scale.max === 0) return `${name} is parked (max 0)`;
  if (crashLoop && crashLoop.crashes > 1) return `${name} crashes, ${crashLoop.crashes} workers in a row`;
  return `serving ${name}`;
}

const WORDS: readonly (readonly [WorkerState, string])[] = [
  ['RUNNING', 'busy'],
  ['IDLE', 'idle'],
  ['FROZEN', 'frozen'],
  ['INITIALIZING', 'starting'],
  ['DRAINING', 'stopping'],
  ['UNHEALTHY', 'unhealthy'],
  ['THROTTLED', 'without room'],
];

function describeWorkers({ workers, endpoint, frozen }: HealthSample, now: number): readonly string[] {
  const counted = WORDS.flatMap(([state, word]) => {
    if (workers[state] === 0) return [];
    return [`${workers[state]} ${word}${state === 'FROZEN' ? describeFrozen(frozen, now) : ''}`];
  });
  return counted.length === 0 && endpoint.activeRelease !== null ? ['no worker'] : counted;
}

function describeFrozen({ bytes, since }: FrozenTotal, now: number): string {
  return since === null ? '' : ` (${formatHeld(bytes)} held, the oldest for ${formatAge(Math.max(0, now - since))})`;
}

function describeQueue({ inQueue, oldestAt }: HealthSample, now: number): string {
  if (inQueue === 0) return 'nothing waiting';
  const age = oldestAt === null ? '' : `, the oldest for ${formatAge(Math.max(0, now - oldestAt))}`;
  return `${inQueue} waiting${age}`;
}

/** `350 ms`, `42 s`, `7 min`, `3 h`. */
export function formatAge(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 90_000) return `${Math.round(ms / 1_000)} s`;
  return ms < 5_400_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}
