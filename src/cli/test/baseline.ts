import { WherryError } from '../../base/errors.js';
import { compareWithBaseline, TOLERANCES, type Tolerances } from '../../check/baseline.js';
import type { RunReport, TestResult } from '../../check/result.js';
import { formatRelease, parseReleaseName, type ReleaseName } from '../../domain/release.js';
import { readProject } from '../../project/read.js';
import type { Context } from '../command.js';
import { runTests, type TestRequest } from './run.js';

/** An earlier release, and by how much its successor may be worse. */
export interface Baseline {
  readonly release: ReleaseName;
  readonly tolerances: Tolerances;
}

/** Reads `r3` of the project's own endpoint, or `ENDPOINT@r3`; tolerances as `latency=0.5`. Throws USAGE. */
export async function readBaseline(text: string, allowed: readonly string[], { subject, dir }: TestRequest): Promise<Baseline> {
  const own = /^r?([1-9]\d*)$/.exec(text)?.[1];
  const release = own === undefined ? parseReleaseName(text) : { endpointId: await ownEndpoint(subject, dir), number: Number(own) };
  if (release === undefined)
    throw new WherryError('USAGE', `--baseline '${text}' is no release`, { hint: 'write r3, or ENDPOINT@r3 for another endpoint' });
  return { release, tolerances: { ...TOLERANCES, ...Object.fromEntries(allowed.map(readTolerance)) } };
}

async function ownEndpoint(subject: TestRequest['subject'], dir: string): Promise<string> {
  if (subject.kind === 'endpoint') return subject.endpointId;
  if (subject.kind === 'project') return (await readProject(dir)).name;
  throw new WherryError('USAGE', 'no endpoint was named whose release is the baseline', { hint: 'write ENDPOINT@rN' });
}

function readTolerance(text: string): readonly [string, number] {
  const [, name = '', value = ''] = /^([a-zA-Z]+)=(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  if (Object.hasOwn(TOLERANCES, name)) return [name, Number(value)];
  throw new WherryError('USAGE', `--allow '${text}' is no tolerance`, {
    hint: `write one of ${Object.keys(TOLERANCES).join(', ')} as latency=0.5, parts of what the baseline has; output is a number`,
  });
}

/**
 * Runs the tests on an earlier release, on the same server and just before, and adds a result of its own that fails when the subject is worse.
 * Throws as {@link runTests}.
 */
export async function runWithBaseline(context: Context, request: TestRequest, { release, tolerances }: Baseline): Promise<RunReport> {
  const name = `${release.endpointId}@${formatRelease(release.number)}`;
  context.output.talk(`  ${name} first`);
  const before = await runTests(context, { ...request, subject: { kind: 'release', release } });
  const after = await runTests(context, request);
  const failures = compareWithBaseline(before, after, tolerances);
  const result: TestResult = {
    name: `is no worse than ${name}`,
    place: { file: after.file, line: 1, column: 1 },
    isPassed: failures.length === 0,
    failures,
    input: null,
    tookMs: before.tookMs,
    job: null,
    log: [],
  };
  const { passed, failed } = after;
  const isFailed = failures.length > 0;
  return { ...after, results: [...after.results, result], passed: passed + (isFailed ? 0 : 1), failed: failed + (isFailed ? 1 : 0) };
}
