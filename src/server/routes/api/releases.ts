import * as schema from '../../../api/schema.js';
import { WherryError } from '../../../base/errors.js';
import { DEFAULT_SPEC, HOLD_MS, type ReleaseSpec, type RolloutStep } from '../../../domain/release.js';
import type { DeployOrigin, DeployResult, Engine } from '../../../engine/engine.js';
import { viewProgress, viewRelease, viewReleaseMasked, viewRollout } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';
import { readFirst } from './endpoints.js';

const params = schema.EndpointPath;
/** A list is a page: an endpoint may have thousands of releases. */
const PAGE = 100;

/** Releases of an endpoint: what was deployed, and deploying. */
export function addReleaseRoutes(server: ApiServer, { engine, authorOf, maySeeSecrets }: ApiContext): void {
  server.get(
    '/endpoints/:id/releases',
    {
      schema: {
        summary: 'List releases, newest first',
        params,
        querystring: schema.ReleaseQuery,
        response: { 200: schema.listOf(schema.Release) },
      },
    },
    async (request) => {
      const releases = await engine.listReleases(request.params.id, { limit: PAGE, ...request.query });
      const tests = await engine.readTests(releases);
      const view = maySeeSecrets(request) ? viewRelease : viewReleaseMasked;
      return { items: releases.map((release) => view(release, tests.get(release.number))) };
    },
  );
  server.post(
    '/endpoints/:id/releases',
    {
      schema: {
        summary: 'Deploy an image by digest, with `endpoint` to one that is made with it',
        params,
        body: schema.NewRelease,
        response: { 201: schema.Deployed },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { endpoint, spec, sourceRevision = null, supersede = false, canary, hold = false, holdMs = HOLD_MS } = request.body;
      const before = endpoint ? DEFAULT_SPEC : await readActiveSpec(engine, id);
      const result = await engine.deploy(id, {
        ...(endpoint && { endpoint: readFirst(endpoint) }),
        from: originOf(request.body),
        spec: mergeSpec(before, spec as Partial<ReleaseSpec> | undefined),
        sourceRevision,
        author: authorOf(request),
        isSuperseding: supersede,
        ...(canary !== undefined && { share: canary }),
        ...(hold && { holdMs }),
      });
      return reply.code(201).send(await viewDeployed(engine, result));
    },
  );
  server.post(
    '/endpoints/:id/rollback',
    { schema: { summary: 'Make an earlier release a new one', params, body: schema.Rollback, response: { 201: schema.Deployed } } },
    async (request, reply) => {
      const { release } = request.body;
      const result = await engine.rollback(request.params.id, { author: authorOf(request), ...(release !== undefined && { release }) });
      return reply.code(201).send(await viewDeployed(engine, result));
    },
  );
}

/** Rollouts of an endpoint: how far a release is, and its next step. */
export function addRolloutRoutes(server: ApiServer, { engine, authorOf, signalOf }: ApiContext): void {
  server.get(
    '/endpoints/:id/rollouts',
    {
      schema: {
        summary: 'List rollouts, newest first',
        params,
        querystring: schema.ReleaseQuery,
        response: { 200: schema.listOf(schema.RolloutProgress) },
      },
    },
    async ({ params: { id }, query }) => ({ items: (await engine.listRollouts(id, { limit: PAGE, ...query })).map(viewProgress) }),
  );
  server.get<{ Params: { id: string; to: string }; Querystring: { waitMs?: number } }>(
    '/endpoints/:id/rollouts/:to',
    {
      schema: {
        summary: 'Read a rollout, waiting until it has ended, is a canary or waits to be promoted',
        querystring: schema.WaitQuery,
        response: { 200: schema.Rollout },
      },
    },
    async (request) => {
      const { id, to } = request.params;
      return viewRollout(await engine.waitRollout(id, Number(to), { timeoutMs: request.query.waitMs ?? 0, signal: signalOf(request) }));
    },
  );
  server.post(
    '/endpoints/:id/rollout',
    {
      schema: {
        summary: 'Promote or abort the open rollout, or change its share',
        params,
        body: schema.RolloutStep,
        response: { 200: schema.Rollout },
      },
    },
    async (request) => {
      const { to, ...step } = request.body;
      return viewRollout(
        await engine.stepRollout(request.params.id, { ...readStep(step, authorOf(request)), ...(to !== undefined && { to }) }),
      );
    },
  );
}

function readStep({ action, share, reason }: { action: string; share?: number; reason?: string }, author: string): RolloutStep {
  if (action === 'promote') return { action };
  if (action === 'abort') return { action, reason: reason ?? `aborted by ${author}` };
  if (share !== undefined) return { action: 'share', share };
  throw new WherryError('REQUEST_INVALID', "the action 'share' needs a share", { hint: 'send a share from 1 to 99' });
}

/** Absent is false, or none: one form, so that equal releases look equal. */
function mergeSpec(before: ReleaseSpec, change: Partial<ReleaseSpec> = {}): ReleaseSpec {
  const { isHardened, secrets = [], models = [], placement = {}, ...rest } = { ...before, ...change };
  const names = [...new Set(secrets)].sort();
  return {
    ...rest,
    ...(isHardened && { isHardened }),
    ...(names.length > 0 && { secrets: names }),
    ...(models.length > 0 && { models }),
    ...(Object.keys(placement).length > 0 && { placement }),
  };
}

/** What a new release does not say stays as it is. */
async function readActiveSpec(engine: Engine, id: string): Promise<ReleaseSpec> {
  const { activeRelease } = await engine.getEndpoint(id);
  return activeRelease === null ? DEFAULT_SPEC : (await engine.getRelease(id, activeRelease)).spec;
}

/** Throws REQUEST_INVALID. */
function originOf({ reference, from }: schema.NewReleaseBody): DeployOrigin {
  if (reference !== undefined && from === undefined) return { reference };
  if (reference === undefined && from !== undefined) return { release: from };
  throw new WherryError('REQUEST_INVALID', "a release is made of either a 'reference' or 'from' another release", {
    hint: 'send exactly one of the two',
  });
}

async function viewDeployed(engine: Engine, { release, rollout, warnings, size }: DeployResult) {
  const tests = await engine.readTests([release]);
  return {
    release: viewRelease(release, tests.get(release.number)),
    rollout: rollout && viewRollout(rollout),
    warnings: [...warnings],
    size,
  };
}
