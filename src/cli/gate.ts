import type { ApiClient } from '../api/client.js';
import { formatFailure } from '../api/failure.js';
import type { DeployView, JobView, RolloutView } from '../api/resources.js';
import { openClock } from '../base/clock.js';
import { messageOf, WherryError } from '../base/errors.js';
import { createSecret } from '../base/ids.js';
import { shorten } from '../base/shorten.js';
import { findSuite } from '../check/find-suite.js';
import { composeReport, fitReport, type RunReport } from '../check/result.js';
import { createCommandRunner } from '../check/run-command.js';
import { runSuite } from '../check/run-suite.js';
import { stopOn } from '../check/stop.js';
import { NO_SETTINGS, type Suite } from '../check/suite.js';
import { watchRollout } from '../check/test-endpoint.js';
import type { Environment } from '../compose-settings.js';
import { formatRelease, type ReleaseName } from '../domain/release.js';
import type { Output } from './output.js';
import { formatValue, isLive } from './send-job.js';
import { sayResult } from './test/output.js';
import type { TestInput } from './test-input.js';

/** What a candidate has to pass before its release serves. */
export interface Gate {
  /** Sends requests to a candidate that is ready. */
  pass(released: Released): Promise<Passage>;
}

/** A release whose candidate is ready. */
export type Released = DeployView & { readonly rollout: RolloutView };

export interface Passage {
  readonly isPassed: boolean;
  /** One line. */
  readonly text: string;
  /** Of the test input. */
  readonly job: JobView | null;
  /** Of the project's tests. */
  readonly report: RunReport | null;
}

/** Longest test: the server takes a held release back by itself a little later. */
const TEST_MS = 840_000;
/** Longest single wait for the test's job. */
const LOOK_MS = 20_000;
const REQUEST_MS = 300_000;

/** The candidate answers the project's test input. */
export function inputGate(client: ApiClient, test: TestInput): Gate {
  return {
    async pass({ rollout: { endpointId, to } }) {
      const job = await finishJob(client, endpointId, { ...test, releaseId: to });
      return { isPassed: job.status === 'COMPLETED', text: describeEnd(job), job, report: null };
    },
  };
}

async function finishJob(client: ApiClient, endpointId: string, body: TestInput & { readonly releaseId: number }): Promise<JobView> {
  const end = performance.now() + TEST_MS;
  let job = await client.submit(endpointId, body);
  while (isLive(job)) {
    if (performance.now() > end)
      throw new WherryError('WAIT_TIMEOUT', `job '${job.id}' is still ${job.status} after ${TEST_MS / 1000} s`, {
        hint: `\`wherry why ${job.id}\` says what holds it; --no-test deploys without this test`,
      });
    job = await client.jobStatus(endpointId, job.id, LOOK_MS);
  }
  return job;
}

function describeEnd({ id, status, output, error, executionTime }: JobView): string {
  if (status === 'COMPLETED') return `answered in ${executionTime ?? 0} ms: ${shorten(formatValue(output), SHOWN)}`;
  return `job ${id} ended ${status}${error === undefined ? '' : `: ${formatFailure(error)}`}`;
}

const SHOWN = 60;

export interface SuiteGateOptions {
  readonly client: ApiClient;
  readonly dir: string;
  readonly server: string;
  readonly output: Output;
  readonly environment: Environment;
  readonly signal: AbortSignal;
}

/** The candidate passes the project's tests, and its release keeps their report. Throws NOT_FOUND and CONFIG_INVALID before anything is deployed. */
export async function createSuiteGate({ client, dir, server, output, environment, signal }: SuiteGateOptions): Promise<Gate> {
  const suite = await findSuite(dir, undefined);
  const notes = [...suite.notes, ...noteSettings(suite)];
  for (const note of notes) output.warn(note);
  return {
    async pass({ release, rollout, size }) {
      const clock = openClock();
      const [startedAt, runId] = [clock.now(), createSecret(9)];
      const { endpointId, to } = rollout;
      const ended = new AbortController();
      const stop = stopOn(signal, TEST_MS);
      const broken = watchRollout(client, rollout, ended.signal);
      const results = await runSuite({
        client,
        endpointId,
        releaseId: to,
        tests: suite.tests,
        requestTimeoutMs: REQUEST_MS,
        isKeyKnown: true,
        runId,
        runCommand: createCommandRunner(dir, environment),
        // A candidate is one worker.
        parallel: 1,
        signal: AbortSignal.any([stop.signal, broken]),
        onResult: (result) => sayResult(output, result),
      }).finally(() => {
        ended.abort();
        stop.release();
      });
      const subject = `${endpointId}@${formatRelease(to)}`;
      const facts = { runId, subject, digest: release.image.digest, imageBytes: size.bytes, server, file: suite.file, notes };
      const report = composeReport(facts, results, { startedAt, tookMs: clock.now() - startedAt });
      await keepReport(client, { endpointId, number: to }, { report, output });
      const first = results.find(({ isPassed }) => !isPassed);
      const why = first ? `: '${first.name}' ${first.failures.map(({ code, text }) => `${code} ${text.split('\n')[0]}`).join(', ')}` : '';
      return { isPassed: report.failed === 0, text: `${report.passed} of ${results.length} tests passed${why}`, job: null, report };
    },
  };
}

/** A candidate is what the deploy made it; settings of tests would make it another release. */
function noteSettings({ file, tests }: Suite): readonly string[] {
  const count = tests.filter(({ settings }) => JSON.stringify(settings) !== JSON.stringify(NO_SETTINGS)).length;
  return count === 0
    ? []
    : [`${file}: the hardwareConfig or config of ${count} test(s) is not used: all run on the candidate as it is deployed`];
}

/** A report that cannot be kept does not change what the tests said. */
async function keepReport(
  client: ApiClient,
  { endpointId, number }: ReleaseName,
  { report, output }: { readonly report: RunReport; readonly output: Output },
): Promise<void> {
  await client.putReport(endpointId, number, { at: report.startedAt, ...fitReport(report) }).catch((thrown: unknown) => {
    output.warn(`the report of the tests could not be kept with the release: ${messageOf(thrown)}`);
  });
}
