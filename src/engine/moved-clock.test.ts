import { describe, expect, it } from 'vitest';
import { measureMove } from './moved-clock.js';

const HOUR_MS = 3_600_000;
const earlier = { bootId: 'a', now: 1_700_000_000_000, uptime: 50_000 };
const later = (wallMs: number, bootId = 'a') => ({ bootId, now: earlier.now + wallMs, uptime: earlier.uptime + 90_000 });

describe('measureMove (B5)', () => {
  it('is nothing when both clocks went on for the same time, or nearly', () => {
    expect(measureMove(earlier, later(90_000))).toBe(0);
    expect(measureMove(earlier, later(90_900))).toBe(0);
  });

  it('tells by how much the wall clock was set forward or back', () => {
    expect(measureMove(earlier, later(90_000 + HOUR_MS))).toBe(HOUR_MS);
    expect(measureMove(earlier, later(90_000 - HOUR_MS))).toBe(-HOUR_MS);
    expect(measureMove(earlier, later(80_000))).toBe(-10_000);
  });

  it('is nothing over a boot, when only the wall clock can tell how long the machine was off', () => {
    expect(measureMove(earlier, later(HOUR_MS, 'b'))).toBe(0);
    expect(measureMove(earlier, { ...later(HOUR_MS), uptime: 10_000 })).toBe(0);
  });
});
