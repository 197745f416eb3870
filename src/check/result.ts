import type { Timeline } from '../domain/worker.js';
import type { Place } from '../project/document.js';
import type { Failure } from './judge.js';

/** How one test went. Times in milliseconds. */
export interface TestResult {
  readonly name: string;
  readonly place: Place;
  readonly isPassed: boolean;
  /** Empty when it passed. */
  readonly failures: readonly Failure[];
  readonly input: unknown;
  /** From the submission to the verdict. */
  readonly tookMs: number;
  /** Null when none was made. */
  readonly job: TestedJob | null;
  /** The last lines of the worker of a failed test. */
  readonly log: readonly string[];
}

/** What the server says of the job of a test. */
export interface TestedJob {
  readonly id: string;
  readonly status: string;
  readonly workerId: string | null;
  readonly delayMs: number | null;
  readonly executionMs: number | null;
  readonly output?: unknown;
  readonly error?: string;
  readonly timeline: Timeline | null;
}

/** What was under test. */
export interface Tested {
  /** As it was given: a directory, an image, an endpoint. */
  readonly subject: string;
  /** Of the image that ran; null when the server does not say. */
  readonly digest: string | null;
  /** Of that image, compressed; null when the server does not say. */
  readonly imageBytes: number | null;
  readonly server: string;
}

/** A whole run. */
export interface RunReport extends Tested {
  readonly runId: string;
  readonly file: string;
  /** RFC 3339. */
  readonly startedAt: string;
  readonly tookMs: number;
  readonly passed: number;
  readonly failed: number;
  readonly results: readonly TestResult[];
  readonly notes: readonly string[];
}

/** What a report says beside its results and their count. */
export type ReportFacts = Omit<RunReport, 'startedAt' | 'tookMs' | 'passed' | 'failed' | 'results'>;

/** The report of a run that began at `startedAt`, a moment in milliseconds. */
export function composeReport(
  facts: ReportFacts,
  results: readonly TestResult[],
  run: { readonly startedAt: number; readonly tookMs: number },
): RunReport {
  const passed = results.filter(({ isPassed }) => isPassed).length;
  const { startedAt, tookMs } = run;
  return {
    ...facts,
    startedAt: new Date(startedAt).toISOString(),
    tookMs: Math.round(tookMs),
    passed,
    failed: results.length - passed,
    results,
  };
}

/** A release keeps no larger report (1 MiB, with room for what is put around it). */
const MOST_BYTES = 1_000_000;

/** The report as it can be kept: one that is too large goes without outputs and lines of workers. */
export function fitReport(report: RunReport): RunReport {
  if (Buffer.byteLength(JSON.stringify(report)) <= MOST_BYTES) return report;
  const results = report.results.map(({ job, input: _input, ...result }): TestResult => {
    const { output: _output, ...rest } = job ?? { output: undefined };
    return { ...result, input: null, job: job === null ? null : (rest as TestedJob), log: [] };
  });
  return { ...report, results, notes: [...report.notes, 'inputs, outputs and lines of workers were left out: the report was too large'] };
}
