import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { decideRemovals, type KeptItem } from './collect.js';

const DAY = 24 * 60 * 60 * 1000;
const NOW = 100 * DAY;
const RULES = { unusedMs: 7 * DAY, sparedMs: DAY, sizeBytes: 1_000 };

const item = (path: string, daysAgo: number, more: Partial<KeptItem> = {}): KeptItem => ({
  path,
  sizeBytes: 10,
  usedAt: NOW - daysAgo * DAY,
  neededBy: [],
  ...more,
});
const gone = (items: readonly KeptItem[], rules = RULES) =>
  decideRemovals(items, NOW, rules)
    .map(({ path }) => path)
    .sort();

it('lets go of what was not used for a week, but of no part of a last build', () => {
  const items = [item('old', 8), item('new', 6), item('last', 90, { neededBy: ['project'] })];
  expect(gone(items)).toEqual(['old']);
});

it('above the size lets go of what was not used for longest, last builds too, until the rest fits', () => {
  const large = { sizeBytes: 400 };
  const items = [item('a', 30, { ...large, neededBy: ['project'] }), item('b', 3, large), item('c', 2, large), item('d', 4, large)];
  expect(gone(items)).toEqual(['a', 'd']);
});

it('spares what was used within a day, whatever its size', () => {
  const items = [item('under way', 0.5, { sizeBytes: 10_000 }), item('before', 2)];
  expect(gone(items)).toEqual(['before']);
  expect(gone([item('under way', 0.5, { sizeBytes: 10_000 }), item('of tomorrow', -1, { sizeBytes: 10_000 })])).toEqual([]);
});

it('keeps what is new, what is needed while there is room, and the size, whatever there is', () => {
  const any = fc.record({
    path: fc.uuid(),
    sizeBytes: fc.integer({ min: 0, max: 600 }),
    usedAt: fc.integer({ min: NOW - 20 * DAY, max: NOW }),
    neededBy: fc.constantFrom([], ['a'], ['a', 'b']),
  });
  const law = fc.property(fc.array(any, { maxLength: 30 }), (items) => {
    const removed = new Set(decideRemovals(items, NOW, RULES));
    const kept = items.filter((each) => !removed.has(each));
    const size = (list: readonly KeptItem[]) => list.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    for (const { usedAt } of removed) expect(usedAt).toBeLessThan(NOW - RULES.sparedMs);
    for (const { usedAt, neededBy } of kept) expect(neededBy.length > 0 || usedAt >= NOW - RULES.unusedMs).toBe(true);
    expect(size(kept) <= RULES.sizeBytes || kept.every(({ usedAt }) => usedAt >= NOW - RULES.sparedMs)).toBe(true);
    // Nothing goes for its size that was used after something that stays.
    const forSize = [...removed].filter(({ usedAt, neededBy }) => neededBy.length > 0 || usedAt >= NOW - RULES.unusedMs);
    for (const { usedAt } of forSize) expect(kept.every((other) => other.usedAt >= usedAt)).toBe(true);
  });
  void fc.assert(law);
});
