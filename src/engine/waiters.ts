/** Promises that wait for a value by key, bounded in time. */
export interface Waiters<T> {
  /** The next value for the key; undefined when the time is over or the signal aborts. */
  wait(key: string, timeoutMs: number, signal: AbortSignal): Promise<T | undefined>;
  notify(key: string, value: T): void;
  /** True while somebody waits for the key. */
  has(key: string): boolean;
}

export function createWaiters<T>(): Waiters<T> {
  const waiting = new Map<string, Set<(value: T | undefined) => void>>();
  return {
    wait: (key, timeoutMs, signal) =>
      new Promise((resolve) => {
        if (signal.aborted || timeoutMs <= 0) return resolve(undefined);
        const set = waiting.get(key) ?? new Set();
        waiting.set(key, set);
        const settle = (value: T | undefined) => {
          clearTimeout(timer);
          signal.removeEventListener('abort', abort);
          set.delete(settle);
          if (set.size === 0) waiting.delete(key);
          resolve(value);
        };
        const abort = () => settle(undefined);
        const timer = setTimeout(abort, timeoutMs);
        signal.addEventListener('abort', abort, { once: true });
        set.add(settle);
      }),
    notify: (key, value) => {
      for (const settle of [...(waiting.get(key) ?? [])]) settle(value);
    },
    has: (key) => waiting.has(key),
  };
}
