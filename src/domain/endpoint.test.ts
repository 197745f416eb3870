import { describe, expect, it } from 'vitest';
import { formatLabels, hasLabel, isExpired, LABEL_NAME, LABEL_VALUE } from './endpoint.js';

describe('labels of an endpoint', () => {
  const labels = { run: '42', query: 'a=b', empty: '' };

  it('are found by name and value, or by name alone', () => {
    for (const wanted of ['run=42', 'run', 'query=a=b', 'empty=', 'empty'])
      expect([wanted, hasLabel(labels, wanted)]).toEqual([wanted, true]);
    for (const wanted of ['run=4', 'run=', 'ru', '', '=', 'Run=42', 'constructor', 'query=a']) {
      expect([wanted, hasLabel(labels, wanted)]).toEqual([wanted, false]);
    }
    expect(formatLabels(labels)).toBe('run=42 query=a=b empty=');
  });

  it('have names without = and values without control characters', () => {
    expect(['run', 'dev.wherry/run_1', 'A-1'].every((name) => new RegExp(LABEL_NAME).test(name))).toBe(true);
    expect(['', 'a=b', '-a', 'a b', '__proto__', 'a'.repeat(64)].some((name) => new RegExp(LABEL_NAME).test(name))).toBe(false);
    expect(['', 'zwei Wörter', 'a=b'].every((value) => new RegExp(LABEL_VALUE, 'u').test(value))).toBe(true);
    expect(['a\nb', '\u001b[2J', '\u009b2J'].some((value) => new RegExp(LABEL_VALUE, 'u').test(value))).toBe(false);
  });
});

describe('an endpoint that expires', () => {
  it('has expired at its moment, and never without one', () => {
    expect([isExpired({ expiresAt: 10 }, 9), isExpired({ expiresAt: 10 }, 10), isExpired({ expiresAt: null }, 10)]).toEqual([
      false,
      true,
      false,
    ]);
  });
});
