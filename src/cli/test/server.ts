import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ApiClient, createApiClient } from '../../api/client.js';
import { parseError } from '../../api/envelope.js';
import { createGraphqlClient, type Graphql } from '../../api/graphql.js';
import { messageOf, systemCodeOf, WherryError } from '../../base/errors.js';
import { withTimeLimit } from '../../base/time-limit.js';
import { composeServer } from '../../compose.js';
import { type Context, textOf } from '../command.js';
import type { Embedded } from '../project-push.js';

/** The server that runs tests. */
export interface TestServer extends Embedded {
  /** `own` lives as long as the tests; `known` is a wherry that was there before; `foreign` has RunPod's APIs only. */
  readonly kind: 'own' | 'known' | 'foreign';
  readonly client: ApiClient;
  readonly graphql: Graphql;
  close(): Promise<void>;
}

/**
 * A server of its own that lives as long as the tests, below the data directory: it needs no account, and what a run that was killed left is
 * ended first. Throws what the server throws.
 */
export async function openOwnServer(context: Context): Promise<TestServer> {
  await endLeftovers(context);
  const place = join(await placeOfServers(context), String(process.pid));
  const server = await composeServer({ dataDir: place, environment: context.environment, port: 0 });
  const close = async (): Promise<void> => {
    await server.stop({ stopWorkers: true });
    await removePlace(place);
  };
  try {
    const { url, keyFile } = await server.start();
    const key = (await readFile(keyFile, 'utf8')).trim();
    return { ...clientsOf({ url, key }), kind: 'own', close };
  } catch (thrown) {
    await close().catch(() => {});
    throw thrown;
  }
}

const placeOfServers = async (context: Context): Promise<string> => join((await context.settings()).dataDir, 'test');

/** Takes up each server whose process is gone, and ends its workers with it. */
export async function endLeftovers(context: Context): Promise<void> {
  const { environment, output } = context;
  const base = await placeOfServers(context);
  const names = await readdir(base).catch(() => []);
  for (const name of names.filter((pid) => !isAlive(Number(pid)))) {
    output.talk('  ending what a run that was killed left');
    const place = join(base, name);
    try {
      const server = await composeServer({ dataDir: place, environment, port: 0 });
      await server.start().finally(() => server.stop({ stopWorkers: true }));
      await removePlace(place);
    } catch (thrown) {
      // Another run is at it.
      if (!(thrown instanceof WherryError && thrown.code === 'DATA_LOCKED'))
        output.warn(`what an earlier run left in '${place}' could not be ended: ${messageOf(thrown)}`);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (thrown) {
    return systemCodeOf(thrown) === 'EPERM';
  }
}

/** A worker that just ended may still write. */
const removePlace = (place: string): Promise<void> => rm(place, { recursive: true, force: true, maxRetries: 5 });

/** The server of the settings, whosever it is. Throws SERVER_UNAVAILABLE, UNAUTHORIZED. */
export async function openKnownServer(context: Context): Promise<TestServer> {
  const { apiUrl: url, apiKey: key } = await context.settings();
  if (url === undefined || key === undefined)
    throw new WherryError('SERVER_UNAVAILABLE', 'no server is known to test on', {
      hint: 'start one with `wherry serve`, or name another with --api-url and its key with WHERRY_API_KEY',
    });
  const isKnown = await withTimeLimit({ limitMs: ASK_MS, signal: context.signal }, (signal) => isOurs({ url, key }, signal));
  const kind = isKnown ? 'known' : 'foreign';
  return { ...clientsOf({ url, key, graphqlUrl: textOf(context.options, 'graphqlUrl') }), kind, close: async () => {} };
}

const ASK_MS = 30_000;

/** Only a wherry has a status; whoever refuses it in our own words is one, too. */
async function isOurs({ url, key }: Embedded, signal: AbortSignal): Promise<boolean> {
  const headers = { authorization: `Bearer ${key}` };
  const answer = await fetch(`${url}/api/v1/status`, { headers, signal }).catch((cause: unknown) => {
    throw new WherryError('SERVER_UNAVAILABLE', `no server answers at ${url}: ${messageOf((cause as Error).cause ?? cause)}`, {
      hint: 'check --api-url, or start one with `wherry serve`',
      cause,
    });
  });
  const value: unknown = await answer.json().catch(() => undefined);
  if (typeof value !== 'object' || value === null) return false;
  if (answer.ok) return 'version' in value && 'endpoints' in value;
  const { error } = value as { readonly error?: { readonly code?: unknown; readonly requestId?: unknown } };
  const isOurWord = typeof error === 'object' && error?.requestId !== undefined;
  if (isOurWord && error?.code === 'UNAUTHORIZED') throw parseError(answer.status, value);
  return isOurWord;
}

/** Whose GraphQL has a host of its own. */
const GRAPHQL_URLS: Readonly<Record<string, string>> = { 'api.runpod.ai': 'https://api.runpod.io/graphql' };

function clientsOf({ url, key, graphqlUrl }: { readonly url: string; readonly key: string; readonly graphqlUrl?: string | undefined }) {
  const graphql = createGraphqlClient({ url: graphqlUrl ?? GRAPHQL_URLS[new URL(url).host] ?? `${url}/graphql`, key });
  return { url, key, client: createApiClient({ url, key }), graphql };
}
