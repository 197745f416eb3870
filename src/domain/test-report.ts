/** How the tests of a release went. */
export interface TestSummary {
  readonly passed: number;
  readonly failed: number;
  readonly at: number;
}

/** Of a report as it is sent. */
export const REPORT_BYTES = 1024 * 1024;

/** Id of a release's report; in the order of releases. */
export function reportKeyOf(endpointId: string, release: number): string {
  return `${endpointId}/${String(release).padStart(12, '0')}`;
}

/** `14 passed`, `2 of 14 failed`. */
export function formatTests({ passed, failed }: Pick<TestSummary, 'passed' | 'failed'>): string {
  return failed === 0 ? `${passed} passed` : `${failed} of ${passed + failed} failed`;
}
