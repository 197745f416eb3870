import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideEvictions, decideThaws } from './frozen.js';
import { addThaw, parseThaws } from './worker.js';

describe('decideThaws', () => {
  const policy = { min: 0, max: 9 };

  it('wakes one for each job that no idle worker can take, as far as there are any', () => {
    const sample = { queued: 3, idle: 1, awake: 4, frozen: 5 };
    expect(decideThaws(sample, policy)).toBe(2);
    expect(decideThaws({ ...sample, frozen: 1 }, policy)).toBe(1);
    expect(decideThaws({ ...sample, idle: 4 }, policy)).toBe(0);
    expect(decideThaws(sample, { min: 0, max: 5 })).toBe(1);
    expect(decideThaws(sample, { min: 0, max: 0 })).toBe(0);
  });

  it('wakes as many as are missing to the minimum, without a job (row 70)', () => {
    expect(decideThaws({ queued: 0, idle: 1, awake: 1, frozen: 5 }, { min: 3, max: 9 })).toBe(2);
  });
});

describe('decideEvictions', () => {
  const frozen = fc
    .array(fc.record({ frozenAt: fc.nat(1_000), memoryBytes: fc.nat(500) }), { maxLength: 20 })
    .map((list) => list.map((view, index) => ({ ...view, id: String(index) })));

  it('takes those that are larger than the budget, then the longest frozen', () => {
    const views = [
      { id: 'new', frozenAt: 3, memoryBytes: 40 },
      { id: 'large', frozenAt: 4, memoryBytes: 101 },
      { id: 'old', frozenAt: 1, memoryBytes: 40 },
      { id: 'older', frozenAt: 0, memoryBytes: 5 },
    ];
    expect(decideEvictions(views, 100)).toEqual(['large']);
    expect(decideEvictions(views, 84)).toEqual(['large', 'older']);
    expect(decideEvictions(views, 79)).toEqual(['large', 'older', 'old']);
    expect(decideEvictions(views, 0)).toHaveLength(4);
  });

  it('leaves what fits the budget, and takes nobody without need', () => {
    fc.assert(
      fc.property(frozen, fc.nat(2_000), (views, budget) => {
        const evicted = decideEvictions(views, budget);
        const sum = (list: typeof views) => list.reduce((total, { memoryBytes }) => total + memoryBytes, 0);
        const left = views.filter(({ id }) => !evicted.includes(id));
        expect(sum(left)).toBeLessThanOrEqual(budget);
        const last = views.find(({ id }) => id === evicted.at(-1));
        if (last && last.memoryBytes > 0) expect(sum([...left, last])).toBeGreaterThan(budget);
      }),
    );
  });
});

describe('the thaws of a worker', () => {
  it('are kept in order, the last ones', () => {
    const thaws = Array.from({ length: 40 }, (_, n) => ({ decidedAt: n, startedAt: n + 1, readyAt: n + 2 }));
    const kept = thaws.reduce<string | null>(addThaw, null);
    expect(parseThaws(kept)).toEqual(thaws.slice(-32));
    expect(parseThaws(null)).toEqual([]);
  });
});
