import type { CrashLoop } from '../domain/crash-loop.js';

/** Growing pauses between starts of an endpoint whose workers crash. */
export interface Backoff {
  /** Gives the number of crashes in a row when it is time to pause the endpoint. */
  recordCrash(endpointId: string, now: number): number | undefined;
  /** A worker finished a job, or a new release serves: crashes are forgotten. */
  reset(endpointId: string): void;
  /** The earliest moment of the next start. */
  nextStartAt(endpointId: string): number;
  /** Undefined while there was no crash since the last success. */
  loopOf(endpointId: string): CrashLoop | undefined;
  /** Goes on with what a former server counted. */
  restore(endpointId: string, loop: CrashLoop, now: number): void;
}

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 60_000;
/** So many workers in a row may end without finishing a job. */
export const CRASH_BUDGET = 8;

export function createBackoff(): Backoff {
  const states = new Map<string, CrashLoop>();
  return {
    recordCrash: (endpointId, now) => {
      const crashes = (states.get(endpointId)?.crashes ?? 0) + 1;
      // The first crash may be the job's fault or a kill from outside: its job should not wait.
      const delayMs = crashes === 1 ? 0 : Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (crashes - 2));
      states.set(endpointId, { crashes, nextStartAt: now + delayMs });
      return crashes >= CRASH_BUDGET ? crashes : undefined;
    },
    reset: (endpointId) => {
      states.delete(endpointId);
    },
    nextStartAt: (endpointId) => states.get(endpointId)?.nextStartAt ?? 0,
    loopOf: (endpointId) => states.get(endpointId),
    // The clock may have been set meanwhile: no pause is longer than the longest.
    restore: (endpointId, { crashes, nextStartAt }, now) => {
      states.set(endpointId, { crashes, nextStartAt: Math.min(nextStartAt, now + LONGEST_DELAY_MS) });
    },
  };
}
