import { formatPointer, isObject } from './pointer.js';

/** Where two values differ. A side that is absent has nothing at that place. */
export interface Difference {
  /** JSON pointer. */
  readonly at: string;
  readonly expected?: unknown;
  readonly actual?: unknown;
}

export interface CompareRules {
  /** By how much numbers may differ. */
  readonly tolerance: number;
  /** Objects of the actual value may have further members; lists may not be longer. */
  readonly isSubset: boolean;
}

const MOST_DIFFERENCES = 20;

/** The places in which a JSON value is not what was expected, the first twenty of them; empty when it is. The order of members does not matter. */
export function compareValues(expected: unknown, actual: unknown, rules: CompareRules): readonly Difference[] {
  const found: Difference[] = [];
  compare({ expected, actual, at: [] }, rules, found);
  return found;
}

interface Pair {
  readonly expected: unknown;
  readonly actual: unknown;
  readonly at: readonly (string | number)[];
}

function compare({ expected, actual, at }: Pair, rules: CompareRules, found: Difference[]): void {
  if (found.length >= MOST_DIFFERENCES) return;
  if (Array.isArray(expected) && Array.isArray(actual)) {
    for (let index = 0; index < Math.max(expected.length, actual.length); index += 1)
      compareMember({ from: expected, to: actual, at, name: index }, rules, found);
    return;
  }
  if (isObject(expected) && isObject(actual)) {
    const names = rules.isSubset ? Object.keys(expected) : [...new Set([...Object.keys(expected), ...Object.keys(actual)])];
    for (const name of names) compareMember({ from: expected, to: actual, at, name }, rules, found);
    return;
  }
  if (!isAlike(expected, actual, rules.tolerance)) found.push({ at: formatPointer(at), expected, actual });
}

interface Member {
  readonly from: object;
  readonly to: object;
  readonly at: Pair['at'];
  readonly name: string | number;
}

function compareMember({ from, to, at, name }: Member, rules: CompareRules, found: Difference[]): void {
  const place = [...at, name];
  const [isExpected, isThere] = [Object.hasOwn(from, name), Object.hasOwn(to, name)];
  const expected = (from as Record<string | number, unknown>)[name];
  const actual = (to as Record<string | number, unknown>)[name];
  if (isExpected && isThere) compare({ expected, actual, at: place }, rules, found);
  else if (found.length < MOST_DIFFERENCES)
    found.push({ at: formatPointer(place), ...(isExpected && { expected }), ...(isThere && { actual }) });
}

function isAlike(expected: unknown, actual: unknown, tolerance: number): boolean {
  if (typeof expected === 'number' && typeof actual === 'number') return Math.abs(expected - actual) <= tolerance;
  return expected === actual;
}
