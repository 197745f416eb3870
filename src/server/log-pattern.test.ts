import { describe, expect, it } from 'vitest';
import { compilePattern } from './log-pattern.js';

describe('a pattern for log lines', () => {
  it('matches somewhere in the text', async () => {
    const isMatch = await compilePattern('(?i)took \\d+ ms|error$');
    expect(['it Took 31 ms here', 'an ERROR', 'errors', ''].map(isMatch)).toEqual([true, true, false, false]);
  });

  it('takes time in proportion to the text, whatever it is', async () => {
    const isMatch = await compilePattern('^(a+)+$');
    const timeOf = (length: number) => {
      const from = performance.now();
      expect(isMatch(`${'a'.repeat(length)}b`)).toBe(false);
      return performance.now() - from;
    };
    // A backtracking engine would need 2^40 steps for the shortest.
    expect(Math.max(timeOf(40), timeOf(1_000), timeOf(10_000))).toBeLessThan(2_000);
  });

  it.each(['(a', '(?=a)b', '(a)\\1', '*'])('that cannot be is refused with its reason: %s', async (pattern) => {
    await expect(compilePattern(pattern)).rejects.toMatchObject({ code: 'REQUEST_INVALID', message: expect.stringContaining(pattern) });
  });
});
