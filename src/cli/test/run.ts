import { resolve } from 'node:path';
import { openClock } from '../../base/clock.js';
import { createSecret } from '../../base/ids.js';
import { findSuite } from '../../check/find-suite.js';
import type { RunReport, TestResult } from '../../check/result.js';
import { createRunCommand } from '../../check/run-command.js';
import { runSuite } from '../../check/run-suite.js';
import { Stop, type TestSite } from '../../check/run-test.js';
import { groupTests, type Suite, type TestGroup } from '../../check/suite.js';
import { noEndpoint, openTestEndpoint } from '../../check/test-endpoint.js';
import { parseDigest } from '../../oci/digest.js';
import { formatReference, parseReference } from '../../oci/reference.js';
import type { Context } from '../command.js';
import { sayResult } from './output.js';
import type { ReportFile } from './reports.js';
import { openKnownServer, openOwnServer, type TestServer } from './server.js';
import { prepareSubject, type Subject, type TestedImage } from './subject.js';

/** What `wherry test` was asked for. Times in milliseconds. */
export interface TestRequest {
  /** Tests and their files are relative to it. */
  readonly dir: string;
  readonly subject: Subject;
  readonly file: string | undefined;
  readonly requestTimeoutMs: number;
  readonly budgetMs: number;
  readonly parallel: number | undefined;
  /** On the server that is known, not one of its own. */
  readonly isRemote: boolean;
  readonly reports: readonly ReportFile[];
  /** Names the run and what it makes; one of its own when there is none. */
  readonly runId?: string;
}

/** Above the run's own time: by then the server has removed what a run that was killed left. */
const SPARE_MS = 60_000;
const SHOWN_LINES = 20;

/** Runs the tests of a directory once. Throws what reading, building and pushing throw; whatever happens then is the verdict of tests. */
export async function runTests(context: Context, request: TestRequest): Promise<RunReport> {
  const clock = openClock();
  const begunAt = performance.now();
  const dir = resolve(request.dir);
  const suite = await findSuite(dir, request.file);
  const server = request.isRemote ? await openKnownServer(context) : await openOwnServer(context, dir);
  const runId =
    request.runId ??
    createSecret(6)
      .toLowerCase()
      .replace(/[^a-z0-9]/g, '0');
  try {
    const image = await prepareSubject(request.subject, { context, server });
    const site = { context, request, server, runId, image, endsAt: begunAt + request.budgetMs, dir };
    const { results, digest } = await runGroups(suite, site);
    const passed = results.filter(({ isPassed }) => isPassed).length;
    return {
      runId,
      subject: image.name,
      digest,
      server: server.url,
      file: suite.file,
      startedAt: new Date(clock.now() - Math.round(performance.now() - begunAt)).toISOString(),
      tookMs: Math.round(performance.now() - begunAt),
      passed,
      failed: results.length - passed,
      results,
      notes: suite.notes,
    };
  } finally {
    await server.close();
  }
}

interface Site {
  readonly context: Context;
  readonly request: TestRequest;
  readonly server: TestServer;
  readonly runId: string;
  readonly image: TestedImage;
  readonly endsAt: number;
  readonly dir: string;
}

type Ran = { readonly results: readonly TestResult[]; readonly digest: string | null };

/** Groups run one after another: each has the machine for itself. The results are in the order of the file. */
async function runGroups(suite: Suite, site: Site): Promise<Ran> {
  const results = new Map<unknown, TestResult>();
  let { digest, reference } = site.image;
  for (const [index, group] of groupTests(suite.tests).entries()) {
    const ran = await runGroup(group, index + 1, { ...site, image: { ...site.image, reference } });
    group.tests.forEach((test, at) => void results.set(test, ran.results[at] as TestResult));
    if (digest !== null || ran.digest === null) continue;
    // The tag may move before the next group: all run the same bytes.
    digest = ran.digest;
    reference = formatReference({ ...parseReference(reference), digest: parseDigest(digest) });
    site.context.output.talk(`  ${site.image.name} is ${digest}`);
  }
  return { results: suite.tests.map((test) => results.get(test) as TestResult), digest };
}

async function runGroup(group: TestGroup, number: number, { context, request, server, runId, image, endsAt, dir }: Site): Promise<Ran> {
  const { output, signal: interrupted } = context;
  const interruption = stopOn(interrupted);
  const run = (site: Pick<TestSite, 'endpointId' | 'signal'>, parallel: number) =>
    runSuite({
      ...site,
      client: server.client,
      tests: group.tests,
      requestTimeoutMs: request.requestTimeoutMs,
      endsAt,
      runId,
      runCommand: createRunCommand(dir, interrupted, context.environment),
      parallel: request.parallel ?? parallel,
      onResult: (result) => sayResult(output, result),
    });
  const existing = image.endpointId ?? group.settings.endpointId;
  if (existing !== undefined) {
    const results = await run({ endpointId: existing, signal: interruption.signal }, DEFAULT_PARALLEL);
    return { results: await withLogs(results, existing, server), digest: null };
  }
  const options = { client: server.client, runId, number, group, image: image.reference, spec: image.spec, settings: image.settings };
  const lifeMs = Math.max(1_000, Math.round(endsAt - performance.now())) + SPARE_MS;
  const endpoint = await openTestEndpoint({ ...options, lifeMs }).catch((thrown: unknown) => noEndpoint(thrown));
  if (endpoint instanceof Stop) return { results: await run({ endpointId: '', signal: AbortSignal.abort(endpoint) }, 1), digest: null };
  try {
    for (const warning of endpoint.warnings) output.warn(warning);
    const signal = AbortSignal.any([interruption.signal, endpoint.broken]);
    const results = await run({ endpointId: endpoint.endpointId, signal }, endpoint.parallel);
    return { results: await withLogs(results, endpoint.endpointId, server), digest: endpoint.digest };
  } finally {
    await endpoint.close();
    interruption.release();
  }
}

/** For an endpoint that is not ours, whose workers nobody told us. */
const DEFAULT_PARALLEL = 4;

function stopOn(interrupted: AbortSignal): { readonly signal: AbortSignal; release(): void } {
  const control = new AbortController();
  const stop = (): void => control.abort(new Stop({ code: 'INTERRUPTED', text: 'the run was interrupted' }));
  if (interrupted.aborted) stop();
  interrupted.addEventListener('abort', stop, { once: true });
  return { signal: control.signal, release: () => interrupted.removeEventListener('abort', stop) };
}

/** The reason of a failure is often in what the worker said. */
async function withLogs(results: readonly TestResult[], endpointId: string, { client }: TestServer): Promise<readonly TestResult[]> {
  const complete = async (result: TestResult): Promise<TestResult> => {
    if (result.isPassed) return result;
    const workerId = result.job?.workerId;
    const lines = await client.readLogs(endpointId, { limit: SHOWN_LINES, ...(workerId != null && { worker: workerId }) }).catch(() => []);
    return { ...result, log: lines.map(({ text }) => text) };
  };
  return Promise.all(results.map(complete));
}
