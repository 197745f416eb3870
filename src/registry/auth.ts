import { WherryError } from '../base/errors.js';
import type { Credentials } from './credentials.js';

/** One challenge of a WWW-Authenticate header; scheme and parameter names in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** A call to a token service. */
export interface TokenRequest {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Makes the Authorization headers of one client for one registry. */
export interface Authorizer {
  /** The header that is known to work for these scopes, if any. */
  known(scopes: readonly string[]): string | undefined;
  /** A new header that answers the 401 to a request that carried `sent`. Undefined when nothing more can be tried. Throws UNAUTHORIZED. */
  answer(wwwAuthenticate: string, scopes: readonly string[], sent: string | undefined): Promise<string | undefined>;
}

export interface AuthorizerOptions {
  /** Scheme and host of the registry. */
  readonly origin: URL;
  readonly credentials?: Credentials | undefined;
  /** Sends a token request and gives the parsed body of a 200. Throws UNAUTHORIZED, REGISTRY_UNAVAILABLE. */
  readonly fetchToken: (request: TokenRequest) => Promise<unknown>;
}

/** Parses WWW-Authenticate (RFC 9110 §11.6.1), which may hold several challenges. */
function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const parts = /([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/g;
  for (const [, name = '', quoted, plain] of header.matchAll(parts)) {
    const value = quoted?.replace(/\\(.)/g, '$1') ?? plain;
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), parameters: {} });
    else Object.assign(challenges.at(-1)?.parameters ?? {}, { [name.toLowerCase()]: value });
  }
  return challenges;
}

/**
 * The Basic scheme and the token flow of the distribution project. A token is kept by its scopes until the registry
 * refuses it. Credentials go to the registry's own host, and to the token service it names if that is safe to reach.
 */
export function createAuthorizer({ origin, credentials, fetchToken }: AuthorizerOptions): Authorizer {
  const tokens = new Map<string, string>();
  /** Fetched at the moment: requests that go out together ask for one token together. */
  const coming = new Map<string, Promise<string>>();
  const password = credentials && 'username' in credentials ? credentials : undefined;
  let isBasic = false;

  async function fetchHeader(bearer: Challenge, scopes: readonly string[]): Promise<string> {
    const request = tokenRequest(bearer, { scopes, credentials, origin });
    return `Bearer ${parseToken(await fetchToken(request), request.url)}`;
  }

  function share(key: string, fetchIt: () => Promise<string>): Promise<string> {
    const fetching = coming.get(key) ?? fetchIt().finally(() => coming.delete(key));
    coming.set(key, fetching);
    return fetching;
  }

  return {
    known: (scopes) => (isBasic && password ? basicHeader(password) : tokens.get(scopes.join(' '))),
    async answer(wwwAuthenticate, scopes, sent) {
      const challenges = parseChallenges(wwwAuthenticate);
      const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
      if (bearer) {
        const key = scopes.join(' ');
        // Another request got it meanwhile.
        const known = tokens.get(key);
        if (known !== undefined && known !== sent) return known;
        const header = await share(key, () => fetchHeader(bearer, scopes));
        tokens.set(key, header);
        return header;
      }
      const canTry = password && challenges.some(({ scheme }) => scheme === 'basic');
      if (!canTry || sent === basicHeader(password)) return undefined;
      isBasic = true;
      return basicHeader(password);
    },
  };
}

/** Whether a host name means this machine only. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}

interface TokenContext {
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  readonly origin: URL;
}

function tokenRequest({ parameters }: Challenge, { scopes, credentials, origin }: TokenContext): TokenRequest {
  const url = parseRealm(parameters['realm'], origin);
  const service = parameters['service'];
  const wanted = new Set([...scopes, ...(parameters['scope']?.split(' ') ?? [])].filter((scope) => scope !== ''));
  if (credentials && 'identityToken' in credentials) {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'wherry', refresh_token: credentials.identityToken });
    if (service !== undefined) form.set('service', service);
    form.set('scope', [...wanted].join(' '));
    return { method: 'POST', url, headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: form.toString() };
  }
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of wanted) url.searchParams.append('scope', scope);
  return { method: 'GET', url, headers: credentials ? { authorization: basicHeader(credentials) } : {} };
}

/** A token service is reached by https, on this machine, or on the host of a registry that is itself reached in the clear. */
function parseRealm(realm: string | undefined, origin: URL): URL {
  const url = realm !== undefined && URL.canParse(realm) ? new URL(realm) : undefined;
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && (isLoopback(url.hostname) || url.origin === origin.origin));
  if (url && isSafe) return url;
  throw new WherryError(
    'UNAUTHORIZED',
    `registry '${origin.host}' names a token service that is not safe to use: '${realm?.split('?')[0] ?? ''}'`,
    {
      hint: 'the registry must name an https address',
    },
  );
}

function parseToken(body: unknown, url: URL): string {
  const { token, access_token: accessToken } = (body ?? {}) as { readonly token?: unknown; readonly access_token?: unknown };
  const found = token ?? accessToken;
  if (typeof found === 'string' && found !== '') return found;
  throw new WherryError('UNAUTHORIZED', `the token service '${url.origin}${url.pathname}' gave no token`, {
    hint: 'ask who runs the registry: the service answered with something else',
  });
}

function basicHeader({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
