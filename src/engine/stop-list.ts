/** One job that a worker should let go of. */
export interface Stop {
  /** When to tell it (again). */
  dueAt: number;
  isTold: boolean;
  readonly timer: NodeJS.Timeout;
}

/** Who was asked to stop what, in memory: after a restart the pings show what still runs. */
export interface Stops {
  /** By worker, then by job. */
  readonly open: Map<string, Map<string, Stop>>;
  /** When each worker was last heard on job-stop. */
  readonly heardAt: Map<string, number>;
}

export function createStops(): Stops {
  return { open: new Map(), heardAt: new Map() };
}

/** Marks what is due as told. Told at most once an interval: each telling cancels the task again (worker-protocol §5). */
export function findDue(
  open: ReadonlyMap<string, Stop> | undefined,
  { now, intervalMs }: { readonly now: number; readonly intervalMs: number },
): { readonly due: readonly string[]; readonly nextAt: number } {
  const due: string[] = [];
  let nextAt = Number.POSITIVE_INFINITY;
  for (const [jobId, stop] of open ?? []) {
    if (stop.dueAt > now) nextAt = Math.min(nextAt, stop.dueAt);
    else {
      stop.dueAt = now + intervalMs;
      stop.isTold = true;
      due.push(jobId);
    }
  }
  return { due, nextAt };
}
