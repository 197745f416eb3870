import type { Ending } from '../base/ending.js';
/** A wait that can be given up, so that no timer is left behind. */
export interface Wait<T> {
  /** The next value for the key; undefined when the time is over, the signal aborts, or it was given up. */
  readonly value: Promise<T | undefined>;
  /** Gives it up; nothing happens when it is over already. */
  cancel(): void;
}

/** Promises that wait for a value by key, bounded in time. */
export interface Waiters<T> {
  /** Begin before looking: a value that comes between the look and the wait would be missed. */
  begin(key: string, timeoutMs: number, signal: Ending): Wait<T>;
  /** The value of a wait that is never given up. */
  wait(key: string, timeoutMs: number, signal: Ending): Promise<T | undefined>;
  notify(key: string, value: T): void;
  /** True while somebody waits for the key. */
  isAwaited(key: string): boolean;
}

export function createWaiters<T>(): Waiters<T> {
  const waiting = new Map<string, Set<(value: T | undefined) => void>>();
  const begin: Waiters<T>['begin'] = (key, timeoutMs, signal) => {
    if (signal.aborted || timeoutMs <= 0) return { value: Promise.resolve(undefined), cancel: () => {} };
    const set = waiting.get(key) ?? new Set();
    waiting.set(key, set);
    let settle: (value: T | undefined) => void = () => {};
    const cancel = () => settle(undefined);
    const timer = setTimeout(cancel, timeoutMs);
    signal.addEventListener('abort', cancel, { once: true });
    const value = new Promise<T | undefined>((resolve) => {
      settle = (given) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', cancel);
        set.delete(settle);
        if (set.size === 0 && waiting.get(key) === set) waiting.delete(key);
        resolve(given);
      };
    });
    set.add(settle);
    return { value, cancel };
  };
  return {
    begin,
    wait: (key, timeoutMs, signal) => begin(key, timeoutMs, signal).value,
    notify: (key, value) => {
      for (const settle of [...(waiting.get(key) ?? [])]) settle(value);
    },
    isAwaited: (key) => waiting.has(key),
  };
}
