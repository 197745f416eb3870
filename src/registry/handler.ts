import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemCodeOf, toWherryError, WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Blobs } from './blobs.js';
import { checkRepository, type Exchange, sendAnswer, sendError } from './exchange.js';
import { type Mirrors, noMirrors } from './mirror.js';
import { serveBlob } from './serve-blobs.js';
import { serveCatalog, serveReferrers, serveTags } from './serve-lists.js';
import { serveManifest } from './serve-manifests.js';
import { serveUpload, serveUploads } from './serve-uploads.js';
import { readOnly } from './upkeep.js';

export interface RegistryHandlerOptions {
  readonly blobs: Blobs;
  readonly log: Log;
  /** False for names that this server keeps for itself; they get NAME_INVALID. */
  readonly isRepositoryAllowed: (name: string) => boolean;
  /** Pushes and deletions get UNSUPPORTED. */
  readonly isReadOnly?: boolean;
  /** None by default. */
  readonly mirrors?: Mirrors;
}

/** What the caller has found out about who asks. */
export interface RegistryAccess {
  readonly canPush: boolean;
  /** A runtime of this server pulls for its workers: names that the server keeps for itself are open to it. */
  readonly isRuntime?: boolean;
}

/** Answers one request below `/v2/`; never rejects. */
export type RegistryHandler = (request: IncomingMessage, response: ServerResponse, access: RegistryAccess) => Promise<void>;

type Serve = (exchange: Exchange, repository: string, last: string) => Promise<void>;

/** Paths below a repository, most particular first; a name may itself hold `blobs` or `manifests`, so each is matched from its end. */
const ROUTES: readonly (readonly [RegExp, Serve])[] = [
  [/^\/v2\/(.+)\/blobs\/uploads\/?$/, serveUploads],
  [/^\/v2\/(.+)\/blobs\/uploads\/([^/]+)$/, serveUpload],
  [/^\/v2\/(.+)\/blobs\/([^/]+)$/, serveBlob],
  [/^\/v2\/(.+)\/manifests\/([^/]+)$/, serveManifest],
  [/^\/v2\/(.+)\/referrers\/([^/]+)$/, serveReferrers],
  [/^\/v2\/(.+)\/tags\/list$/, serveTags],
];

const READS: readonly string[] = ['GET', 'HEAD'];

/** The server side of the OCI distribution-spec 1.1 over {@link Blobs}. Who may ask, and that a path is ours, the caller decides. */
export function createRegistryHandler(options: RegistryHandlerOptions): RegistryHandler {
  const { blobs, log, isRepositoryAllowed, isReadOnly = false, mirrors = noMirrors } = options;
  return async (request, response, access) => {
    const [path = '', query = ''] = (request.url ?? '').split('?', 2);
    const method = request.method ?? 'GET';
    const isAllowed = access.isRuntime ? () => true : isRepositoryAllowed;
    const exchange: Exchange = {
      ...{ request, response, method, blobs, mirrors, log },
      query: new URLSearchParams(query),
      isRepositoryAllowed: isAllowed,
    };
    response.setHeader('docker-distribution-api-version', 'registry/2.0');
    try {
      if (!access.canPush && !READS.includes(method))
        throw new WherryError('DENIED', 'this key may only pull', { hint: 'use a key that may push' });
      if (isReadOnly && !READS.includes(method)) throw readOnly(method === 'DELETE' ? 'the deletion' : 'the push');
      await route(exchange, path);
    } catch (thrown) {
      answerFailure(exchange, thrown);
    }
  };
}

async function route(exchange: Exchange, encodedPath: string): Promise<void> {
  const path = decodePath(encodedPath);
  if (/^\/v2\/?$/.test(path)) return sendAnswer(exchange, 200, { headers: { 'content-type': 'application/json' }, body: '{}' });
  if (path === '/v2/_catalog') return serveCatalog(exchange);
  for (const [pattern, serve] of ROUTES) {
    const [, repository, last = ''] = pattern.exec(path) ?? [];
    if (repository === undefined) continue;
    checkRepository(exchange, repository);
    refuseCopied(exchange, repository);
    return serve(exchange, repository, last);
  }
  throw new WherryError('NOT_FOUND', `'${path}' is no path of the registry`);
}

/** A copy can be deleted, so that it comes anew; what others serve cannot be changed here. */
function refuseCopied({ method, mirrors }: Exchange, repository: string): void {
  const place = mirrors.originOf(repository);
  if (!place || READS.includes(method) || method === 'DELETE') return;
  throw new WherryError('DENIED', `'${repository}' holds copies of '${place.registry}/${place.repository}'`, {
    hint: 'push to that registry',
  });
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new WherryError('NAME_INVALID', `the path '${path}' is not properly encoded`, { cause });
  }
}

/** Sends the failure, unless the client has gone or the answer has begun: then the connection ends, so that nobody takes a part for the whole. */
function answerFailure(exchange: Exchange, thrown: unknown): void {
  const { request, response, log, method } = exchange;
  const isGone = request.socket.destroyed || response.destroyed || systemCodeOf(thrown) === 'ECONNRESET';
  if (isGone || response.headersSent) {
    log.debug({ method, path: request.url?.split('?')[0], cause: thrown }, 'a registry request ended early');
    response.destroy();
    return;
  }
  const error = toWherryError(thrown);
  if (error.kind === 'internal' || error.kind === 'unavailable')
    log.error({ method, path: request.url?.split('?')[0], cause: error }, 'a registry request failed');
  sendError(exchange, error);
  // A body that was read in part is not thrown away by Node: unread, it would block the next request of the connection.
  request.resume();
}
