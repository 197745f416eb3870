import type { IncomingMessage, ServerResponse } from 'node:http';
import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { isRepository } from '../oci/reference.js';
import type { Blobs } from './blobs.js';
import type { Mirrors } from './mirror.js';

/** One request to the registry and its answer. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly query: URLSearchParams;
  readonly blobs: Blobs;
  readonly mirrors: Mirrors;
  readonly log: Log;
  /** Whether a repository name may be used here; each name of a request is asked for. */
  readonly isRepositoryAllowed: (name: string) => boolean;
}

/** Codes of ours that the distribution-spec names otherwise ("Error Codes"). */
const OCI_CODES: Readonly<Record<string, string>> = {
  RANGE_INVALID: 'BLOB_UPLOAD_INVALID',
  INPUT_TOO_LARGE: 'MANIFEST_INVALID',
  // Clients do not try again what is denied.
  QUOTA_EXCEEDED: 'DENIED',
  INTERNAL: 'UNKNOWN',
};

/** Sends a status with headers and, unless the request is HEAD, a body. */
export function sendAnswer({ request, response }: Exchange, status: number, { headers = {}, body }: Answer = {}): void {
  const bytes = body === undefined ? undefined : Buffer.from(body);
  response.writeHead(status, { ...headers, 'content-length': headers['content-length'] ?? bytes?.length ?? 0 });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

interface Answer {
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly body?: string | Uint8Array;
}

/** Sends JSON, as `application/json` unless told otherwise. */
export function sendJson(exchange: Exchange, value: unknown, headers: Readonly<Record<string, string>> = {}): void {
  sendAnswer(exchange, 200, { headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(value) });
}

/** Sends a failure as the error list of the distribution-spec, with the failure's own status. */
export function sendError(exchange: Exchange, error: WherryError): void {
  const code = OCI_CODES[error.code] ?? error.code;
  const message = error.hint ? `${error.message}; ${error.hint}` : error.message;
  const body = JSON.stringify({ errors: [{ code, message, detail: error.detail ?? null }] });
  sendAnswer(exchange, error.status, { headers: { 'content-type': 'application/json' }, body });
}

/** UNSUPPORTED for a method that a path does not take. */
export function refuseMethod({ method, request }: Exchange): WherryError {
  return new WherryError('UNSUPPORTED', `method '${method}' is not supported on '${request.url?.split('?')[0] ?? ''}'`);
}

/** The request's body; unlike plain iteration, a failure here leaves the connection open for the answer. */
export function bodyOf({ request }: Exchange): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => request.iterator({ destroyOnReturn: false }) };
}

/** Throws NAME_INVALID when a name is none, or is not allowed on this server. */
export function checkRepository({ isRepositoryAllowed }: Exchange, repository: string): void {
  if (!isRepository(repository)) throw new WherryError('NAME_INVALID', `not a repository name: '${repository}'`);
  if (isRepositoryAllowed(repository)) return;
  throw new WherryError('NAME_INVALID', `repository name '${repository}' is reserved on this server`, { hint: 'choose another name' });
}
