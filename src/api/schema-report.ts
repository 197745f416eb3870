import { type Static, Type } from 'typebox';

/** The shapes of test reports, for `schema.ts`. */
const count = Type.Integer({ minimum: 0, maximum: 1_000_000 });
const at = Type.String({ maxLength: 40, description: 'RFC 3339: when the tests ended' });

export const TestSummary = Type.Object({ passed: count, failed: count, at });
export const TestReport = Type.Object({ passed: count, failed: count, at }, { description: 'whatever else it has is kept as it is given' });
export const ReportPath = Type.Object({ id: Type.String(), number: Type.Integer({ minimum: 1 }) });

export type TestReportBody = Static<typeof TestReport>;
