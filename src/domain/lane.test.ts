import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from './endpoint.js';
import { isCanaryPlace, laneOf, placesHeld, scaleOfCanary, scaleOfStable } from './lane.js';

const share = fc.integer({ min: 1, max: 99 });
const canaries = (places: readonly number[], percent: number) => places.filter((place) => isCanaryPlace(place, percent)).length;

describe('the places of a canary', () => {
  it('have its share of every stretch of jobs, also when only every n-th job is of the endpoint', () => {
    fc.assert(
      fc.property(
        share,
        fc.nat({ max: 1e6 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 500 }),
        (percent, from, step, count) => {
          const places = Array.from({ length: count }, (_, n) => from + n * step);
          expect(Math.abs(canaries(places, percent) - (count * percent) / 100)).toBeLessThanOrEqual(8);
        },
      ),
    );
  });

  it('are about one of a hundred at 1 percent, all but one at 99', () => {
    const places = Array.from({ length: 10_000 }, (_, n) => n + 1);
    for (const [percent, count] of [
      [1, 100],
      [50, 5_000],
      [99, 9_900],
    ] as const)
      expect(Math.abs(canaries(places, percent) - count)).toBeLessThanOrEqual(2);
  });

  it("stay the canary's when the share grows", () => {
    fc.assert(
      fc.property(share, share, fc.nat({ max: 2 ** 40 }), (one, other, place) => {
        const [small, large] = [Math.min(one, other), Math.max(one, other)];
        expect(isCanaryPlace(place, large) || !isCanaryPlace(place, small)).toBe(true);
      }),
    );
  });
});

describe('the lane of a worker', () => {
  const canary = { release: 2, share: 10 };
  it.each([
    ['all before any release serves', { release: 1, isCandidate: false }, { activeRelease: null, canary: null }, 'all'],
    ['all of the release that serves', { release: 1, isCandidate: false }, { activeRelease: 1, canary: null }, 'all'],
    ['only pinned jobs for a candidate', { release: 2, isCandidate: true }, { activeRelease: 1, canary: null }, 'pinned'],
    [
      'only pinned jobs for a release that does not serve any more',
      { release: 1, isCandidate: false },
      { activeRelease: 3, canary },
      'pinned',
    ],
    ["the canary's", { release: 2, isCandidate: false }, { activeRelease: 1, canary }, 'canary'],
    ['the rest beside a canary', { release: 1, isCandidate: false }, { activeRelease: 1, canary }, 'stable'],
  ] as const)('is %s', (_title, worker, routing, lane) => {
    expect(laneOf(worker, routing)).toBe(lane);
  });
});

describe('workers beside a canary', () => {
  const scale = (min: number, max: number) => ({ ...DEFAULT_SETTINGS.scale, min, max });
  it.each([
    // min, max, share: canary min and max, what is left when the canary has one worker
    [0, 10, 10, [0, 1], [0, 9]],
    [0, 10, 50, [0, 5], [0, 9]],
    [0, 3, 99, [0, 2], [0, 2]],
    [2, 4, 25, [1, 1], [1, 3]],
    [1, 1, 50, [1, 1], [1, 1]],
    [0, 0, 50, [0, 0], [0, 0]],
  ] as const)('are split: min %i, max %i, %i percent', (min, max, percent, canary, stable) => {
    const mine = scaleOfCanary(scale(min, max), percent);
    expect([mine.min, mine.max]).toEqual(canary);
    const rest = scaleOfStable(scale(min, max), { min: mine.min, workers: 1 });
    expect([rest.min, rest.max]).toEqual(stable);
  });

  it('wait for those at work, but for the first', () => {
    const places = { max: 10, canaryMax: 5 };
    expect(placesHeld(places, { others: 10, canary: 0 })).toBe(4);
    expect(placesHeld(places, { others: 10, canary: 1 })).toBe(5);
    expect(placesHeld(places, { others: 7, canary: 1 })).toBe(2);
    expect(placesHeld(places, { others: 3, canary: 1 })).toBe(0);
  });
});
