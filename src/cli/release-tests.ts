import type { ApiClient } from '../api/client.js';
import { WherryError } from '../base/errors.js';
import { medianExecution } from '../check/baseline.js';
import type { RunReport } from '../check/result.js';
import { parseReleaseName } from '../domain/release.js';

/** What the tests of a release said. */
export interface TestedRelease {
  readonly passed: number;
  readonly failed: number;
  /** Median, in milliseconds; null when no job ran. */
  readonly executionMs: number | null;
}

/** What the tests of two releases said, each null for one without a report; undefined when the names are not both of releases. Throws what the server says. */
export async function readTests(
  client: () => Promise<ApiClient>,
  names: readonly [string, string],
): Promise<readonly (TestedRelease | null)[] | undefined> {
  const releases = names.flatMap((name) => parseReleaseName(name) ?? []);
  if (releases.length < names.length) return undefined;
  const api = await client();
  const read = async (endpointId: string, number: number): Promise<TestedRelease | null> => {
    const report = await api.getReport(endpointId, number).catch((thrown: unknown) => {
      if (thrown instanceof WherryError && thrown.code === 'REPORT_UNKNOWN') return undefined;
      throw thrown;
    });
    if (!report) return null;
    const { results = [] } = report as Partial<RunReport>;
    return { passed: report.passed, failed: report.failed, executionMs: medianExecution(results) ?? null };
  };
  return Promise.all(releases.map(({ endpointId, number }) => read(endpointId, number)));
}

/** One line, for instance `tests: 3 passed, 12 ms → 1 of 3 failed, 40 ms`; empty when neither was tested. */
export function formatTests(tested: readonly (TestedRelease | null)[]): string {
  return tested.every((each) => each === null) ? '' : `tests: ${tested.map(formatOne).join(' → ')}`;
}

function formatOne(tested: TestedRelease | null): string {
  if (tested === null) return 'not run';
  const { passed, failed, executionMs } = tested;
  const count = failed === 0 ? `${passed} passed` : `${failed} of ${passed + failed} failed`;
  return executionMs === null ? count : `${count}, median execution ${executionMs} ms`;
}
