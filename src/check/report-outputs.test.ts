import { describe, expect, it } from 'vitest';
import { formatMarkdown } from './report-markdown.js';
import { formatOutputs } from './report-outputs.js';
import type { RunReport, TestResult } from './result.js';
import { type Expectation, NO_SETTINGS, type Test } from './suite.js';

const job = { id: 'j', status: 'COMPLETED', workerId: 'w', delayMs: 1, executionMs: 2, timeline: null };
const passed: TestResult = {
  name: 'a',
  place: { file: 'tests.json', line: 2, column: 3 },
  isPassed: true,
  failures: [],
  input: 1,
  tookMs: 5,
  job: { ...job, output: 'short' },
  log: [],
};
const reportOf = (results: readonly TestResult[]): RunReport => ({
  runId: 'r',
  subject: 'image',
  digest: 'sha256:1',
  imageBytes: null,
  server: 'http://127.0.0.1',
  file: 'tests.json',
  startedAt: '2026-01-01T00:00:00Z',
  tookMs: 5,
  passed: results.filter(({ isPassed }) => isPassed).length,
  failed: results.filter(({ isPassed }) => !isPassed).length,
  results,
  notes: [],
});
const testOf = (...expected: readonly Expectation[]): Test => {
  const { name, place, input } = passed;
  return { name, place, input, timeoutMs: undefined, expect: expected, settings: NO_SETTINGS };
};
const EQUALS: Expectation = { kind: 'equals', at: '', value: 'short', tolerance: 0 };

describe('the outputs of the action', () => {
  it('count what was started, completed, expected and matched; being slow is not a wrong output', () => {
    const slow: TestResult = { ...passed, isPassed: false, failures: [{ code: 'TOO_SLOW', text: 'it ran 2 ms' }] };
    const wrong: TestResult = { ...passed, isPassed: false, failures: [{ code: 'OUTPUT_DIFFERS', text: 'no' }] };
    const none: TestResult = { ...passed, isPassed: false, job: null, failures: [{ code: 'NO_ENDPOINT', text: 'no' }] };
    const tests = [testOf(EQUALS), testOf(EQUALS), testOf(EQUALS), testOf(EQUALS), testOf()];
    const { results, ...counts } = formatOutputs(tests, reportOf([passed, slow, wrong, none, passed]));
    expect(counts).toEqual({
      'total-tests': '5',
      started: '4',
      completed: '4',
      succeeded: '2',
      'output-provided': '4',
      'output-matched': '2',
      digest: 'sha256:1',
    });
    expect(JSON.parse(results ?? '')[0]).toMatchObject({ status: 'COMPLETED', output: 'short', line: 2, succeeded: true });
  });

  it('are all there when no test began', () => {
    expect(formatOutputs([testOf()], undefined)).toMatchObject({
      results: '[]',
      'total-tests': '1',
      started: '0',
      digest: '',
    });
  });

  it.each([
    ['one huge output', [{ ...passed, job: { ...job, output: { text: 'x'.repeat(3_000_000) } } }]],
    ['many long names', Array.from({ length: 5_000 }, () => ({ ...passed, name: 'ü'.repeat(500) }))],
  ])('stay below what fits into a variable with %s, as JSON that says what was cut (weakness 14)', (_, results) => {
    const text = formatOutputs([], reportOf(results))['results'] ?? '';
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(100_000);
    expect(JSON.stringify(JSON.parse(text))).toMatch(/"cut":"\d+ (?:of \d+ characters|more results)"/);
  });
});

describe('the summary', () => {
  it('stays below 1 MiB, keeps the table and says what it leaves out', () => {
    const failures = [{ code: 'JOB_FAILED' as const, text: 'boom '.repeat(50_000) }];
    const failed: TestResult = { ...passed, isPassed: false, failures, log: ['y'.repeat(900_000)] };
    const text = formatMarkdown(reportOf(Array.from({ length: 9_000 }, () => failed)));
    expect(Buffer.byteLength(text)).toBeLessThan(1024 * 1024);
    expect(text).toContain('❌ 9000 failed');
    expect(text).toMatch(/and \d+ more tests: there is no room/);
    expect(text).toMatch(/and \d+ more tests that failed: there is no room/);
  });
});
