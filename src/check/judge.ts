import { shorten } from '../base/shorten.js';
import { compareValues, type Difference } from './compare.js';
import { compileSchema } from './json-schema.js';
import { isObject, lookAt, parsePointer } from './pointer.js';
import type { Expectation } from './suite.js';

/** Why a test failed; one word each, the same in reports, annotations and the exit. */
export const FAILURES = [
  'OUTPUT_DIFFERS',
  'OUTPUT_TOO_LARGE',
  'STREAM_DIFFERS',
  'ERROR_MISSING',
  'ERROR_DIFFERS',
  'TOO_SLOW',
  'COLD_START_TOO_SLOW',
  'IMAGE_TOO_LARGE',
  'COMMAND_FAILED',
  'JOB_FAILED',
  'JOB_CANCELLED',
  'JOB_TIMED_OUT',
  'REQUEST_TIMEOUT',
  'BUDGET_USED_UP',
  'WORKERS_FAIL',
  'NO_ENDPOINT',
  'REQUEST_FAILED',
  'INTERRUPTED',
] as const;

export interface Failure {
  readonly code: (typeof FAILURES)[number];
  /** One sentence, or several lines of evidence. */
  readonly text: string;
  readonly differences?: readonly Difference[];
}

/** A job that completed or failed, as far as tests look at it. */
export interface JobOutcome {
  readonly status: 'COMPLETED' | 'FAILED';
  readonly output: unknown;
  /** As a person reads it. */
  readonly error: string;
  /** Undefined when the server does not say. */
  readonly delayMs: number | undefined;
  readonly executionMs: number | undefined;
  /** Read only when a test expects a stream. */
  readonly chunks: readonly unknown[];
}

/** Runs a command with a text as its standard input; gives undefined when it exits with 0, else what it said. */
export type RunCommand = (command: string, input: string) => Promise<string | undefined>;

/** Everything in which an ended job is not what its test expects. A failed job is a failure unless an error is expected. */
export async function judgeOutcome(
  expect: readonly Expectation[],
  outcome: JobOutcome,
  runCommand: RunCommand,
): Promise<readonly Failure[]> {
  const isErrorExpected = expect.some(({ kind }) => kind === 'error');
  if (outcome.status === 'FAILED' && !isErrorExpected) return [{ code: 'JOB_FAILED', text: outcome.error }];
  const found: Failure[] = [];
  for (const expectation of expect) found.push(...(await judgeOne(expectation, outcome, runCommand)));
  return found;
}

async function judgeOne(expectation: Expectation, outcome: JobOutcome, runCommand: RunCommand): Promise<readonly Failure[]> {
  switch (expectation.kind) {
    case 'error':
      return judgeError(expectation.pattern, outcome);
    case 'latency':
      return judgeTime('TOO_SLOW', 'it ran', { tookMs: outcome.executionMs, limitMs: expectation.limitMs });
    case 'coldStart':
      return judgeTime('COLD_START_TOO_SLOW', 'it waited for a worker', { tookMs: outcome.delayMs, limitMs: expectation.limitMs });
    case 'stream':
      return failWith('STREAM_DIFFERS', compareValues(expectation.value, outcome.chunks, { ...expectation, isSubset: false }));
    case 'size':
      return judgeSize(expectation.limitBytes, outcome.output);
    case 'command': {
      const said = await runCommand(expectation.command, JSON.stringify(outcome.output ?? null));
      return said === undefined ? [] : [{ code: 'COMMAND_FAILED', text: `'${expectation.command}' ${said}` }];
    }
    default:
      return judgePart(expectation, outcome.output);
  }
}

function judgeError(pattern: string, { status, error }: JobOutcome): readonly Failure[] {
  if (status === 'COMPLETED') return [{ code: 'ERROR_MISSING', text: 'the job completed, and an error was expected' }];
  if (new RegExp(pattern, 'u').test(error)) return [];
  return [{ code: 'ERROR_DIFFERS', text: `its error does not match /${pattern}/: ${error}` }];
}

interface Times {
  readonly tookMs: number | undefined;
  readonly limitMs: number;
}

function judgeTime(code: Failure['code'], did: string, { tookMs, limitMs }: Times): readonly Failure[] {
  if (tookMs === undefined) return [{ code, text: `the server does not say how long ${did}` }];
  return tookMs <= limitMs ? [] : [{ code, text: `${did} ${tookMs} ms, and ${limitMs} ms were allowed` }];
}

function judgeSize(limitBytes: number, output: unknown): readonly Failure[] {
  const sizeBytes = Buffer.byteLength(JSON.stringify(output ?? null));
  return sizeBytes <= limitBytes
    ? []
    : [{ code: 'OUTPUT_TOO_LARGE', text: `the output has ${sizeBytes} bytes, and ${limitBytes} were allowed` }];
}

type OnPart = Extract<Expectation, { readonly kind: 'equals' | 'subset' | 'contains' | 'regex' | 'schema' }>;

function judgePart(expectation: OnPart, output: unknown): readonly Failure[] {
  const part = lookAt(output, parsePointer(expectation.at) ?? []);
  const where = expectation.at === '' ? 'the output' : `'${expectation.at}' of the output`;
  if (!part.isThere) return [{ code: 'OUTPUT_DIFFERS', text: `the output has nothing at '${expectation.at}'` }];
  const differ = (text: string): readonly Failure[] => [{ code: 'OUTPUT_DIFFERS', text }];
  switch (expectation.kind) {
    case 'contains':
      return contains(part.value, expectation.value) ? [] : differ(`${where} does not contain ${JSON.stringify(expectation.value)}`);
    case 'regex': {
      const text = typeof part.value === 'string' ? part.value : JSON.stringify(part.value);
      return new RegExp(expectation.pattern, 'u').test(text)
        ? []
        : differ(`${where} does not match /${expectation.pattern}/: ${shorten(text, MOST_SHOWN)}`);
    }
    case 'schema':
      return compileSchema(expectation.schema)(part.value).map((problem) => ({ code: 'OUTPUT_DIFFERS', text: `${where}: ${problem}` }));
    default: {
      const rules = { tolerance: expectation.tolerance, isSubset: expectation.kind === 'subset' };
      const found = compareValues(expectation.value, part.value, rules);
      return failWith(
        'OUTPUT_DIFFERS',
        found.map((difference) => ({ ...difference, at: `${expectation.at}${difference.at}` })),
      );
    }
  }
}

/** A text in a text, an item of a list, a member's name of an object. */
function contains(value: unknown, wanted: unknown): boolean {
  if (typeof value === 'string') return typeof wanted === 'string' && value.includes(wanted);
  if (Array.isArray(value)) return value.some((item) => compareValues(wanted, item, { tolerance: 0, isSubset: false }).length === 0);
  return isObject(value) && typeof wanted === 'string' && Object.hasOwn(value, wanted);
}

function failWith(code: Failure['code'], differences: readonly Difference[]): readonly Failure[] {
  if (differences.length === 0) return [];
  return [{ code, text: differences.map(formatDifference).join('\n'), differences }];
}

function formatDifference({ at, ...sides }: Difference): string {
  const place = at === '' ? 'the output' : at;
  if (!('actual' in sides)) return `${place} is missing, expected ${show(sides.expected)}`;
  if (!('expected' in sides)) return `${place} is not expected: ${show(sides.actual)}`;
  return `${place} is ${show(sides.actual)}, expected ${show(sides.expected)}`;
}

const show = (value: unknown): string => shorten(JSON.stringify(value) ?? 'nothing', MOST_SHOWN);

const MOST_SHOWN = 200;
