import { EndpointPath } from '../../../api/schema.js';
import { EndpointWhy, JobPath, JobWhy } from '../../../api/schema-why.js';
import { viewEndpointWhy, viewJobWhy } from '../../why-views.js';
import type { ApiContext, ApiServer } from './context.js';

/** Why a job waits or how it went, and what holds an endpoint. */
export function addWhyRoutes(server: ApiServer, { engine }: ApiContext): void {
  server.get(
    '/endpoints/:id/why',
    { schema: { summary: 'How an endpoint is, and what holds its queue', params: EndpointPath, response: { 200: EndpointWhy } } },
    async ({ params: { id } }) => viewEndpointWhy(await engine.explainEndpoint(id)),
  );
  server.get<{ Params: { id: string; job: string } }>(
    '/endpoints/:id/jobs/:job/why',
    { schema: { summary: 'Why a job waits, or how it went', response: { 200: JobWhy } } },
    async ({ params: { id, job } }) => explain({ endpointId: id, jobId: job }),
  );
  server.get(
    '/jobs/:job/why',
    { schema: { summary: 'The same for a job of whatever endpoint', params: JobPath, response: { 200: JobWhy } } },
    async ({ params: { job } }) => explain({ jobId: job }),
  );

  async function explain(name: { readonly endpointId?: string; readonly jobId: string }) {
    const why = await engine.explainJob(name);
    return viewJobWhy(why, await engine.listServing(why.job.endpointId));
  }
}
