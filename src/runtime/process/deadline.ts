import { setTimeout as wait } from 'node:timers/promises';

/** Waits for a promise at most so long, and leaves no timer behind. */
export async function raceTime(promise: Promise<unknown>, timeMs: number): Promise<void> {
  const timer = new AbortController();
  await Promise.race([promise, wait(timeMs, undefined, { signal: timer.signal }).catch(() => {})]);
  timer.abort();
}
