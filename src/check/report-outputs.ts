import type { Failure } from './judge.js';
import type { RunReport, TestResult } from './result.js';
import type { Expectation, Test } from './suite.js';

/** Of `results`. What is longer than 128 KiB does not fit into an environment variable, which is how a workflow reads it. */
const MOST_BYTES = 100_000;
/** Of one input, output or text: the first that makes the whole fit. */
const SHARES = [8_000, 1_000, 100, 0] as const;

const OUTPUT_KINDS: readonly Expectation['kind'][] = ['equals', 'subset', 'contains', 'regex', 'schema', 'stream', 'size', 'command'];
const OUTPUT_FAILURES: readonly Failure['code'][] = ['OUTPUT_DIFFERS', 'OUTPUT_TOO_LARGE', 'STREAM_DIFFERS', 'COMMAND_FAILED'];

/** The outputs of the action, by their names. Without a report, as of tests that never began. */
export function formatOutputs(tests: readonly Test[], report: RunReport | undefined): Readonly<Record<string, string>> {
  const results = report?.results ?? [];
  const isProvided = tests.map(({ expect }) => expect.some(({ kind }) => OUTPUT_KINDS.includes(kind)));
  const counts = {
    'total-tests': tests.length,
    started: results.filter(({ job }) => job !== null).length,
    completed: results.filter(isCompleted).length,
    succeeded: results.filter(({ isPassed }) => isPassed).length,
    'output-provided': isProvided.filter(Boolean).length,
    'output-matched': results.filter((result, index) => isProvided[index] && isMatched(result)).length,
  };
  const texts = Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, String(count)]));
  return { results: formatResults(results), ...texts, digest: report?.digest ?? '' };
}

const isCompleted = ({ job }: TestResult): boolean => job !== null && ['COMPLETED', 'FAILED'].includes(job.status);

function isMatched({ job, failures }: TestResult): boolean {
  return job?.status === 'COMPLETED' && !failures.some(({ code }) => OUTPUT_FAILURES.includes(code));
}

function formatResults(results: readonly TestResult[]): string {
  for (const share of SHARES) {
    const text = JSON.stringify(results.map((result) => describe(result, share)));
    if (Buffer.byteLength(text) <= MOST_BYTES) return text;
  }
  const kept: string[] = [];
  let left = MOST_BYTES - 200;
  for (const result of results) {
    const text = JSON.stringify(describe(result, 0));
    left -= Buffer.byteLength(text) + 1;
    if (left < 0) break;
    kept.push(text);
  }
  return `[${[...kept, JSON.stringify({ cut: `${results.length - kept.length} more results` })].join(',')}]`;
}

/** With the field names of RunPod's test runner where it has them. */
function describe(result: TestResult, share: number): object {
  const { name, place, input, job, failures, isPassed } = result;
  return {
    name: name.slice(0, 200),
    line: place.line,
    input: cut(input, share),
    ...(job !== null && {
      id: job.id,
      status: job.status,
      delayTime: job.delayMs,
      executionTime: job.executionMs,
      workerId: job.workerId,
      ...(job.output !== undefined && { output: cut(job.output, share) }),
      ...(job.error !== undefined && { error: cut(job.error, share) }),
    }),
    started: job !== null,
    completed: isCompleted(result),
    succeeded: isPassed,
    failures: failures.map(({ code, text }) => ({ code, text: cut(text, share) })),
  };
}

/** The value, or how long it was and how it begins. */
function cut(value: unknown, share: number): unknown {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return text.length <= share ? value : { cut: `${share} of ${text.length} characters`, text: text.slice(0, share) };
}
