import { addCrash, type CrashRow, isReleaseToBlame } from '../domain/crashes.js';

/** The workers of one release. */
export interface FleetName {
  readonly endpointId: string;
  readonly release: number;
}

export interface Crash {
  readonly at: number;
  /** What the worker had. */
  readonly jobIds: readonly string[];
  /** One of them ended three workers and was set aside: the queue moves on at once. */
  readonly isQuarantined: boolean;
}

export interface Verdict {
  /** Workers in a row that ended without one of them finishing a job. */
  readonly crashes: number;
  readonly isOverBudget: boolean;
  readonly isReleaseToBlame: boolean;
}

/** Growing pauses between starts of a release whose workers crash. */
export interface Backoff {
  recordCrash(fleet: FleetName, crash: Crash): Verdict;
  /** A worker of the release finished a job, or everything begins anew for the endpoint: crashes are forgotten. */
  reset(endpointId: string, release?: number): void;
  /** The earliest moment of the next start. */
  nextStartAt(fleet: FleetName): number;
}

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 60_000;
/** So many workers in a row may end without finishing a job. */
export const CRASH_BUDGET = 8;

interface State {
  readonly crashes: number;
  readonly nextStartAt: number;
  readonly row: CrashRow;
}

export function createBackoff(): Backoff {
  const endpoints = new Map<string, Map<number, State>>();
  const stateOf = ({ endpointId, release }: FleetName) => endpoints.get(endpointId)?.get(release);
  return {
    recordCrash: (fleet, { at, jobIds, isQuarantined }) => {
      const before = stateOf(fleet);
      const row = addCrash(before?.row, jobIds);
      const crashes = isQuarantined ? 0 : (before?.crashes ?? 0) + 1;
      // The first crash may be the job's fault or a kill from outside: its job should not wait.
      const delayMs = crashes <= 1 ? 0 : Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (crashes - 2));
      const states = endpoints.get(fleet.endpointId) ?? new Map<number, State>();
      endpoints.set(fleet.endpointId, states.set(fleet.release, { crashes, nextStartAt: isQuarantined ? 0 : at + delayMs, row }));
      return { crashes: row.count, isOverBudget: crashes >= CRASH_BUDGET, isReleaseToBlame: isReleaseToBlame(row) };
    },
    reset: (endpointId, release) => {
      if (release === undefined) endpoints.delete(endpointId);
      else endpoints.get(endpointId)?.delete(release);
    },
    nextStartAt: (fleet) => stateOf(fleet)?.nextStartAt ?? 0,
  };
}
