/** Workers that wait for a job, first come first served, by endpoint. */
export interface Polls {
  /** Waits to be woken; resolves with the workers that were woken for the same job before, undefined when time is over. */
  wait(poll: {
    readonly endpointId: string;
    readonly workerId: string;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
  }): Promise<ReadonlySet<string> | undefined>;
  /** Wakes the worker that waits longest and was not tried for this job. */
  wake(endpointId: string, tried?: ReadonlySet<string>): void;
  /** Ends the wait of one worker. */
  release(workerId: string): void;
  isWaiting(workerId: string): boolean;
}

interface Waiting {
  readonly workerId: string;
  readonly settle: (tried: ReadonlySet<string> | undefined) => void;
}

export function createPolls(): Polls {
  const byEndpoint = new Map<string, Set<Waiting>>();
  const byWorker = new Map<string, Set<Waiting>>();
  const NONE: ReadonlySet<string> = new Set();
  return {
    wait: ({ endpointId, workerId, timeoutMs, signal }) =>
      new Promise((resolve) => {
        if (signal.aborted || timeoutMs <= 0) return resolve(undefined);
        const queue = setOf(byEndpoint, endpointId);
        const own = setOf(byWorker, workerId);
        const waiting: Waiting = {
          workerId,
          settle: (tried) => {
            clearTimeout(timer);
            signal.removeEventListener('abort', abort);
            queue.delete(waiting);
            own.delete(waiting);
            if (own.size === 0) byWorker.delete(workerId);
            resolve(tried);
          },
        };
        const abort = () => waiting.settle(undefined);
        const timer = setTimeout(abort, timeoutMs);
        signal.addEventListener('abort', abort, { once: true });
        queue.add(waiting);
        own.add(waiting);
      }),
    wake: (endpointId, tried = NONE) => {
      for (const waiting of byEndpoint.get(endpointId) ?? []) {
        if (!tried.has(waiting.workerId)) return waiting.settle(tried);
      }
    },
    release: (workerId) => {
      for (const waiting of [...(byWorker.get(workerId) ?? [])]) waiting.settle(undefined);
    },
    isWaiting: (workerId) => byWorker.has(workerId),
  };
}

function setOf(map: Map<string, Set<Waiting>>, key: string): Set<Waiting> {
  const found = map.get(key);
  if (found) return found;
  const made = new Set<Waiting>();
  map.set(key, made);
  return made;
}
