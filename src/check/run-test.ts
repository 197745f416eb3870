import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient } from '../api/client.js';
import { formatFailure } from '../api/failure.js';
import type { JobView } from '../api/resources.js';
import { messageOf, WherryError } from '../base/errors.js';
import { isTerminal } from '../domain/job.js';
import { type Failure, judgeOutcome } from './judge.js';
import type { TestedJob, TestResult } from './result.js';
import type { CommandRunner } from './run-command.js';
import { Stop, stopping } from './stop.js';
import type { Test } from './suite.js';

/** What a test needs of the server that runs it: RunPod's job API. */
export type JobClient = Pick<ApiClient, 'submit' | 'jobStatus' | 'cancel' | 'readStream'>;

/** Where and how long a test runs. Times in milliseconds. */
export interface TestSite {
  readonly client: JobClient;
  readonly endpointId: string;
  /** The release that gets the jobs; else whichever serves. */
  readonly releaseId?: number;
  /** Of a test that names none, cold start included. */
  readonly requestTimeoutMs: number;
  /** The server takes a submission that is repeated with its key for the same job. */
  readonly isKeyKnown: boolean;
  /** Names the run; with the test's name the key of its job. */
  readonly runId: string;
  readonly runCommand: CommandRunner;
  /** Aborts with a {@link Stop} when no test can go on. */
  readonly signal: AbortSignal;
}

/**
 * Reasons to wait that nothing but a person changes, and how long a job waits for them all the same, in milliseconds. A job that ends its
 * workers is soon set aside, and the jobs behind it are served; only then is a row of crashes everybody's.
 */
const HOPELESS: Readonly<Record<string, number>> = { paused: 0, 'no-release': 0, 'crash-looping': 10_000 };
const LOOK_MS = 1_000;
const CANCEL_MS = 5_000;

/** Sends the job of a test, follows it to its end and judges it. A job that is still live at the verdict is cancelled. Never rejects. */
export async function runTest(test: Test, site: TestSite): Promise<TestResult> {
  const startedAt = performance.now();
  const { signal, release } = limit(test, site);
  let job: JobView | undefined;
  let failures: readonly Failure[];
  try {
    job = await stopping(signal, submit(test, site, signal));
    for await (const seen of follow(job, site, signal)) job = seen;
    failures = await stopping(signal, judge(job, test, { ...site, signal }));
  } catch (thrown) {
    failures = [failureOf(thrown, job)];
    if (job && isLive(job)) job = (await cancel(job, site)) ?? job;
  } finally {
    release();
  }
  const { name, place, input } = test;
  const tookMs = Math.round(performance.now() - startedAt);
  return { name, place, isPassed: failures.length === 0, failures, input, tookMs, job: job ? describeJob(job) : null, log: [] };
}

/** Aborts with the verdict as its reason: at the test's own time, or with the run's signal. */
function limit({ timeoutMs }: Test, site: TestSite): { readonly signal: AbortSignal; release(): void } {
  const control = new AbortController();
  const limitMs = timeoutMs ?? site.requestTimeoutMs;
  const stop = new Stop({ code: 'REQUEST_TIMEOUT', text: `no result after ${limitMs / 1000} s` });
  const timer = setTimeout(() => control.abort(stop), limitMs);
  return { signal: AbortSignal.any([control.signal, site.signal]), release: () => clearTimeout(timer) };
}

/** The same key at each try: a submission whose answer was lost is not a second job. Where keys may not be known it is not sent again. */
async function submit(test: Test, site: TestSite, signal: AbortSignal): Promise<JobView> {
  const { client, endpointId, releaseId, runId, isKeyKnown } = site;
  const { line, column } = test.place;
  const idempotencyKey = `${runId}/${line}:${column}`;
  const body = { input: test.input, ...(releaseId !== undefined && { releaseId }) };
  const isLost = (thrown: WherryError): boolean => !isKeyKnown && thrown.code === 'OUTCOME_UNKNOWN';
  return persist(() => client.submit(endpointId, body, { idempotencyKey }), signal, isLost);
}

/** The job's states until it ends. Throws {@link Stop} when it waits for what will not come. */
async function* follow(begun: JobView, { client, endpointId }: TestSite, signal: AbortSignal): AsyncIterable<JobView> {
  let job = begun;
  let held = { reason: '', sinceAt: 0 };
  for (let pauseMs = 10; isLive(job); pauseMs = Math.min(LOOK_MS, pauseMs * 2)) {
    const askedAt = performance.now();
    job = await stopping(
      signal,
      persist(() => client.jobStatus(endpointId, job.id, LOOK_MS), signal),
    );
    yield job;
    const { waiting } = job;
    const reason = waiting?.reason ?? '';
    if (reason !== held.reason) held = { reason, sinceAt: askedAt };
    const patienceMs = HOPELESS[reason];
    if (waiting && patienceMs !== undefined && performance.now() - held.sinceAt >= patienceMs)
      throw new Stop({ code: 'WORKERS_FAIL', text: `${waiting.evidence}\n${waiting.next}` });
    // Some servers answer at once.
    if (isLive(job) && performance.now() - askedAt < LOOK_MS / 2) await stopping(signal, delay(pauseMs, undefined, { signal }));
  }
}

/** Tries again what a server that is busy or away did not take; the signal ends it, and what `isLast` says. */
async function persist<T>(work: () => Promise<T>, signal: AbortSignal, isLast = (_: WherryError) => false): Promise<T> {
  for (let pauseMs = 100; ; pauseMs = Math.min(5_000, pauseMs * 2)) {
    try {
      return await work();
    } catch (thrown) {
      if (!(thrown instanceof WherryError && thrown.isRetryable) || isLast(thrown)) throw thrown;
      await delay(pauseMs, undefined, { signal }).catch(() => Promise.reject(thrown));
    }
  }
}

async function judge(job: JobView, test: Test, site: TestSite): Promise<readonly Failure[]> {
  const { status, output, error, delayTime, executionTime } = job;
  if (status === 'CANCELLED') return [{ code: 'JOB_CANCELLED', text: `job ${job.id} was cancelled` }];
  if (status === 'TIMED_OUT') return [{ code: 'JOB_TIMED_OUT', text: `job ${job.id} ran longer than the endpoint allows` }];
  const isStream = test.expect.some(({ kind }) => kind === 'stream');
  const outcome = {
    status: status === 'COMPLETED' ? ('COMPLETED' as const) : ('FAILED' as const),
    output,
    error: error === undefined ? '' : formatFailure(error),
    delayMs: delayTime,
    executionMs: executionTime,
    chunks: isStream ? await readChunks(job, site) : [],
  };
  return judgeOutcome(test.expect, outcome, (command, input) => site.runCommand(command, input, site.signal));
}

/** An ended job comes with all its chunks; whether there are more shows an empty answer. */
async function readChunks(job: JobView, { client, endpointId }: TestSite): Promise<readonly unknown[]> {
  const chunks: unknown[] = [];
  for (;;) {
    const { stream } = await client.readStream(endpointId, job.id, LOOK_MS);
    if (stream.length === 0) return chunks;
    chunks.push(...stream.map(({ output }) => output));
  }
}

function failureOf(thrown: unknown, job: JobView | undefined): Failure {
  if (!(thrown instanceof Stop)) return { code: 'REQUEST_FAILED', text: messageOf(thrown) };
  const { code, text } = thrown.failure;
  const { waiting } = job ?? {};
  const isLate = code === 'REQUEST_TIMEOUT' || code === 'BUDGET_USED_UP';
  // What held it is the answer to the next question.
  if (!isLate || job === undefined) return thrown.failure;
  return { code, text: `${text}: the job was ${job.status}${waiting ? `, ${waiting.reason}: ${waiting.evidence}` : ''}` };
}

/** The job as it is then; undefined when the server did not answer in time. */
async function cancel(job: JobView, { client, endpointId }: TestSite): Promise<JobView | undefined> {
  const late = delay(CANCEL_MS, undefined, { ref: false });
  return Promise.race([client.cancel(endpointId, job.id).catch(() => undefined), late]);
}

const isLive = ({ status }: JobView): boolean => !isTerminal(status);

function describeJob({ id, status, workerId, delayTime, executionTime, output, error, timeline }: JobView): TestedJob {
  return {
    id,
    status,
    workerId: workerId ?? null,
    delayMs: delayTime ?? null,
    executionMs: executionTime ?? null,
    ...(output !== undefined && { output }),
    ...(error !== undefined && { error: formatFailure(error) }),
    timeline: timeline ?? null,
  };
}
