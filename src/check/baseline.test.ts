import { expect, it } from 'vitest';
import { compareWithBaseline, type Measured, TOLERANCES } from './baseline.js';
import type { TestResult } from './result.js';

interface Ran {
  readonly output?: unknown;
  readonly executionMs?: number;
  readonly delayMs?: number;
  readonly isPassed?: boolean;
}

function measured(ran: readonly Ran[], imageBytes = 1_000): Measured {
  const results = ran.map(({ output = 1, executionMs = 10, delayMs = 0, isPassed = true }, index): TestResult => {
    const job = { id: 'j', status: 'COMPLETED', workerId: null, delayMs, executionMs, output, timeline: null };
    const place = { file: 't', line: 1, column: 1 };
    return { name: `test ${index}`, place, isPassed, failures: [], input: 1, tookMs: 1, job, log: [] };
  });
  return { results, imageBytes };
}

const compare = (before: Measured, after: Measured) =>
  compareWithBaseline(before, after, TOLERANCES).map(({ code, text }) => `${code} ${text}`);

it('finds nothing between equal runs, nor in what is better', () => {
  expect(compare(measured([{}, {}]), measured([{}, {}]))).toEqual([]);
  expect(compare(measured([{ executionMs: 100 }], 2_000), measured([{ executionMs: 10 }], 1_000))).toEqual([]);
});

it('finds an output that is another one, by test and place', () => {
  expect(compare(measured([{}, { output: { a: 1, b: 2 } }]), measured([{}, { output: { a: 1, b: 3 } }]))).toEqual([
    "OUTPUT_DIFFERS 'test 1' answers otherwise: /b",
  ]);
});

it('takes no test that failed before for a baseline', () => {
  expect(compare(measured([{ output: 1, isPassed: false }]), measured([{ output: 2 }]))).toEqual([]);
});

it('finds what is slower by more than is allowed, beyond noise', () => {
  expect(compare(measured([{ executionMs: 100 }]), measured([{ executionMs: 125 }]))).toEqual([]);
  expect(compare(measured([{ executionMs: 100 }]), measured([{ executionMs: 126 }]))).toEqual([
    'TOO_SLOW the median execution is 126 ms, and was 100 ms (25 % more are allowed)',
  ]);
  expect(compare(measured([{ executionMs: 1 }]), measured([{ executionMs: 6 }]))).toEqual([]);
  expect(compare(measured([{ delayMs: 400 }]), measured([{ delayMs: 600 }]))[0]).toMatch(/^COLD_START_TOO_SLOW /);
});

it('finds an image that grew', () => {
  expect(compare(measured([], 1_000), measured([], 1_101))).toEqual([
    'IMAGE_TOO_LARGE the image has 1101 bytes, and had 1000 (10 % more are allowed)',
  ]);
});
