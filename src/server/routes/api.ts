import type { IncomingMessage, ServerResponse } from 'node:http';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import { formatError } from '../../api/envelope.js';
import * as schema from '../../api/schema.js';
import { toWherryError, WherryError } from '../../base/errors.js';
import { createUuid } from '../../base/ids.js';
import type { Key } from '../../domain/key.js';
import { authenticate } from '../auth.js';
import type { Keys } from '../keys.js';
import { viewEndpoint, viewFrozen, viewProgress } from '../views.js';
import type { ApiContext, ApiOptions, ApiServer } from './api/context.js';
import { addCredentialRoutes } from './api/credentials.js';
import { addEndpointRoutes } from './api/endpoints.js';
import { addKeyRoutes } from './api/keys.js';
import { addLogRoutes } from './api/logs.js';
import { addRegistryRoutes } from './api/registry.js';
import { addReleaseRoutes, addRolloutRoutes } from './api/releases.js';
import { addReportRoutes } from './api/reports.js';
import { addScalingRoutes } from './api/scaling.js';
import { addSecretRoutes } from './api/secrets.js';
import { addWebhookRoutes } from './api/webhooks.js';
import { addWhyRoutes } from './api/why.js';

export interface Api {
  serve(request: IncomingMessage, response: ServerResponse): void;
  /** Ends held requests. */
  close(): Promise<void>;
}

/** The management API under /api/v1 with its OpenAPI document and page. */
export async function createApi(options: ApiOptions): Promise<Api> {
  const { keys, clock, log, version } = options;
  const closing = new AbortController();
  const callers = new WeakMap<FastifyRequest, Key>();
  const replies = new WeakMap<FastifyRequest, FastifyReply>();
  const app: ApiServer = fastify({
    genReqId: () => createUuid(clock.now()),
    bodyLimit: 1024 * 1024,
    forceCloseConnections: true,
    // Names of secrets and registries, percent-encoded, are longer than the hundred characters of the default.
    routerOptions: { maxParamLength: 1_024 },
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.setValidatorCompiler(TypeBoxValidatorCompiler);
  app.setErrorHandler((thrown, request, reply) => {
    const error = asWherryError(thrown);
    if (error.code === 'INTERNAL') log.error({ err: thrown, requestId: request.id }, 'a request failed');
    return reply.code(error.status).send(formatError(error, request.id));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = new WherryError('NOT_FOUND', `there is nothing at ${request.method} ${request.url.split('?')[0]}`, {
      hint: 'see /api/docs',
    });
    return reply.code(404).send(formatError(error, request.id));
  });
  await app.register(swagger, {
    openapi: {
      info: { title: 'wherry', version, description: 'Management API. The job API under /v2 speaks RunPod Serverless.' },
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      security: [{ key: [] }],
    },
  });
  await app.register(swaggerUi, { routePrefix: '/api/docs' });
  app.get('/healthz', { schema: { hide: true } }, () => ({ status: 'ok' }));
  app.get('/', { schema: { hide: true } }, (_request, reply) => reply.redirect('/api/docs'));
  app.get('/api/v1/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await app.register(
    (server, _options, done) => {
      server.addHook('onRequest', async (request, reply) => {
        replies.set(request, reply);
        callers.set(request, await authorize(keys, request));
      });
      const context: ApiContext = {
        ...options,
        authorOf: (request) => callers.get(request)?.name ?? '',
        maySeeSecrets: (request) => callers.get(request)?.scope === 'admin',
        signalOf: (request) => AbortSignal.any([closing.signal, signalOf(replies.get(request))]),
      };
      const typed = server.withTypeProvider<TypeBoxTypeProvider>() as ApiServer;
      addEndpointRoutes(typed, context);
      addReleaseRoutes(typed, context);
      addRolloutRoutes(typed, context);
      addReportRoutes(typed, context);
      addScalingRoutes(typed, context);
      addLogRoutes(typed, context);
      addWhyRoutes(typed, context);
      addWebhookRoutes(typed, context);
      addRegistryRoutes(typed, context);
      addCredentialRoutes(typed, context);
      addSecretRoutes(typed, context);
      addKeyRoutes(typed, context);
      addStatusRoute(typed, { ...context, startedAt: new Date(clock.now()).toISOString() });
      done();
    },
    { prefix: '/api/v1' },
  );
  await app.ready();
  return {
    serve: (request, response) => app.routing(request, response),
    close: async () => {
      closing.abort();
      await app.close();
    },
  };
}

/** Admin keys may all; read-only ones may look at all; a key of one endpoint may look at its endpoint. */
async function authorize(keys: Keys, request: FastifyRequest): Promise<Key> {
  const key = await authenticate(keys, request.headers);
  if (!key) throw new WherryError('UNAUTHORIZED', 'the key is missing or not known', { hint: 'send Authorization: Bearer KEY' });
  const { id } = (request.params ?? {}) as { id?: string };
  const isOwn =
    key.scope === 'endpoint' && request.method === 'GET' && request.url.startsWith('/api/v1/endpoints/') && id === key.endpointId;
  const isReading = key.scope === 'read-only' && request.method === 'GET';
  if (key.scope === 'admin' || isReading || isOwn) return key;
  throw new WherryError('DENIED', `key '${key.name}' may not do this`, { hint: 'use an admin key' });
}

function addStatusRoute(server: ApiServer, { engine, version, startedAt }: ApiContext & { startedAt: string }): void {
  server.get('/status', { schema: { summary: 'The whole server at a glance', response: { 200: schema.Status } } }, async () => {
    const [endpoints, summaries] = await Promise.all([engine.listEndpoints(), engine.summarize()]);
    const views = await Promise.all(
      endpoints.flatMap((endpoint) => {
        const known = summaries.get(endpoint.id);
        // Made in this very moment.
        if (!known) return [];
        const { text: summary, frozen, rollout } = known;
        const parts = { summary, frozen: viewFrozen(frozen), rollout: rollout && viewProgress(rollout) };
        return engine.health(endpoint.id).then((health) => ({ ...viewEndpoint(endpoint), health, ...parts }));
      }),
    );
    return { version, startedAt, host: engine.host(), endpoints: views };
  });
}

/** On the answer, not on the socket: a socket lives for many requests. */
function signalOf(reply: FastifyReply | undefined): AbortSignal {
  const controller = new AbortController();
  if (!reply || reply.raw.destroyed) controller.abort();
  reply?.raw.once('close', () => controller.abort());
  return controller.signal;
}

/** Fastify's own refusals (validation, body parsing) in our words. */
function asWherryError(thrown: unknown): WherryError {
  const { validation, validationContext, statusCode, message } = thrown as {
    validation?: readonly { instancePath?: string; message?: string }[];
    validationContext?: string;
    statusCode?: number;
    message?: string;
  };
  if (validation) {
    const [first] = validation;
    const where = `${validationContext ?? 'request'}${(first?.instancePath ?? '').replaceAll('/', '.')}`;
    return new WherryError('REQUEST_INVALID', `${where} ${first?.message ?? 'is not as expected'}`, {
      hint: 'see /api/docs for the shape',
      detail: validation,
    });
  }
  if (!(thrown instanceof WherryError) && statusCode !== undefined && statusCode < 500) {
    return new WherryError(
      statusCode === 413 ? 'INPUT_TOO_LARGE' : 'REQUEST_INVALID',
      (message ?? 'the request was refused').toLowerCase(),
    );
  }
  return toWherryError(thrown);
}
