import type { SettingsChange } from '../../../api/client.js';
import * as schema from '../../../api/schema.js';
import { DEFAULT_SETTINGS, type EndpointSettings, hasLabel } from '../../../domain/endpoint.js';
import type { NewEndpoint } from '../../../engine/engine.js';
import { viewEndpoint, viewJob, viewJobFacts, viewWorker } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

/** Endpoints, their workers and jobs. */
export function addEndpointRoutes(server: ApiServer, context: ApiContext): void {
  addOwnRoutes(server, context);
  addFleetRoutes(server, context);
}

function addOwnRoutes(server: ApiServer, { engine }: ApiContext): void {
  const params = schema.EndpointPath;

  server.get(
    '/endpoints',
    { schema: { summary: 'List endpoints', querystring: schema.EndpointQuery, response: { 200: schema.listOf(schema.Endpoint) } } },
    async ({ query: { label } }) => {
      const endpoints = await engine.listEndpoints();
      return { items: endpoints.filter(({ labels }) => label === undefined || hasLabel(labels, label)).map(viewEndpoint) };
    },
  );
  server.post(
    '/endpoints',
    { schema: { summary: 'Make an endpoint', body: schema.NewEndpoint, response: { 201: schema.Endpoint } } },
    async ({ body: { id, ...body } }, reply) => {
      return reply.code(201).send(viewEndpoint(await engine.createEndpoint({ id, ...readFirst(body) })));
    },
  );
  server.get(
    '/endpoints/:id',
    { schema: { summary: 'Read an endpoint', params, response: { 200: schema.Endpoint } } },
    async ({ params: { id } }) => viewEndpoint(await engine.getEndpoint(id)),
  );
  server.patch(
    '/endpoints/:id',
    { schema: { summary: 'Change settings in place', params, body: schema.EndpointChange, response: { 200: schema.Endpoint } } },
    async ({ params: { id }, body: { name, settings, isPaused, expiresInMs } }) => {
      const { settings: before } = await engine.getEndpoint(id);
      const change = {
        ...(name !== undefined && { name }),
        ...(settings !== undefined && { settings: merge(before, settings) }),
        ...(isPaused !== undefined && { isPaused }),
        ...(expiresInMs !== undefined && { expiresInMs }),
      };
      return viewEndpoint(await engine.updateEndpoint(id, change));
    },
  );
  server.delete(
    '/endpoints/:id',
    { schema: { summary: 'Remove an endpoint with everything of it', params } },
    async ({ params: { id } }, reply) => {
      await engine.removeEndpoint(id);
      return reply.code(204).send();
    },
  );
}

/** What an endpoint has: counts, workers, jobs. */
function addFleetRoutes(server: ApiServer, { engine }: ApiContext): void {
  const params = schema.EndpointPath;
  server.get(
    '/endpoints/:id/health',
    { schema: { summary: 'Counts of jobs and workers', params, response: { 200: schema.Health } } },
    ({ params: { id } }) => engine.health(id),
  );
  server.get(
    '/endpoints/:id/workers',
    { schema: { summary: 'List workers', params, querystring: schema.WorkerQuery, response: { 200: schema.listOf(schema.Worker) } } },
    async ({ params: { id }, query: { all = false } }) => {
      const [serving, workers] = await Promise.all([engine.listServing(id), engine.listWorkers(id, all)]);
      const held = await engine.listHeld(workers);
      return { items: workers.map((worker) => viewWorker(worker, serving, held.get(worker.id))) };
    },
  );
  server.get(
    '/endpoints/:id/jobs',
    {
      schema: {
        summary: 'List recent jobs, newest first',
        params,
        querystring: schema.JobQuery,
        response: { 200: schema.listOf(schema.Job) },
      },
    },
    async ({ params: { id }, query: { state, worker, limit = 100 } }) => {
      const states = state === undefined ? {} : { states: [state] };
      const jobs = await engine.listJobs({ endpointId: id, limit, ...states, ...(worker !== undefined && { workerId: worker }) });
      return { items: jobs.map(viewJobFacts) };
    },
  );
  server.get<{ Params: { id: string; job: string } }>(
    '/endpoints/:id/jobs/:job',
    { schema: { summary: 'Read a job', response: { 200: schema.Job } } },
    async ({ params: { id, job } }) => viewJob(await engine.getJob(id, job)),
  );
}

/** What an endpoint is made with. */
export function readFirst({ name, settings, labels, expiresInMs }: schema.FirstEndpointBody): Omit<NewEndpoint, 'id'> {
  return {
    ...(name !== undefined && { name }),
    settings: merge(DEFAULT_SETTINGS, settings ?? {}),
    ...(labels !== undefined && { labels }),
    ...(expiresInMs !== undefined && { expiresInMs }),
  };
}

function merge(before: EndpointSettings, change: SettingsChange | object): EndpointSettings {
  const { scale, limits, runtime = before.runtime } = change as SettingsChange;
  return {
    ...(runtime && { runtime }),
    scale: { ...before.scale, ...scale } as EndpointSettings['scale'],
    limits: { ...before.limits, ...limits } as EndpointSettings['limits'],
  };
}
