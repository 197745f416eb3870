import { uptime } from 'node:os';

/** Integer milliseconds since the Unix epoch. */
export interface Clock {
  now(): number;
}

/** Milliseconds since the machine was started, the time it slept included: the same for every process, and nobody can set it. */
export function readUptime(): number {
  return Math.round(uptime() * 1_000);
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
