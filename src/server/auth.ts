import type { IncomingHttpHeaders } from 'node:http';
import type { Key } from '../domain/key.js';
import type { Keys } from './keys.js';

/** The credential of an `Authorization` header: the raw key, `Bearer KEY`, or the password of `Basic`. */
export function readCredential({ authorization }: IncomingHttpHeaders): string | undefined {
  if (!authorization) return undefined;
  const [scheme = '', value] = authorization.split(' ', 2);
  if (value === undefined) return scheme;
  if (/^bearer$/i.test(scheme)) return value;
  if (!/^basic$/i.test(scheme)) return undefined;
  const decoded = Buffer.from(value, 'base64').toString('utf8');
  return decoded.slice(decoded.indexOf(':') + 1);
}

/** The key of a request, or undefined. */
export async function authenticate(keys: Keys, headers: IncomingHttpHeaders): Promise<Key | undefined> {
  const credential = readCredential(headers);
  return credential === undefined ? undefined : keys.authenticate(credential);
}

/** May this key use the job routes of the endpoint? */
export function mayUse(key: Key, endpointId: string): boolean {
  return key.scope === 'admin' || key.endpointId === endpointId;
}

/** Job routes that change nothing. A read of a stream takes chunks from other readers. */
const READING: ReadonlySet<string> = new Set(['status', 'status-sync', 'health', 'metrics', 'requests']);

/** May this key ask this of any endpoint? A status with a `ttl` shortens how long the job is kept. */
export function mayRead({ scope }: Key, verb: string, query: URLSearchParams): boolean {
  return scope === 'read-only' && READING.has(verb) && !query.has('ttl');
}
