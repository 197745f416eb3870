import { resolve } from 'node:path';
import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { createEndpointId } from '../../base/ids.js';
import { findSuite } from '../../check/find-suite.js';
import { composeReport, type RunReport, type TestResult } from '../../check/result.js';
import { stopOn } from '../../check/stop.js';
import { groupTests, type Suite, type Test } from '../../check/suite.js';
import { parseDigest } from '../../oci/digest.js';
import { formatReference, parseReference } from '../../oci/reference.js';
import type { Context } from '../command.js';
import { runGroup, type Site } from './group.js';
import type { ReportFile } from './reports.js';
import { openKnownServer, openOwnServer, type TestServer } from './server.js';
import { prepareSubject, type Subject } from './subject.js';

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
  /** Id of what opens the image's registry, for servers that are not ours. */
  readonly registryAuth: string | undefined;
  /** A test that does not test the subject is an error. */
  readonly isStrict: boolean;
  readonly reports: readonly ReportFile[];
  /** Names the run and what it makes; one of its own when there is none. */
  readonly runId?: string;
}

/** Runs the tests of a directory once. Throws what reading, building and pushing throw; whatever happens then is the verdict of tests. */
export async function runTests(context: Context, request: TestRequest): Promise<RunReport> {
  const clock = openClock();
  const startedAt = clock.now();
  const dir = resolve(request.dir);
  const suite = await findSuite(dir, request.file);
  for (const note of suite.notes) context.output.talk(`  ${note}`);
  const notes = [...suite.notes, ...(request.subject.kind === 'endpoint' ? [] : noteUntested(suite, request.isStrict, context))];
  const server = request.isRemote ? await openKnownServer(context) : await openOwnServer(context);
  const runId = request.runId ?? createEndpointId();
  const { signal } = context;
  try {
    sayCost(server, { context, request, suite });
    signal.throwIfAborted();
    const image = await prepareSubject(request.subject, { context, server });
    signal.throwIfAborted();
    const { results, warnings, ...tested } = await runGroups(suite, { ...request, context, server, runId, image, dir });
    const facts = { runId, subject: image.name, ...tested, server: server.url, file: suite.file, notes: [...notes, ...warnings] };
    return composeReport(facts, results, { startedAt, tookMs: clock.now() - startedAt });
  } finally {
    await server.close();
  }
}

/** A green run must not say more than it knows. Throws CONFIG_INVALID when it is strict. */
function noteUntested({ tests }: Suite, isStrict: boolean, { output }: Context): readonly string[] {
  return tests.flatMap((test) => {
    const what = nameExisting(test);
    if (what === undefined) return [];
    const { file, line, column } = test.place;
    const note = `${file}:${line}:${column} '${test.name}' runs on ${what} of its hardwareConfig: it does not test the image`;
    if (isStrict) throw new WherryError('CONFIG_INVALID', note, { hint: 'take it out of the test, or run without --strict' });
    output.warn(note);
    return [note];
  });
}

function nameExisting({ settings: { endpointId, templateId } }: Test): string | undefined {
  if (endpointId !== undefined) return `the endpoint '${endpointId}'`;
  return templateId === undefined ? undefined : `the template '${templateId}'`;
}

interface Announced {
  readonly context: Context;
  readonly request: TestRequest;
  readonly suite: Suite;
}

/** Before anything starts where it may cost money. */
function sayCost({ kind, url }: TestServer, { context: { output }, request, suite: { tests } }: Announced): void {
  if (kind !== 'foreign') {
    if (request.registryAuth !== undefined)
      output.warn('--registry-auth is for other servers: a wherry opens registries with its own credentials and those of docker login');
    return;
  }
  const groups = groupTests(tests).length;
  const where =
    request.subject.kind === 'endpoint' ? 'the endpoint' : groups === 1 ? 'a throw-away endpoint' : `${groups} throw-away endpoints`;
  const what = `${tests.length === 1 ? '1 test starts' : `${tests.length} tests start`} workers on ${where} of ${url}`;
  output.warn(`${what}, which may cost money, for ${request.budgetMs / 1000} s at most; what was made is removed at the end`);
}

interface Ran {
  readonly results: readonly TestResult[];
  readonly digest: string | null;
  readonly imageBytes: number | null;
  readonly warnings: readonly string[];
}

/** Groups run one after another: each has the machine for itself. The results are in the order of the file. */
async function runGroups(suite: Suite, site: Omit<Site, 'signal'> & Pick<TestRequest, 'budgetMs'>): Promise<Ran> {
  const { context, image, budgetMs } = site;
  const { signal, release } = stopOn(context.signal, budgetMs);
  const results = new Map<Test, TestResult>();
  const warnings = new Set<string>();
  let { digest, reference } = image;
  let imageBytes: number | null = null;
  const sayDigest = (): void => context.output.talk(`  ${image.name} is ${digest}`);
  if (digest !== null) sayDigest();
  try {
    for (const [index, group] of groupTests(suite.tests).entries()) {
      const ran = await runGroup(group, index + 1, { ...site, signal, image: { ...image, reference } });
      group.tests.forEach((test, at) => void results.set(test, ran.results[at] as TestResult));
      for (const warning of ran.warnings) warnings.add(warning);
      if (group.settings.templateId === undefined) imageBytes ??= ran.imageBytes;
      if (digest !== null || ran.digest === null || group.settings.templateId !== undefined) continue;
      // The tag may move before the next group: all run the same bytes.
      digest = ran.digest;
      reference = formatReference({ ...parseReference(reference), digest: parseDigest(digest) });
      sayDigest();
    }
  } finally {
    release();
  }
  return { results: suite.tests.map((test) => results.get(test) as TestResult), digest, imageBytes, warnings: [...warnings] };
}
