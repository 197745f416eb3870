import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { isLoopback } from './auth.js';

/** What lies between this machine and registries. */
export interface Network {
  /** Addresses of proxies, by the scheme of what is asked for; undefined for none. */
  readonly proxies: { readonly http: string | undefined; readonly https: string | undefined };
  /** Hosts that are reached without a proxy, as NO_PROXY lists them. This machine's own addresses always are. */
  readonly noProxy: string;
  /** PEM of certificate authorities that are trusted beside the public ones. */
  readonly authorities: readonly string[];
}

/** Connections of one client, which keeps them open between requests. */
export interface Connections {
  dispatcherFor(url: URL): Dispatcher;
  close(): Promise<void>;
  /** Waits for no request. */
  destroy(): Promise<void>;
}

export const DIRECT: Network = { proxies: { http: undefined, https: undefined }, noProxy: '', authorities: [] };

/** How long a registry may keep us waiting, in milliseconds. */
export interface Patience {
  /** Until a connection stands. */
  readonly connectMs: number;
  /** For the head of the answer to a question, and for each further part of a body. */
  readonly readMs: number;
  /** For the answer to bytes that were sent, which a registry may have to store first, and until it takes more of them. */
  readonly writeMs: number;
}

/** Five questions that nobody answers take less than the five minutes that clients wait for a deploy. */
export const PATIENCE: Patience = { connectMs: 10_000, readMs: 30_000, writeMs: 60_000 };

/** How often something is tried in all. */
export const TRIES = 5;
/** Statuses that send elsewhere (RFC 9110 §15.4), and how often that is followed. */
export const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
export const MAX_REDIRECTS = 5;

/** Connections through a network; none is made yet. */
export function openConnections({ proxies, noProxy, authorities }: Network, { connectMs }: Patience): Connections {
  const tls = { timeout: connectMs, ...(authorities.length > 0 && { ca: [...rootCertificates, ...authorities] }) };
  const direct = new Agent({ connect: tls });
  // The same proxy for both schemes: the choice is made here, since the agent would take the one for http when there is none for https.
  const through = (proxy: string | undefined): Dispatcher =>
    proxy === undefined
      ? direct
      : new EnvHttpProxyAgent({
          httpProxy: proxy,
          httpsProxy: proxy,
          noProxy,
          connect: tls,
          requestTls: tls,
          proxyTls: tls,
          proxyTunnel: false,
        });
  const http = through(proxies.http);
  const https = through(proxies.https);
  const all = [...new Set([direct, http, https])];
  return {
    dispatcherFor({ protocol, hostname }) {
      if (isLoopback(hostname)) return direct;
      return protocol === 'https:' ? https : http;
    },
    close: async () => void (await Promise.all(all.map((each) => each.close()))),
    destroy: async () => void (await Promise.all(all.map((each) => each.destroy()))),
  };
}

/** A URL as a dispatcher takes it. */
export function targetOf({ origin, pathname, search }: URL): { readonly origin: string; readonly path: string } {
  return { origin, path: `${pathname}${search}` };
}
