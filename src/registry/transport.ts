import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { withTimeLimit } from '../base/time-limit.js';
import { type AuthorizerOptions, createAuthorizer, isLoopback, type TokenRequest } from './auth.js';
import {
  type Connections,
  MAX_REDIRECTS,
  type Network,
  openConnections,
  type Patience,
  REDIRECTS,
  TRIES,
  targetOf,
} from './connections.js';
import {
  type Answer,
  abandon,
  backOffMs,
  isPassing,
  readLimited,
  readText,
  refusal,
  refused,
  retryAfterOf,
  unreachable,
  within,
} from './refusal.js';

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

/** An answer with its whole body. */
export interface Received extends Pick<Answer, 'statusCode' | 'headers'> {
  readonly bytes: Buffer;
}

/** An answer whose body is to be read, and who gave it after redirects. */
export type Sent = Answer & { readonly answeredAt: URL };

export interface Transport {
  /** Sends with authorization, redirects and retries. Throws UNAUTHORIZED, DENIED, NAME_UNKNOWN, INPUT_TOO_LARGE, TOOMANYREQUESTS, REGISTRY_UNAVAILABLE. */
  send(call: Call): Promise<Sent>;
  /** As `send`, for a caller that wants no body. */
  ask(call: Call): Promise<Omit<Sent, 'body'>>;
  /** As `send`, and reads the body; one that breaks is asked for again. Throws SIZE_INVALID above the limit. */
  receive(call: Call, limitBytes: number): Promise<Received>;
  close(): Promise<void>;
}

export interface TransportOptions {
  readonly origin: URL;
  readonly credentials: AuthorizerOptions['credentials'];
  readonly log: Log;
  readonly network: Network;
  readonly patience: Patience;
  /** First pause before trying again, in milliseconds; each further one is twice as long. */
  readonly retryDelayMs: number;
  /** Ends what is asked, and what is read of an answer, with its reason. */
  readonly signal: AbortSignal | undefined;
}

interface Found {
  readonly answer: Sent;
  /** Whether every address on the way was the registry's own. */
  readonly isHome: boolean;
}

/** HTTP towards one registry. */
export function openTransport(options: TransportOptions): Transport {
  const { origin, credentials, log, network, patience, retryDelayMs, signal } = options;
  const connections = openConnections(network, patience);
  const wholeMs = 2 * patience.readMs;
  const fetchToken = (call: TokenRequest) =>
    withTimeLimit({ limitMs: wholeMs, signal }, (until) => requestToken(connections, call, { readMs: patience.readMs, signal: until }));
  const authorizer = createAuthorizer({ origin, credentials, fetchToken });
  const registry = `registry '${origin.host}'`;
  const drop = async (answer: Answer) => void (await within(answer, wholeMs).body.dump());

  /**
   * One try: redirects are followed. Credentials stay with the registry's own origin, and whoever was sent elsewhere comes back
   * without them: what another host asks for is not asked for with our rights.
   */
  async function sendOnce(call: Call, authorization: string | undefined, until: AbortSignal | undefined): Promise<Found> {
    let url = resolveAddress(call.path, origin);
    let isHome = url.origin === origin.origin;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
      const body = call.body && Readable.from(call.body(), { objectMode: false });
      const answer = await connections.dispatcherFor(url).request({
        ...targetOf(url),
        method: call.method,
        headers: { 'user-agent': 'wherry', ...call.headers, ...(isHome && authorization && { authorization }) },
        headersTimeout: ['GET', 'HEAD'].includes(call.method) ? patience.readMs : patience.writeMs,
        bodyTimeout: patience.readMs,
        // The client would give up the connection after each HEAD, and half of a push is questions whether a blob is there.
        reset: false,
        ...(until && { signal: until }),
        ...(body && { body }),
      });
      const location = answer.headers['location'];
      if (!REDIRECTS.includes(answer.statusCode) || typeof location !== 'string')
        return { answer: Object.assign(answer, { answeredAt: url }), isHome };
      await drop(answer);
      url = resolveAddress(location, url);
      isHome &&= url.origin === origin.origin;
    }
    throw new WherryError('REGISTRY_UNAVAILABLE', `${registry} redirects in a circle`);
  }

  async function sendAuthorized(call: Call, until: AbortSignal | undefined): Promise<Found> {
    const sent = authorizer.known(call.scopes);
    const found = await sendOnce(call, sent, until);
    const challenge = found.answer.headers['www-authenticate'];
    // Another host may not say which token service gets our credentials.
    if (found.answer.statusCode !== 401 || challenge === undefined || !found.isHome) return found;
    const header = await authorizer
      .answer(Array.isArray(challenge) ? challenge.join(', ') : challenge, call.scopes, sent)
      .catch((thrown: unknown) => {
        // Its connection would be held until nobody can want the body any more.
        abandon(found.answer);
        throw thrown;
      });
    if (header === undefined) return found;
    await drop(found.answer);
    return sendOnce(call, header, until);
  }

  async function insist<T>(call: Call, take: (answer: Sent) => Promise<T>, limitMs?: number): Promise<T> {
    const { method, path, tries = TRIES } = call;
    const what = `${method} ${shownPath(path, origin)}`;
    const attempt = async (until: AbortSignal | undefined): Promise<T> => {
      const { answer } = await sendAuthorized(call, until);
      if (call.accept.includes(answer.statusCode)) return await take(answer);
      throw await refusal(within(answer, wholeMs), { host: origin.host, answeredBy: answer.answeredAt.host, method, what });
    };
    for (let tried = 1; ; tried += 1) {
      try {
        return await (limitMs === undefined ? attempt(signal) : withTimeLimit({ limitMs, signal }, attempt));
      } catch (thrown) {
        signal?.throwIfAborted();
        const failure = thrown instanceof WherryError ? thrown : unreachable(registry, what, thrown);
        if (tried >= tries || !isPassing(failure)) throw failure;
        log.debug({ registry: origin.host, tried, cause: failure }, 'a registry did not answer as it should; trying again');
        await delay(retryAfterOf(failure) ?? backOffMs(tried, retryDelayMs), undefined, { signal });
      }
    }
  }

  return {
    send: (call) => insist(call, async (answer) => answer),
    ask: (call) =>
      insist(call, async (answer) => {
        await drop(answer);
        return answer;
      }),
    receive: (call, limitBytes) =>
      // A body that trickles is silent at no time, so it has its time as a whole.
      insist(call, (answer) => readWhole(answer, limitBytes, `${registry}, asked for '${shownPath(call.path, origin)}',`), wholeMs),
    close: () => (signal?.aborted ? connections.destroy() : connections.close()),
  };
}

async function readWhole(answer: Answer, limitBytes: number, who: string): Promise<Received> {
  const { statusCode, headers } = answer;
  return { statusCode, headers, bytes: await readLimited(answer, limitBytes, who) };
}

/** For messages: the registry's own addresses by their path, and none with its query, which may hold a signature. */
function shownPath(path: string, origin: URL): string {
  const bare = path.split('?')[0] ?? '';
  return bare.startsWith(`${origin.origin}/`) ? bare.slice(origin.origin.length) : bare;
}

/** An address that a registry gave. One behind a proxy that ends TLS may think that it is reached in the clear: its own host stays on https. */
function resolveAddress(text: string, from: URL): URL {
  if (!URL.canParse(text, from.href)) {
    throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${from.host}' sends to '${text.split('?')[0]}', which is no address`);
  }
  const to = new URL(text, from);
  if (from.protocol === 'https:' && to.protocol === 'http:' && to.host === from.host) to.protocol = 'https:';
  const isDowngrade = from.protocol === 'https:' && to.protocol !== 'https:' && !isLoopback(to.hostname);
  if (!isDowngrade && (to.protocol === 'https:' || to.protocol === 'http:')) return to;
  throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${from.host}' sends to '${to.origin}', which is not safe`);
}

/** One try; what may pass is for the caller to try again. */
async function requestToken(
  connections: Connections,
  { method, url, headers, body }: TokenRequest,
  { readMs, signal }: { readonly readMs: number; readonly signal: AbortSignal },
): Promise<unknown> {
  const service = `the token service '${url.origin}${url.pathname}'`;
  try {
    const answer = await connections.dispatcherFor(url).request({
      ...targetOf(url),
      method,
      headers,
      headersTimeout: readMs,
      bodyTimeout: readMs,
      signal,
      ...(body !== undefined && { body }),
    });
    const text = await readText(answer);
    if (answer.statusCode === 200) return parseAnswer(text, service);
    const what = `${service} answered ${answer.statusCode}`;
    if (answer.statusCode === 429 || answer.statusCode >= 500) throw refused(answer, what);
    throw new WherryError('UNAUTHORIZED', what, { hint: 'check the credentials for this registry' });
  } catch (thrown) {
    throw thrown instanceof WherryError ? thrown : unreachable(service, 'a token', thrown);
  }
}

function parseAnswer(text: string, service: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new WherryError('REGISTRY_UNAVAILABLE', `${service} did not answer with JSON`);
  }
}
