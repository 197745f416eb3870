import { compareValues } from './compare.js';
import type { Failure } from './judge.js';
import type { TestResult } from './result.js';

/** By how much a release may be worse than the one before, as parts of that one (0.2 is a fifth). */
export interface Tolerances {
  readonly latency: number;
  readonly coldStart: number;
  readonly size: number;
  /** By how much numbers of outputs may differ, absolute. */
  readonly output: number;
}

export const TOLERANCES: Tolerances = { latency: 0.25, coldStart: 0.25, size: 0.1, output: 0 };

/** One side of a comparison: the results of the same tests, in the same order. */
export interface Measured {
  readonly results: readonly TestResult[];
  /** Compressed, as it travels; null when the server does not say. */
  readonly imageBytes: number | null;
}

/** Differences below these are noise of clocks and schedulers, whatever part they are. */
const LEAST_MS = 5;
const LEAST_COLD_MS = 50;

/**
 * Everything in which a release is worse than its baseline: a test that passed there and has another output here, the median execution, the
 * longest wait for a worker, the image's size. Tests that failed there say nothing.
 */
export function compareWithBaseline(before: Measured, after: Measured, tolerances: Tolerances): readonly Failure[] {
  const outputs = after.results.flatMap((result, index) => compareOutputs(before.results[index], result, tolerances.output));
  const [executionBefore, executionAfter] = [before, after].map(({ results }) => medianExecution(results));
  const [coldBefore, coldAfter] = [before, after].map(({ results }) => mostOf(timesOf(results, 'delayMs')));
  return [
    ...outputs,
    ...compareTimes('TOO_SLOW', 'the median execution', {
      before: executionBefore,
      after: executionAfter,
      part: tolerances.latency,
      leastMs: LEAST_MS,
    }),
    ...compareTimes('COLD_START_TOO_SLOW', 'the longest wait for a worker', {
      before: coldBefore,
      after: coldAfter,
      part: tolerances.coldStart,
      leastMs: LEAST_COLD_MS,
    }),
    ...compareSizes(before.imageBytes, after.imageBytes, tolerances.size),
  ];
}

function compareOutputs(before: TestResult | undefined, after: TestResult, tolerance: number): readonly Failure[] {
  if (!before?.isPassed || before.job?.status !== 'COMPLETED' || after.job?.status !== 'COMPLETED') return [];
  const differences = compareValues(before.job.output ?? null, after.job.output ?? null, { tolerance, isSubset: false });
  if (differences.length === 0) return [];
  const places = differences.map(({ at }) => (at === '' ? 'the whole output' : at)).join(', ');
  return [{ code: 'OUTPUT_DIFFERS', text: `'${after.name}' answers otherwise: ${places}`, differences }];
}

interface Compared {
  readonly before: number | undefined;
  readonly after: number | undefined;
  readonly part: number;
  readonly leastMs: number;
}

function compareTimes(code: Failure['code'], what: string, { before, after, part, leastMs }: Compared): readonly Failure[] {
  if (before === undefined || after === undefined || after <= before + Math.max(leastMs, before * part)) return [];
  return [{ code, text: `${what} is ${after} ms, and was ${before} ms (${formatPart(part)} more are allowed)` }];
}

function compareSizes(before: number | null, after: number | null, part: number): readonly Failure[] {
  if (before === null || after === null || after <= before * (1 + part)) return [];
  return [{ code: 'IMAGE_TOO_LARGE', text: `the image has ${after} bytes, and had ${before} (${formatPart(part)} more are allowed)` }];
}

const formatPart = (part: number): string => `${Math.round(part * 100)} %`;

/** Median execution of the jobs of tests, in milliseconds; undefined when none ran. */
export function medianExecution(results: readonly TestResult[]): number | undefined {
  return medianOf(timesOf(results, 'executionMs'));
}

function timesOf(results: readonly TestResult[], name: 'executionMs' | 'delayMs'): readonly number[] {
  return results.flatMap(({ job }) => (job?.[name] == null ? [] : [job[name]]));
}

function medianOf(values: readonly number[]): number | undefined {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function mostOf(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : Math.max(...values);
}
