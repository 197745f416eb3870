import { addCrash, type CrashLoop, isReleaseToBlame } from '../domain/crashes.js';

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
  /** Undefined while there was no crash since the last success. */
  loopOf(fleet: FleetName): CrashLoop | undefined;
  /** The releases of which there is a {@link loopOf}. */
  listReleases(endpointId: string): readonly number[];
  /** Goes on with what a former server counted. */
  restore(fleet: FleetName, loop: CrashLoop, now: number): void;
}

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 60_000;
/** So many workers in a row may end without finishing a job. */
export const CRASH_BUDGET = 8;

export function createBackoff(): Backoff {
  const endpoints = new Map<string, Map<number, CrashLoop>>();
  const loopOf = ({ endpointId, release }: FleetName) => endpoints.get(endpointId)?.get(release);
  const keep = ({ endpointId, release }: FleetName, loop: CrashLoop) => {
    endpoints.set(endpointId, (endpoints.get(endpointId) ?? new Map<number, CrashLoop>()).set(release, loop));
  };
  return {
    recordCrash: (fleet, { at, jobIds, isQuarantined }) => {
      const before = loopOf(fleet);
      const row = addCrash(before?.row, jobIds);
      const crashes = isQuarantined ? 0 : (before?.crashes ?? 0) + 1;
      // The first crash may be the job's fault or a kill from outside: its job should not wait.
      const delayMs = crashes <= 1 ? 0 : Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (crashes - 2));
      keep(fleet, { crashes, nextStartAt: isQuarantined ? 0 : at + delayMs, row });
      return { crashes: row.count, isOverBudget: crashes >= CRASH_BUDGET, isReleaseToBlame: isReleaseToBlame(row) };
    },
    reset: (endpointId, release) => {
      if (release === undefined) endpoints.delete(endpointId);
      else endpoints.get(endpointId)?.delete(release);
    },
    nextStartAt: (fleet) => loopOf(fleet)?.nextStartAt ?? 0,
    loopOf,
    listReleases: (endpointId) => [...(endpoints.get(endpointId)?.keys() ?? [])],
    // The clock may have been set meanwhile: no pause is longer than the longest.
    restore: (fleet, loop, now) => keep(fleet, { ...loop, nextStartAt: Math.min(loop.nextStartAt, now + LONGEST_DELAY_MS) }),
  };
}
