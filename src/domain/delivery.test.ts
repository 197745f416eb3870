import { describe, expect, it } from 'vitest';
import { afterAttempt, type Delivery, decideWait, dueKeyOf, parseDueKey, redelivered } from './delivery.js';

const DAY_MS = 86_400_000;
const FRESH: Delivery = {
  id: 'd1',
  endpointId: 'e1',
  jobId: 'j1',
  jobState: 'COMPLETED',
  url: 'https://app.test/hook',
  bodyBytes: 2,
  createdAt: 0,
  state: 'PENDING',
  dueAt: 0,
  seriesAt: 0,
  tries: 0,
  attempts: [],
};
const refused = (at: number) => ({ at, durationMs: 1, status: 500, reason: 'the receiver answered 500' });

/** Every wait of a series whose attempts take no time. */
function waitsOf(persistMs: number): number[] {
  const waits: number[] = [];
  let now = 0;
  for (let delivery = FRESH; delivery.state === 'PENDING'; ) {
    delivery = afterAttempt(delivery, refused(now), { persistMs, now });
    if (delivery.dueAt === null) break;
    waits.push(delivery.dueAt - now);
    now = delivery.dueAt;
  }
  return waits;
}

describe('the schedule of a delivery', () => {
  it('tries three times ten seconds apart and then fails (row 53)', () => {
    expect(waitsOf(0)).toEqual([10_000, 10_000]);
  });

  it('goes on from a minute, doubling to an hour, to the end of the day when asked to (row 53)', () => {
    const waits = waitsOf(DAY_MS);
    expect(waits.slice(0, 10)).toEqual([10_000, 10_000, ...[1, 2, 4, 8, 16, 32, 60, 60].map((minutes) => minutes * 60_000)]);
    expect(waits.reduce((sum, wait) => sum + wait)).toBeLessThanOrEqual(DAY_MS);
    expect(waits.reduce((sum, wait) => sum + wait)).toBeGreaterThan(DAY_MS - 3_600_000);
  });

  it('ends whatever the number of tries', () => {
    expect(decideWait(5_000, { elapsedMs: DAY_MS, persistMs: DAY_MS })).toBeNull();
  });

  it('is over with a 200, keeps the newest attempts, and starts anew by redelivery (B16)', () => {
    const done = afterAttempt(FRESH, { at: 5, durationMs: 1, status: 200, reason: null }, { persistMs: 0, now: 6 });
    expect(done).toMatchObject({ state: 'DELIVERED', dueAt: null, tries: 1 });
    expect(redelivered(done, 90)).toMatchObject({ id: 'd1', state: 'PENDING', dueAt: 90, tries: 0, attempts: [{ at: 5 }] });
    let many = FRESH;
    for (let at = 0; at < 30; at++) many = afterAttempt(many, refused(at), { persistMs: DAY_MS, now: at });
    expect(many.attempts.map(({ at }) => at)).toEqual(Array.from({ length: 20 }, (_, n) => n + 10));
  });

  it('sorts by the time it is due and reads its key back', () => {
    const keys = [9, 10, 1_700_000_000_000].map((dueAt) => dueKeyOf({ ...FRESH, dueAt }));
    expect([...keys].sort()).toEqual(keys);
    expect(parseDueKey(keys[1] ?? '')).toEqual({ endpointId: 'e1', dueAt: 10, id: 'd1' });
  });
});
