/** Integer milliseconds since the Unix epoch. */
export interface Clock {
  now(): number;
}

/**
 * Wall clock at start plus monotonic time since: never jumps while the process lives, so leases and timers cannot
 * expire early when the machine's clock is set.
 */
export function openClock(): Clock {
  const startedAt = Date.now();
  const origin = performance.now();
  return { now: () => Math.floor(startedAt + performance.now() - origin) };
}
