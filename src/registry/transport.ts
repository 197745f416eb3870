import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { type Dispatcher, request } from 'undici';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { type AuthorizerOptions, createAuthorizer, isLoopback, type TokenRequest } from './auth.js';
import { type Connections, type Network, openConnections } from './connections.js';

/** One request to the registry; `path` is absolute, or a whole address that the registry gave. */
export interface Call {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT';
  readonly path: string;
  readonly scopes: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Opened anew for each try. */
  readonly body?: () => AsyncIterable<Uint8Array>;
  /** Statuses that the caller understands; others throw. */
  readonly accept: readonly number[];
  /** How often it is tried in all; {@link TRIES} by default. */
  readonly tries?: number;
}

export type Answer = Dispatcher.ResponseData;

export interface Transport {
  /** Sends with authorization, redirects and retries. Throws UNAUTHORIZED, DENIED, TOOMANYREQUESTS, REGISTRY_UNAVAILABLE. */
  send(call: Call): Promise<Answer>;
  close(): Promise<void>;
}

export interface TransportOptions {
  readonly origin: URL;
  readonly credentials: AuthorizerOptions['credentials'];
  readonly log: Log;
  readonly network: Network;
  /** First pause before trying again, in milliseconds; each further one is twice as long. */
  readonly retryDelayMs: number;
}

/** How often something is tried in all. */
export const TRIES = 5;
const MAX_REDIRECTS = 5;
const MAX_PAUSE_MS = 60_000;
const ANSWER_LIMIT_BYTES = 1024 * 1024;
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
const TRANSIENT: readonly number[] = [429, 500, 502, 503, 504];

/** HTTP towards one registry. */
export function openTransport({ origin, credentials, log, network, retryDelayMs }: TransportOptions): Transport {
  const connections = openConnections(network);
  const fetchToken = (call: TokenRequest) => requestToken(connections, call);
  const authorizer = createAuthorizer({ origin, credentials, fetchToken });

  /** One try: redirects are followed; the Authorization header stays with the registry's own origin. */
  async function sendOnce(call: Call, authorization: string | undefined): Promise<Answer> {
    let url = checkedRedirect(new URL(call.path, origin), origin);
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
      const isHome = url.origin === origin.origin;
      const headers = { 'user-agent': 'wherry', ...call.headers, ...(isHome && authorization && { authorization }) };
      const body = call.body && Readable.from(call.body(), { objectMode: false });
      const answer = await request(url, {
        dispatcher: connections.dispatcherFor(url),
        method: call.method,
        headers,
        ...(body && { body }),
      });
      const location = answer.headers['location'];
      if (!REDIRECTS.includes(answer.statusCode) || typeof location !== 'string') return answer;
      await answer.body.dump();
      url = checkedRedirect(new URL(location, url), url);
    }
    throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${origin.host}' redirects in a circle`);
  }

  async function sendAuthorized(call: Call): Promise<Answer> {
    const sent = authorizer.known(call.scopes);
    const answer = await sendOnce(call, sent);
    const challenge = answer.headers['www-authenticate'];
    if (answer.statusCode !== 401 || challenge === undefined) return answer;
    const header = await authorizer.answer(Array.isArray(challenge) ? challenge.join(', ') : challenge, call.scopes, sent);
    if (header === undefined) return answer;
    await answer.body.dump();
    return sendOnce(call, header);
  }

  async function send(call: Call): Promise<Answer> {
    const tries = call.tries ?? TRIES;
    for (let tried = 1; ; tried += 1) {
      let pauseMs = backOffMs(tried, retryDelayMs);
      try {
        const answer = await sendAuthorized(call);
        if (call.accept.includes(answer.statusCode)) return answer;
        if (!TRANSIENT.includes(answer.statusCode) || tried === tries) throw await refusal(answer, call, origin.host);
        pauseMs = retryAfterMs(answer) ?? pauseMs;
        await answer.body.dump();
      } catch (thrown) {
        if (thrown instanceof WherryError) throw thrown;
        if (tried === tries || isDistrust(thrown)) throw unreachable(origin.host, thrown);
        log.debug({ registry: origin.host, tried, cause: thrown }, 'a registry did not answer; trying again');
      }
      await delay(pauseMs);
    }
  }

  return { send, close: () => connections.close() };
}

/** The pause after the `tried`-th try: doubling, with up to half of it left to chance so that clients spread. */
export function backOffMs(tried: number, firstMs: number): number {
  return Math.min(MAX_PAUSE_MS, firstMs * 2 ** (tried - 1)) * (0.5 + Math.random() / 2);
}

/** REGISTRY_UNAVAILABLE for a connection that failed. */
export function unreachable(host: string, cause: unknown): WherryError {
  return new WherryError('REGISTRY_UNAVAILABLE', `registry '${host}' cannot be reached: ${messageOf(cause)}`, {
    hint: isDistrust(cause)
      ? 'name the file of its certificate authority in WHERRY_REGISTRY_CA'
      : "check the registry's name and that it is up; proxies are those of HTTPS_PROXY and NO_PROXY",
    cause,
  });
}

/** A certificate that is not trusted now will not be a second later. */
function isDistrust(thrown: unknown): boolean {
  return /CERT|VERIFY_LEAF/.test(systemCodeOf(thrown) ?? '');
}

/** An address that a registry gave. One behind a proxy that ends TLS may think that it is reached in the clear: its own host stays on https. */
function checkedRedirect(to: URL, from: URL): URL {
  if (from.protocol === 'https:' && to.protocol === 'http:' && to.host === from.host) to.protocol = 'https:';
  const isDowngrade = from.protocol === 'https:' && to.protocol !== 'https:' && !isLoopback(to.hostname);
  if (!isDowngrade && (to.protocol === 'https:' || to.protocol === 'http:')) return to;
  throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${from.host}' sends to '${to.origin}', which is not safe`);
}

/** Retry-After in seconds or as a date, which is measured against the answer's own date. */
function retryAfterMs({ headers }: Answer): number | undefined {
  const header = headers['retry-after'];
  if (typeof header !== 'string') return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.parse(String(headers['date']));
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_PAUSE_MS) : undefined;
}

async function requestToken(connections: Connections, { method, url, headers, body }: TokenRequest): Promise<unknown> {
  const place = `${url.origin}${url.pathname}`;
  try {
    const answer = await request(url, {
      dispatcher: connections.dispatcherFor(url),
      method,
      headers,
      ...(body !== undefined && { body }),
    });
    const text = await readText(answer);
    if (answer.statusCode === 200) return JSON.parse(text);
    const code = answer.statusCode >= 500 ? 'REGISTRY_UNAVAILABLE' : 'UNAUTHORIZED';
    throw new WherryError(code, `the token service '${place}' answered ${answer.statusCode}`, {
      hint: 'check the credentials for this registry',
    });
  } catch (thrown) {
    if (thrown instanceof WherryError) throw thrown;
    throw new WherryError('REGISTRY_UNAVAILABLE', `the token service '${place}' gave no usable answer: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
}

/** A status that the caller did not expect, with the registry's own words. */
async function refusal(answer: Answer, { method, path }: Call, host: string): Promise<WherryError> {
  const { statusCode: status } = answer;
  const words = wordsOf(await readText(answer).catch(() => ''));
  const what = `registry '${host}' refused ${method} ${path.split('?')[0]} with ${status}${words ? `: ${words}` : ''}`;
  if (status === 401)
    return new WherryError('UNAUTHORIZED', what, {
      hint: `log in with \`docker login ${host}\`; for deploys, store credentials with \`wherry credentials add ${host}\``,
    });
  if (status === 403) return new WherryError('DENIED', what, { hint: 'use credentials that may read or write this repository' });
  // Some registries keep their quotas and rules for tags behind it; no second try changes them.
  if (status === 412)
    return new WherryError('DENIED', what, { hint: 'it is a rule of the registry: free some of its quota, or change the rule' });
  if (status === 507) return new WherryError('INPUT_TOO_LARGE', what, { hint: 'free storage of the registry, or give it more' });
  if (status === 413)
    return new WherryError('INPUT_TOO_LARGE', what, {
      hint: 'raise the limit of the registry, or that of the proxy in front of it, for the size of a request',
    });
  const detail = { status, retryAfterMs: retryAfterMs(answer) };
  if (status === 429) return new WherryError('TOOMANYREQUESTS', what, { hint: 'log in for a higher limit, or try again later', detail });
  return new WherryError('REGISTRY_UNAVAILABLE', what, { detail });
}

/** How long the registry that refused asked to wait, in milliseconds. */
export function retryAfterOf({ detail }: WherryError): number | undefined {
  const { retryAfterMs: asked } = (detail ?? {}) as { readonly retryAfterMs?: number };
  return asked;
}

const WORDS_LENGTH = 300;

/** What the registry, or a proxy in front of it, said: the error list of the distribution-spec, the title of a page, or its text, in one line. */
function wordsOf(text: string): string {
  const [, title] = /<title>([^<]*)/i.exec(text) ?? [];
  const words = (ociMessage(text) ?? title ?? text.replace(/<[^>]*>/g, ' ')).replace(/[\s\p{Cc}]+/gu, ' ').trim();
  return words.length > WORDS_LENGTH ? `${words.slice(0, WORDS_LENGTH)}…` : words;
}

/** Undefined when the text is no such list. */
function ociMessage(text: string): string | undefined {
  try {
    const { errors } = JSON.parse(text) as { errors?: readonly { readonly code?: string; readonly message?: string }[] };
    return errors?.map(({ code, message }) => `${code ?? ''} ${message ?? ''}`.trim()).join('; ');
  } catch {
    return undefined;
  }
}

async function readText(answer: Answer): Promise<string> {
  return (await readLimited(answer, ANSWER_LIMIT_BYTES)).toString('utf8');
}

/** The whole body. Throws SIZE_INVALID above the limit. */
export async function readLimited({ body }: Answer, limitBytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += (part as Uint8Array).length;
    if (size > limitBytes) throw new WherryError('SIZE_INVALID', `the registry sent more than ${limitBytes} bytes`);
    parts.push(part as Uint8Array);
  }
  return Buffer.concat(parts);
}
