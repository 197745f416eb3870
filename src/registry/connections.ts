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
}

export const DIRECT: Network = { proxies: { http: undefined, https: undefined }, noProxy: '', authorities: [] };

const TIMEOUTS = { headersTimeout: 60_000, bodyTimeout: 60_000 };
const CONNECT_TIMEOUT_MS = 10_000;

/** Connections through a network; none is made yet. */
export function openConnections({ proxies, noProxy, authorities }: Network): Connections {
  const tls = { timeout: CONNECT_TIMEOUT_MS, ...(authorities.length > 0 && { ca: [...rootCertificates, ...authorities] }) };
  const direct = new Agent({ ...TIMEOUTS, connect: tls });
  // The same proxy for both schemes: the choice is made here, since the agent would take the one for http when there is none for https.
  const through = (proxy: string | undefined): Dispatcher =>
    proxy === undefined
      ? direct
      : new EnvHttpProxyAgent({
          ...TIMEOUTS,
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
  return {
    dispatcherFor({ protocol, hostname }) {
      if (isLoopback(hostname)) return direct;
      return protocol === 'https:' ? https : http;
    },
    close: async () => void (await Promise.all([...new Set([direct, http, https])].map((each) => each.close()))),
  };
}
