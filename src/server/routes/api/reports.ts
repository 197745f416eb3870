import * as schema from '../../../api/schema-report.js';
import { REPORT_BYTES } from '../../../domain/test-report.js';
import { readMoment } from '../../moment.js';
import { viewTests } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

/** Test reports of releases: who tested posts them (decision 32), a release shows them ever after. */
export function addReportRoutes(server: ApiServer, { engine }: ApiContext): void {
  const params = schema.ReportPath;
  server.put(
    '/endpoints/:id/releases/:number/report',
    {
      bodyLimit: REPORT_BYTES,
      schema: {
        summary: 'Keep the report of the tests of a release',
        params,
        body: schema.TestReport,
        response: { 200: schema.TestSummary },
      },
    },
    async ({ params: { id, number }, body }) => {
      const { passed, failed } = body;
      const summary = { passed, failed, at: readMoment('at', body.at) };
      await engine.putReport({ endpointId: id, number }, { summary, text: JSON.stringify(body) });
      return viewTests(summary);
    },
  );
  server.get(
    '/endpoints/:id/releases/:number/report',
    { schema: { summary: 'Read the report of the tests of a release, as it was given', params } },
    async ({ params: { id, number } }, reply) => reply.type('application/json').send(await engine.getReport({ endpointId: id, number })),
  );
}
