import { setTimeout as delay } from 'node:timers/promises';
import { WherryError } from '../base/errors.js';
import { type BlobSize, type ClientContext, hasBlob, nameOf, pullScope, pushScope } from './client-context.js';
import { TRIES } from './connections.js';
import { backOffMs, retryAfterOf } from './refusal.js';
import type { Sent } from './transport.js';

export interface PushedBlob {
  readonly repository: string;
  readonly blob: BlobSize;
  /** All bytes from the first on; called again after a break. */
  readonly open: () => AsyncIterable<Uint8Array>;
  /** A repository of the same registry that may have the blob. */
  readonly mountFrom: string | undefined;
  /** Told of what goes out in parts of its own. */
  readonly onSent: (bytes: number) => void;
}

/** An upload that a registry has begun. */
interface Session {
  /** Where the next request of it goes; each answer may name another place. */
  readonly location: string;
  /** Bytes that the registry has. */
  readonly offset: number;
}

/** Up to this size an upload that broke is sent again: to ask how far it came costs as much. */
const WHOLE_BYTES = 1024 * 1024;

/**
 * Uploads a blob (distribution-spec, "Pushing blobs") unless the registry can mount it. An upload that broke goes on behind the last byte
 * that the registry has, and tries count from there; where it cannot say, a new session begins. True when bytes were sent. Throws what
 * the transport throws, and INPUT_TOO_LARGE.
 */
export async function pushBlob(context: ClientContext, push: PushedBlob): Promise<boolean> {
  let session = await startMounting(context, push);
  if (session === undefined) return false;
  for (let broken = 1; ; broken += 1) {
    try {
      await sendRest(context, push, session);
      return true;
    } catch (thrown) {
      if (!(thrown instanceof WherryError) || !thrown.isRetryable || broken >= TRIES) throw thrown;
      context.log.debug({ registry: context.registry, digest: push.blob.digest, broken, cause: thrown }, 'an upload broke; going on');
      await delay(retryAfterOf(thrown) ?? backOffMs(broken, context.retryDelayMs), undefined, { signal: context.signal });
    }
    const known: Session | undefined = push.blob.size > WHOLE_BYTES ? await askSession(context, push, session) : undefined;
    if (known && known.offset > session.offset) broken = 0;
    // The answer to the last request may have been lost after the registry had all of it.
    if (!known && (await hasBlob(context, push.repository, push.blob))) return true;
    session = known ?? (await startSession(context, push));
    if (session === undefined) return true;
  }
}

/** A mount is a favour: whoever may not read the other repository sends the bytes. */
async function startMounting(context: ClientContext, push: PushedBlob): Promise<Session | undefined> {
  try {
    return await startSession(context, push);
  } catch (thrown) {
    const isRefused = thrown instanceof WherryError && ['DENIED', 'UNAUTHORIZED'].includes(thrown.code);
    if (!isRefused || push.mountFrom === undefined) throw thrown;
    return startSession(context, { ...push, mountFrom: undefined });
  }
}

/** A new session, or undefined when the registry mounted the blob instead. */
async function startSession(context: ClientContext, { repository, blob, mountFrom }: PushedBlob): Promise<Session | undefined> {
  const isMount = mountFrom !== undefined;
  const query = isMount ? `?mount=${blob.digest}&from=${nameOf(context, mountFrom)}` : '';
  const answer = await context.transport.ask({
    method: 'POST',
    path: `${context.pathOf(repository)}/blobs/uploads/${query}`,
    scopes: [pushScope(context, repository), ...(isMount ? [pullScope(context, mountFrom)] : [])],
    headers: { 'content-length': '0' },
    accept: [201, 202],
  });
  if (answer.statusCode === 201) return undefined;
  const location = locationOf(answer);
  if (location !== undefined) return { location, offset: 0 };
  throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${context.registry}' gave no address for an upload`, {
    hint: 'check that the address is that of a registry that takes pushes',
  });
}

/** Small blobs travel with the request that ends the session; of large ones the registry keeps what arrived before a break. */
async function sendRest(context: ClientContext, push: PushedBlob, session: Session): Promise<void> {
  const { blob, open, onSent } = push;
  if (blob.size <= WHOLE_BYTES) return finish(context, push, { location: session.location, body: open, size: blob.size });
  let { location } = session;
  const { offset } = session;
  if (offset < blob.size) {
    const answer = await context.transport.ask({
      method: 'PATCH',
      path: location,
      scopes: [pushScope(context, push.repository)],
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(blob.size - offset),
        // Some registries refuse it on a first part.
        ...(offset > 0 && { 'content-range': `${offset}-${blob.size - 1}` }),
      },
      body: () => tell(skip(open(), offset), onSent),
      accept: [202],
      tries: 1,
    });
    location = locationOf(answer) ?? location;
  }
  await finish(context, push, { location, size: 0 });
}

interface LastPart {
  readonly location: string;
  readonly body?: () => AsyncIterable<Uint8Array>;
  readonly size: number;
}

async function finish(context: ClientContext, { repository, blob }: PushedBlob, { location, body, size }: LastPart): Promise<void> {
  await context.transport.ask({
    method: 'PUT',
    path: `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(blob.digest)}`,
    scopes: [pushScope(context, repository)],
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(size) },
    ...(body && { body }),
    accept: [201],
    tries: 1,
  });
}

/** How far a session came; undefined when it is gone, or the registry does not tell. */
async function askSession(context: ClientContext, { repository, blob }: PushedBlob, { location }: Session): Promise<Session | undefined> {
  const scopes = [pushScope(context, repository)];
  const answer = await context.transport.ask({ method: 'GET', path: location, scopes, accept: [204, 400, 404, 405, 416, 501] });
  if (answer.statusCode !== 204) return undefined;
  const [, last] = /^(?:bytes=)?0-(\d+)$/.exec(String(answer.headers['range'] ?? '')) ?? [];
  // `0-0` is what registries say of an empty session; one that has a single byte is treated alike, and refuses the next part.
  const offset = last === undefined || last === '0' ? 0 : Number(last) + 1;
  return offset > blob.size ? undefined : { location: locationOf(answer) ?? location, offset };
}

function locationOf({ headers: { location }, answeredAt }: Pick<Sent, 'headers' | 'answeredAt'>): string | undefined {
  return typeof location === 'string' && URL.canParse(location, answeredAt.href) ? new URL(location, answeredAt).href : undefined;
}

async function* skip(source: AsyncIterable<Uint8Array>, bytes: number): AsyncIterable<Uint8Array> {
  let left = bytes;
  for await (const part of source) {
    if (left < part.length) yield part.subarray(left);
    left = Math.max(0, left - part.length);
  }
}

async function* tell(source: AsyncIterable<Uint8Array>, onSent: (bytes: number) => void): AsyncIterable<Uint8Array> {
  for await (const part of source) {
    onSent(part.length);
    yield part;
  }
}
