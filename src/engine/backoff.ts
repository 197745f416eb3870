/** Growing pauses between starts of an endpoint whose workers crash. */
export interface Backoff {
  /** Gives the number of crashes in a row when it is time to pause the endpoint. */
  recordCrash(endpointId: string, now: number): number | undefined;
  /** A worker finished a job, or a new release serves: crashes are forgotten. */
  reset(endpointId: string): void;
  /** The earliest moment of the next start. */
  nextStartAt(endpointId: string): number;
}

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 60_000;
/** So many workers in a row may end without finishing a job. */
export const CRASH_BUDGET = 8;

export function createBackoff(): Backoff {
  const states = new Map<string, { crashes: number; nextStartAt: number }>();
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
  };
}
