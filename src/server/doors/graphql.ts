import { GraphQLError, parse } from 'graphql';
import { createHandler } from 'graphql-http';
import { WherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Key } from '../../domain/key.js';
import type { BoundEndpoints } from '../../engine/bound-endpoints.js';
import type { Engine } from '../../engine/engine.js';
import type { Templates } from '../../engine/templates.js';
import { readCredential } from '../auth.js';
import { type Exchange, readBody, sendJson } from '../exchange.js';
import type { Keys } from '../keys.js';
import type { NamedCredentials } from '../named-credentials.js';
import { createCatalogOperations } from './graphql/catalog.js';
import type { Call, Door } from './graphql/context.js';
import { createEndpointOperations } from './graphql/endpoints.js';
import { createRegistryAuthOperations } from './graphql/registry-auth.js';
import { chooseRules, openSchema } from './graphql/schema.js';
import { createTemplateOperations } from './graphql/templates.js';
import { createUserOperations } from './graphql/user.js';

export interface GraphqlDoorOptions {
  readonly engine: Engine;
  readonly keys: Keys;
  readonly templates: Templates;
  readonly boundEndpoints: BoundEndpoints;
  readonly namedCredentials: NamedCredentials;
  readonly log: Log;
}

const BODY_LIMIT_BYTES = 1024 * 1024;
/** Of a document: the longest that clients send have some hundred. */
const TOKENS = 4_000;

/**
 * `POST /graphql`: the operations that RunPod's test runner and its Python client send. Errors are answered with 200 and a list `errors`,
 * which is absent otherwise; only a request without a known key, or that is none, has another status. Queries are for admin and read-only
 * keys, changes for admin keys. The key may also stand in the URL as `api_key`: the URL is never logged.
 */
export function createGraphqlDoor(options: GraphqlDoorOptions): (exchange: Exchange) => Promise<void> {
  const { keys, log } = options;
  const door: Door = { ...options, endpoints: options.boundEndpoints };
  const run = createHandler<Exchange, Call, Call>({
    schema: openSchema(),
    rootValue: {
      ...createUserOperations(door),
      ...createCatalogOperations(),
      ...createTemplateOperations(door),
      ...createEndpointOperations(door),
      ...createRegistryAuthOperations(door),
    },
    context: ({ context }) => context,
    parse: (source) => parse(source, { maxTokens: TOKENS }),
    validationRules: (_request, _args, specified) => chooseRules(specified),
    onOperation: ({ context: { notices } }, _args, result) =>
      notices.length > 0 && !('next' in result) ? { ...result, extensions: { notices } } : undefined,
    formatError: (error) => formatError(log, error),
  });
  return async (exchange) => {
    const { request, method } = exchange;
    const refuse = (status: number, message: string, headers: Readonly<Record<string, string>> = {}) => {
      request.resume();
      sendJson(exchange, status, JSON.stringify({ errors: [{ message }] }), headers);
    };
    if (method !== 'POST') return refuse(405, 'use POST for /graphql', { allow: 'POST' });
    const credential = readCredential(request.headers) ?? exchange.query.get('api_key') ?? '';
    const key = await keys.authenticate(credential);
    if (!key) return refuse(401, 'the key is missing or not known: send it as Bearer, or as api_key in the URL');
    if (key.scope === 'endpoint') return refuse(403, `key '${key.name}' opens one endpoint only: use an admin or read-only key`);
    const body = await readBody(exchange, BODY_LIMIT_BYTES);
    if (body === undefined) return refuse(413, `the body is larger than ${BODY_LIMIT_BYTES} bytes`);
    const [text, { status }] = await run({
      method,
      url: exchange.path,
      // The one kind whose errors have the status 200.
      headers: { 'content-type': request.headers['content-type'], accept: 'application/json' },
      body,
      raw: exchange,
      context: openCall(door, key, log),
    });
    if (text === null) return refuse(status, 'send JSON as application/json');
    sendJson(exchange, status, text);
  };
}

function openCall({ endpoints }: Door, key: Key, log: Log): Call {
  const notices: string[] = [];
  let listed: ReturnType<typeof endpoints.list> | undefined;
  return {
    key,
    author: key.name,
    notices,
    notify: (notice) => {
      notices.push(notice);
      log.warn({ key: key.name, notice }, 'a GraphQL request was accepted with a notice');
    },
    listEndpoints: () => {
      listed ??= endpoints.list();
      return listed;
    },
  };
}

/** Ours with code and hint. A bug is told to the log alone, without the document: there may be secrets in it. */
function formatError(log: Log, error: Readonly<GraphQLError | Error>): GraphQLError | Error {
  const cause = error instanceof GraphQLError ? error.originalError : undefined;
  if (cause instanceof WherryError && cause.code !== 'INTERNAL') {
    const { code, hint } = cause;
    const { path } = error as GraphQLError;
    return new GraphQLError(cause.message, { ...(path && { path }), extensions: { code, ...(hint !== undefined && { hint }) } });
  }
  if (cause === undefined || cause === null || cause instanceof GraphQLError) return error;
  log.error({ err: cause }, 'a GraphQL request failed');
  return new GraphQLError('an unexpected error happened', { extensions: { code: 'INTERNAL' } });
}
