import { describe, expect, it } from 'vitest';
import { formatTests, reportKeyOf } from './test-report.js';

describe('test reports', () => {
  it('lie in the order of releases', () => {
    const keys = [2, 10, 9, 1_000_000].map((release) => reportKeyOf('e', release));
    expect(keys.toSorted()).toEqual([2, 9, 10, 1_000_000].map((release) => reportKeyOf('e', release)));
  });

  it('say in a few words how it went', () => {
    expect(
      [
        { passed: 14, failed: 0 },
        { passed: 12, failed: 2 },
        { passed: 0, failed: 0 },
      ].map(formatTests),
    ).toEqual(['14 passed', '2 of 14 failed', '0 passed']);
  });
});
