import type { TestResult } from './result.js';
import { runTest, type TestSite } from './run-test.js';
import type { Test } from './suite.js';

export interface SuiteRun extends TestSite {
  readonly tests: readonly Test[];
  /** How many run at a time. */
  readonly parallel: number;
  /** Called as each ends. */
  readonly onResult: (result: TestResult) => void;
}

/** Runs tests, some at a time; gives the results in the order of the tests. Never rejects: what stops a run is the verdict of its tests. */
export async function runSuite({ tests, parallel, onResult, ...site }: SuiteRun): Promise<readonly TestResult[]> {
  const results = new Array<TestResult>(tests.length);
  const left = tests.entries();
  const work = async (): Promise<void> => {
    // One iterator for all: each takes the next test that nobody has.
    for (const [index, test] of left) {
      const result = await runTest(test, site);
      results[index] = result;
      onResult(result);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, parallel) }, work));
  return results;
}
