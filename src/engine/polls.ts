import type { Ending } from '../base/ending.js';
/** A worker's place in the queue of workers. */
export interface Poll {
  /** Resolves with the workers that were woken for the same job before; undefined when the time is over or the place was given up. */
  readonly woken: Promise<ReadonlySet<string> | undefined>;
  /** Gives the place up; nothing happens when it was woken already. */
  cancel(): void;
}

/** Workers that wait for a job, first come first served, by endpoint. */
export interface Polls {
  /**
   * Takes a place. Take it before looking for a job: one that comes between the look and the wait would wake nobody. Without an
   * endpoint it is a wait that no job ends.
   */
  begin(poll: { readonly endpointId: string | null; readonly workerId: string; readonly timeoutMs: number; readonly signal: Ending }): Poll;
  /** Wakes the worker that waits longest and was not tried for this job; false when there is none. */
  wake(endpointId: string, tried?: ReadonlySet<string>): boolean;
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
    begin: ({ endpointId, workerId, timeoutMs, signal }) => {
      const queue = endpointId === null ? undefined : setOf(byEndpoint, endpointId);
      const own = setOf(byWorker, workerId);
      let settle: Waiting['settle'] = () => {};
      const woken = new Promise<ReadonlySet<string> | undefined>((resolve) => {
        settle = (tried) => {
          clearTimeout(timer);
          signal.removeEventListener('abort', cancel);
          queue?.delete(waiting);
          own.delete(waiting);
          if (own.size === 0 && byWorker.get(workerId) === own) byWorker.delete(workerId);
          resolve(tried);
        };
      });
      const cancel = () => settle(undefined);
      const waiting: Waiting = { workerId, settle };
      const timer = setTimeout(cancel, Math.max(0, timeoutMs));
      queue?.add(waiting);
      own.add(waiting);
      signal.addEventListener('abort', cancel, { once: true });
      if (signal.aborted) cancel();
      return { woken, cancel };
    },
    wake: (endpointId, tried = NONE) => {
      for (const waiting of byEndpoint.get(endpointId) ?? []) {
        if (tried.has(waiting.workerId)) continue;
        waiting.settle(tried);
        return true;
      }
      return false;
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
