import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from './endpoint.js';
import { isNews, momentOfKey, recordKeyOf, type ScaleRecord } from './scale-record.js';

const NOTHING = { start: [], throttle: [], thaw: [], freeze: [], stop: [] };
const SAMPLE = {
  queued: 1,
  inProgress: 0,
  oldestQueuedAt: 1,
  starting: 0,
  ready: 1,
  busy: 0,
  workedAt: null,
  stopping: 0,
  requestedAt: 1,
  frozen: 0,
  throttled: 0,
};
const record = (more: Partial<ScaleRecord> = {}): ScaleRecord => ({
  at: 1_000,
  release: 1,
  policy: DEFAULT_SETTINGS.scale,
  sample: SAMPLE,
  wanted: 1,
  needed: 1,
  rule: 'within-delay',
  reason: 'the oldest job waits 3 ms, up to 4 s is accepted',
  hold: null,
  actions: NOTHING,
  ...more,
});

describe('a decision of the scaler', () => {
  it('is kept when it acts, however soon', () => {
    expect(isNews(record({ actions: { ...NOTHING, stop: ['w-1'] } }), record())).toBe(true);
  });

  it('is kept when it says something else, but not more often than once a second', () => {
    expect(isNews(record({ at: 1_500, wanted: 2 }), record())).toBe(false);
    expect(isNews(record({ at: 2_000, wanted: 2 }), record())).toBe(true);
    expect(isNews(record({ at: 2_000, rule: 'quiet' }), record())).toBe(true);
    expect(isNews(record({ at: 2_000, sample: { ...SAMPLE, throttled: 1 } }), record())).toBe(true);
  });

  it('is not kept when only the wait grew, nor the first of an endpoint without work (no growth when idle)', () => {
    expect(isNews(record({ at: 9_000, reason: 'the oldest job waits 2500 ms, up to 4 s is accepted' }), record())).toBe(false);
    expect(isNews(record({ wanted: 0, sample: { ...SAMPLE, queued: 0 } }), undefined)).toBe(false);
    expect(isNews(record(), undefined)).toBe(true);
  });

  it('has a key in the order of time', () => {
    const keys = [recordKeyOf('e', 999, 7), recordKeyOf('e', 1_000, 3), recordKeyOf('e', 1_000, 4), recordKeyOf('e', 1_700_000_000_000, 0)];
    expect(keys.toSorted()).toEqual(keys);
    expect(keys.map(momentOfKey)).toEqual([999, 1_000, 1_000, 1_700_000_000_000]);
  });
});
