import { type Clock, readUptime } from '../base/clock.js';
import type { Store } from '../store/store.js';

/** One moment on two clocks: the server's, and the time since the machine was started, which only runs on and begins anew at each boot. */
interface ClockMark {
  readonly bootId: string;
  readonly now: number;
  readonly uptime: number;
  /** How far the clock is behind what it was without being set; 0 when it is ahead. */
  readonly behindMs: number;
}

type Moment = Omit<ClockMark, 'behindMs'>;

export interface ClockMove {
  readonly byMs: number;
  readonly behindMs: number;
}

/** Clocks are adjusted a little all the time; nothing depends on less. */
const NOTICEABLE_MS = 1_000;

/**
 * The wall clock may have been set since the last server of this data directory began: then every stored moment moves with
 * it, so that no ttl, time-out or lease ends early or late. The machine's uptime tells by how much, within one boot of the
 * machine; over a boot the wall clock is believed. Gives the milliseconds moved, and how far all such moves left the clock behind.
 */
export async function followClock(store: Store, clock: Clock, bootId: string | undefined): Promise<ClockMove> {
  if (bootId === undefined) return { byMs: 0, behindMs: 0 };
  const kept = (await store.getRecord('setting', 'clock'))?.value;
  const earlier = kept === undefined ? undefined : (JSON.parse(kept) as ClockMark);
  const mark = { bootId, now: clock.now(), uptime: readUptime() };
  const byMs = earlier === undefined ? 0 : measureMove(earlier, mark);
  const behindMs = Math.max(0, (earlier?.behindMs ?? 0) - byMs);
  await store.moveMoments(byMs, JSON.stringify({ ...mark, behindMs } satisfies ClockMark));
  return { byMs, behindMs };
}

/** How far the server's clock is from where the time since the earlier mark would have brought it; 0 when nobody can tell. */
export function measureMove(earlier: Moment, mark: Moment): number {
  // A container may tell its own uptime, which begins anew with it.
  if (earlier.bootId !== mark.bootId || mark.uptime < earlier.uptime) return 0;
  const byMs = mark.now - (earlier.now + mark.uptime - earlier.uptime);
  return Math.abs(byMs) < NOTICEABLE_MS ? 0 : byMs;
}
