import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareValues } from './compare.js';

const EXACT = { tolerance: 0, isSubset: false };

describe('compareValues', () => {
  it('finds nothing between a value and itself, whatever the order of its members', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const copy = JSON.parse(JSON.stringify(value), (_, part) =>
          typeof part === 'object' && part !== null && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).reverse()) : part,
        );
        expect(compareValues(value, copy, EXACT)).toEqual([]);
      }),
    );
  });

  it('finds something between values whose JSON differs, in either direction', () => {
    const canonical = (value: unknown): string =>
      JSON.stringify(value, (_, part) =>
        typeof part === 'object' && part !== null && !Array.isArray(part)
          ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1)))
          : part,
      );
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const [left, right] = [JSON.parse(JSON.stringify(a)), JSON.parse(JSON.stringify(b))];
        fc.pre(canonical(left) !== canonical(right));
        expect(compareValues(left, right, EXACT)).not.toEqual([]);
        expect(compareValues(right, left, EXACT)).not.toEqual([]);
      }),
    );
  });

  it('names each place by its pointer, with what is missing or too much on either side', () => {
    const expected = { a: [1, { 'x/y': 'one' }], gone: true };
    const actual = { a: [1, { 'x/y': 'two' }, 3], more: null };
    expect(compareValues(expected, actual, EXACT)).toEqual([
      { at: '/a/1/x~1y', expected: 'one', actual: 'two' },
      { at: '/a/2', actual: 3 },
      { at: '/gone', expected: true },
      { at: '/more', actual: null },
    ]);
  });

  it('lets numbers differ by the tolerance, and no more', () => {
    expect(compareValues([0.5, 2], [0.51, 2], { ...EXACT, tolerance: 0.02 })).toEqual([]);
    expect(compareValues([0.5], [0.53], { ...EXACT, tolerance: 0.02 })).toHaveLength(1);
    expect(compareValues(1, '1', { ...EXACT, tolerance: 5 })).toHaveLength(1);
  });

  it('takes further members for a subset, but no longer list and no other value', () => {
    const rules = { tolerance: 0, isSubset: true };
    expect(compareValues({ a: { b: 1 } }, { a: { b: 1, c: 2 }, d: 3 }, rules)).toEqual([]);
    expect(compareValues({ a: [1] }, { a: [1, 2] }, rules)).toEqual([{ at: '/a/1', actual: 2 }]);
    expect(compareValues({ a: 1 }, [], rules)).toHaveLength(1);
  });

  it('tells an own member from one that every object has', () => {
    expect(compareValues({ constructor: 1 }, {}, EXACT)).toEqual([{ at: '/constructor', expected: 1 }]);
  });

  it('stops after twenty', () => {
    expect(compareValues(Array(50).fill(0), Array(50).fill(1), EXACT)).toHaveLength(20);
  });
});
