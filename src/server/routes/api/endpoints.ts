import type { SettingsChange } from '../../../api/client.js';
import * as schema from '../../../api/schema.js';
import { WherryError } from '../../../base/errors.js';
import { DEFAULT_SETTINGS, type EndpointSettings } from '../../../domain/endpoint.js';
import { DEFAULT_SPEC, type ReleaseSpec } from '../../../domain/release.js';
import type { DeployOrigin, DeployResult } from '../../../engine/engine.js';
import { viewEndpoint, viewJob, viewJobFacts, viewRelease, viewReleaseMasked, viewRollout, viewWorker } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

/** Endpoints, their releases, rollouts, workers and jobs. */
export function addEndpointRoutes(server: ApiServer, { engine, keys }: ApiContext): void {
  const params = schema.EndpointPath;

  server.get('/endpoints', { schema: { summary: 'List endpoints', response: { 200: schema.listOf(schema.Endpoint) } } }, async () => ({
    items: (await engine.listEndpoints()).map(viewEndpoint),
  }));
  server.post(
    '/endpoints',
    { schema: { summary: 'Make an endpoint', body: schema.NewEndpoint, response: { 201: schema.Endpoint } } },
    async ({ body: { id, name, settings } }, reply) => {
      const made = await engine.createEndpoint({
        id,
        ...(name !== undefined && { name }),
        settings: merge(DEFAULT_SETTINGS, settings ?? {}),
      });
      return reply.code(201).send(viewEndpoint(made));
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
    async ({ params: { id }, body: { name, settings, isPaused } }) => {
      const { settings: before } = await engine.getEndpoint(id);
      const change = {
        ...(name !== undefined && { name }),
        ...(settings !== undefined && { settings: merge(before, settings) }),
        ...(isPaused !== undefined && { isPaused }),
      };
      return viewEndpoint(await engine.updateEndpoint(id, change));
    },
  );
  server.delete(
    '/endpoints/:id',
    { schema: { summary: 'Remove an endpoint with everything of it', params } },
    async ({ params: { id } }, reply) => {
      await engine.removeEndpoint(id);
      keys.forgetEndpoint(id);
      return reply.code(204).send();
    },
  );
  server.get(
    '/endpoints/:id/health',
    { schema: { summary: 'Counts of jobs and workers', params, response: { 200: schema.Health } } },
    ({ params: { id } }) => engine.health(id),
  );
  server.get(
    '/endpoints/:id/workers',
    { schema: { summary: 'List workers', params, querystring: schema.WorkerQuery, response: { 200: schema.listOf(schema.Worker) } } },
    async ({ params: { id }, query: { all = false } }) => {
      const { activeRelease } = await engine.getEndpoint(id);
      const workers = await engine.listWorkers(id, all);
      const held = await engine.listHeld(workers);
      return { items: workers.map((worker) => viewWorker(worker, activeRelease, held.get(worker.id))) };
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
      const states = state === undefined ? {} : { states: [state as never] };
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

/** Releases and rollouts of an endpoint. */
export function addReleaseRoutes(server: ApiServer, { engine, authorOf, maySeeSecrets, signalOf }: ApiContext): void {
  const params = schema.EndpointPath;
  server.get(
    '/endpoints/:id/releases',
    { schema: { summary: 'List releases, newest first', params, response: { 200: schema.listOf(schema.Release) } } },
    async (request) => ({
      items: (await engine.listReleases(request.params.id)).map(maySeeSecrets(request) ? viewRelease : viewReleaseMasked),
    }),
  );
  server.post(
    '/endpoints/:id/releases',
    { schema: { summary: 'Deploy an image by digest', params, body: schema.NewRelease, response: { 201: schema.Deployed } } },
    async (request, reply) => {
      const { spec, sourceRevision = null, supersede = false } = request.body;
      const from = originOf(request.body);
      const { activeRelease } = await engine.getEndpoint(request.params.id);
      const before = (await engine.listReleases(request.params.id)).find(({ number }) => number === activeRelease)?.spec ?? DEFAULT_SPEC;
      const whole = { ...before, ...spec } as ReleaseSpec;
      const author = authorOf(request);
      const result = await engine.deploy(request.params.id, {
        from,
        spec: whole,
        sourceRevision,
        author,
        isSuperseding: supersede,
      });
      return reply.code(201).send(viewDeployed(result));
    },
  );
  server.post(
    '/endpoints/:id/rollback',
    { schema: { summary: 'Make an earlier release a new one', params, body: schema.Rollback, response: { 201: schema.Deployed } } },
    async (request, reply) => {
      const { release } = request.body;
      const result = await engine.rollback(request.params.id, { author: authorOf(request), ...(release !== undefined && { release }) });
      return reply.code(201).send(viewDeployed(result));
    },
  );
  server.get(
    '/endpoints/:id/rollouts',
    { schema: { summary: 'List rollouts, newest first', params, response: { 200: schema.listOf(schema.Rollout) } } },
    async ({ params: { id } }) => ({ items: (await engine.listRollouts(id)).map(viewRollout) }),
  );
  server.get<{ Params: { id: string; to: string }; Querystring: { waitMs?: number } }>(
    '/endpoints/:id/rollouts/:to',
    { schema: { summary: 'Read a rollout, waiting for its end', querystring: schema.WaitQuery, response: { 200: schema.Rollout } } },
    async (request) => {
      const { id, to } = request.params;
      return viewRollout(await engine.waitRollout(id, Number(to), { timeoutMs: request.query.waitMs ?? 0, signal: signalOf(request) }));
    },
  );
}

/** Throws REQUEST_INVALID. */
function originOf({ reference, from }: schema.NewReleaseBody): DeployOrigin {
  if (reference !== undefined && from === undefined) return { reference };
  if (reference === undefined && from !== undefined) return { release: from };
  throw new WherryError('REQUEST_INVALID', "a release is made of either a 'reference' or 'from' another release", {
    hint: 'send exactly one of the two',
  });
}

function viewDeployed({ release, rollout, warnings, size }: DeployResult) {
  return { release: viewRelease(release), rollout: rollout && viewRollout(rollout), warnings: [...warnings], size };
}

function merge(before: EndpointSettings, change: SettingsChange | object): EndpointSettings {
  const { scale, limits, runtime = before.runtime } = change as SettingsChange;
  return {
    ...(runtime && { runtime }),
    scale: { ...before.scale, ...scale } as EndpointSettings['scale'],
    limits: { ...before.limits, ...limits } as EndpointSettings['limits'],
  };
}
