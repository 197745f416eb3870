/** Workers of one release that ended by themselves, one after another, without one of them finishing a job in between. */
export interface CrashRow {
  readonly count: number;
  /** How many of them had no job. */
  readonly jobless: number;
  /** The jobs that the others had: two of them, for more would tell no more. */
  readonly jobIds: readonly string[];
}

/** What is counted of a release whose workers crash. Plain JSON, so that it survives the server. */
export interface CrashLoop {
  /** Workers in a row since its last success; a job that was set aside for them begins a new row. */
  readonly crashes: number;
  /** The earliest moment of the next start, in milliseconds since the epoch. */
  readonly nextStartAt: number;
  readonly row: CrashRow;
}

/** What a worker of the release had when it ended. */
export function addCrash(row: CrashRow | undefined, jobIds: readonly string[]): CrashRow {
  return {
    count: (row?.count ?? 0) + 1,
    jobless: (row?.jobless ?? 0) + (jobIds.length === 0 ? 1 : 0),
    jobIds: [...new Set([...(row?.jobIds ?? []), ...jobIds])].slice(0, 2),
  };
}

/** So many in a row: one may be bad luck or a kill from outside, two a job that ends its worker. */
const ROW = 3;
/** A release that serves is judged for so long. */
export const WATCH_MS = 600_000;

/** Whether the release is to blame, and not one job that ends every worker it gets: that one is set aside after its third. */
export function isReleaseToBlame({ count, jobless, jobIds }: CrashRow): boolean {
  return count >= ROW && (jobless > 0 || jobIds.length > 1);
}
