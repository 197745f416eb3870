import { lookup as resolve } from 'node:dns/promises';
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as secure } from 'node:tls';
import { messageOf, systemCodeOf } from '../base/errors.js';
import { hostOf, type WebhookTargets } from './webhook-target.js';

export interface WebhookRequest {
  readonly url: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What came of it: a status with no reason only for 200 (job-api §5). */
export interface WebhookAnswer {
  readonly status: number | null;
  readonly reason: string | null;
}

/**
 * Posts once. The name is resolved here and only fit addresses are tried; the peer of the connected socket is looked at
 * again before a byte of the request is written. Redirects are not followed, the answer's body is not read. Never rejects.
 */
export async function postWebhook(
  sent: WebhookRequest,
  targets: WebhookTargets,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<WebhookAnswer> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const { status, location } = await exchange(sent, targets, AbortSignal.any([timeout, signal]));
    if (status === 200) return { status, reason: null };
    const isRedirect = status >= 300 && status < 400 && location !== undefined;
    return { status, reason: `the receiver answered ${status}${isRedirect ? '; redirects are not followed' : ''}` };
  } catch (thrown) {
    if (timeout.aborted) return { status: null, reason: `the receiver did not answer within ${timeoutMs} ms` };
    return { status: null, reason: `the receiver was not reached: ${messageOf(thrown) || systemCodeOf(thrown)}` };
  }
}

type Headed = { readonly status: number; readonly location: string | undefined };

async function exchange(sent: WebhookRequest, targets: WebhookTargets, signal: AbortSignal): Promise<Headed> {
  const refused = targets.refuseUrl(sent.url);
  if (refused) throw new Error(`the URL ${refused}`);
  const url = new URL(sent.url);
  const socket = await openSocket(url, targets, signal);
  try {
    const posting = post(url, sent, { socket, signal });
    const answered = once(posting, 'response', { signal }) as Promise<[IncomingMessage]>;
    posting.end(sent.body);
    const [answer] = await answered;
    return { status: answer.statusCode ?? 0, location: answer.headers.location };
  } finally {
    socket.destroy();
  }
}

function post(
  url: URL,
  { headers, body }: WebhookRequest,
  { socket, signal }: { readonly socket: Socket; readonly signal: AbortSignal },
): ClientRequest {
  const posting = request({
    createConnection: () => socket,
    method: 'POST',
    path: `${url.pathname}${url.search}`,
    setHost: false,
    signal,
    headers: {
      host: url.host,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      connection: 'close',
      ...headers,
    },
  });
  // After the answer the socket is cut off, also while a large body is still on its way.
  posting.on('error', () => {});
  return posting;
}

/** A socket to a fit peer, with TLS for https; nothing of the request is written yet. */
async function openSocket(url: URL, targets: WebhookTargets, signal: AbortSignal): Promise<Socket> {
  const host = hostOf(url);
  const isSecure = url.protocol === 'https:';
  const port = Number(url.port || (isSecure ? 443 : 80));
  const socket = connect({ host, port, lookup: createLookup(targets) });
  // Whoever waits hears of an error; one that comes when nobody does is of no interest.
  socket.on('error', () => {});
  const abort = () => socket.destroy(new Error('the attempt was given up'));
  signal.addEventListener('abort', abort, { once: true });
  try {
    await once(socket, 'connect', { signal });
    const refused = targets.refuseAddress(socket.remoteAddress ?? '', host);
    if (refused) throw new Error(refused);
    if (!isSecure) return socket;
    // `host` is what the certificate is checked for; without it an address would be taken for `localhost`.
    const tls = secure({ socket, host, ...(isIP(host) === 0 && { servername: host }), ALPNProtocols: ['http/1.1'] });
    tls.on('error', () => {});
    tls.once('close', () => socket.destroy());
    await once(tls, 'secureConnect', { signal });
    return tls;
  } catch (thrown) {
    socket.destroy();
    throw thrown;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Resolves as the system does and leaves out what is not fit; an error when nothing is left. */
function createLookup(targets: WebhookTargets): LookupFunction {
  return (host, options, callback) => {
    resolve(host, { all: true })
      .then((found) => {
        const fit = found.filter(({ address }) => targets.refuseAddress(address, host) === undefined);
        const [first] = fit;
        if (!first) throw new Error(targets.refuseAddress(found[0]?.address ?? '', host) ?? `${host} has no address`);
        if (options.all) callback(null, fit);
        else callback(null, first.address, first.family);
      })
      .catch((thrown: Error) => callback(thrown, ''));
  };
}
