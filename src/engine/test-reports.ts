import { WherryError } from '../base/errors.js';
import { formatRelease, type Release, type ReleaseName } from '../domain/release.js';
import { reportKeyOf, type TestSummary } from '../domain/test-report.js';
import type { RecordChange } from '../store/store.js';
import type { Core } from './core.js';
import { requireEndpoint, requireRelease } from './jobs.js';

/** Reports removed together; each may have a mebibyte. */
const REMOVED = 20;

/** Keeps the report of a release's tests (decision 32) in place of an earlier one. Throws ENDPOINT_UNKNOWN, RELEASE_UNKNOWN. */
export async function putReport(core: Core, name: ReleaseName, { summary, text }: { summary: TestSummary; text: string }): Promise<void> {
  await requireNamed(core, name);
  await core.store.changeRecords(changesOf(reportKeyOf(name.endpointId, name.number), summary, { text }));
}

/** The report as it was given, as JSON. Throws ENDPOINT_UNKNOWN, RELEASE_UNKNOWN, REPORT_UNKNOWN. */
export async function getReport(core: Core, { endpointId, number }: ReleaseName): Promise<string> {
  await requireNamed(core, { endpointId, number });
  const body = await core.store.getRecord('test-report-body', reportKeyOf(endpointId, number));
  if (body) return body.text;
  throw new WherryError('REPORT_UNKNOWN', `release ${formatRelease(number)} of '${endpointId}' has no test report`, {
    hint: '`wherry releases` shows which have one',
  });
}

/** How the tests of some releases of one endpoint went, by number; those without a report are left out. */
export async function readTests({ store }: Core, releases: readonly Release[]): Promise<ReadonlyMap<number, TestSummary>> {
  const numbers = releases.map(({ number }) => number);
  const [first] = releases;
  if (!first) return new Map();
  const [oldest, newest] = [Math.min(...numbers), Math.max(...numbers)];
  const prefix = `${first.endpointId}/`;
  const range = { prefix, after: reportKeyOf(first.endpointId, oldest - 1), limit: newest - oldest + 1 };
  const found = await store.listRecords('test-report', range);
  return new Map(found.map(({ id, value }) => [Number(id.slice(prefix.length)), value]));
}

/** Before its endpoint goes: a server that dies in between leaves an endpoint that can be removed again, and no report without one. */
export async function removeReports({ store }: Core, endpointId: string): Promise<void> {
  const read = () => store.listRecords('test-report', { prefix: `${endpointId}/`, limit: REMOVED });
  for (let page = await read(); page.length > 0; page = await read()) {
    await store.changeRecords(page.flatMap(({ id }) => changesOf(id, null, null)));
  }
}

async function requireNamed(core: Core, { endpointId, number }: ReleaseName): Promise<void> {
  await requireEndpoint(core, endpointId);
  await requireRelease(core, endpointId, number);
}

function changesOf(id: string, summary: TestSummary | null, body: { readonly text: string } | null): RecordChange[] {
  return [
    { kind: 'test-report', id, value: summary },
    { kind: 'test-report-body', id, value: body },
  ];
}
