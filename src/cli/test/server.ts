import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ApiClient, createApiClient } from '../../api/client.js';
import { WherryError } from '../../base/errors.js';
import { type ComposedServer, composeServer } from '../../compose.js';
import type { Context } from '../command.js';
import type { Embedded } from '../project-push.js';

/** The server that runs tests. */
export interface TestServer extends Embedded {
  readonly client: ApiClient;
  close(): Promise<void>;
}

/**
 * A server of its own that lives as long as the tests, below the data directory: it needs no account, and what a crash left of an earlier one
 * is taken up and ended by the next. Two runs at the same time do not share one. Throws what the server throws.
 */
export async function openOwnServer(context: Context, dir: string): Promise<TestServer> {
  const { environment } = context;
  const { dataDir: base } = await context.settings();
  const name = createHash('sha256').update(dir).digest('hex').slice(0, 12);
  const dataDir = join(base, 'test', name);
  const { server, place } = await composeFree(dataDir, environment);
  const close = async (): Promise<void> => {
    await server.stop({ stopWorkers: true });
    // What it served is gone; only a server that nobody can take up again keeps its directory.
    await rm(place, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const { url, keyFile } = await server.start();
    const key = (await readFile(keyFile, 'utf8')).trim();
    return { url, key, client: createApiClient({ url, key }), close };
  } catch (thrown) {
    await close().catch(() => {});
    throw thrown;
  }
}

type Composed = { readonly server: ComposedServer; readonly place: string };

async function composeFree(dataDir: string, environment: Context['environment']): Promise<Composed> {
  try {
    return { server: await composeServer({ dataDir, environment, port: 0 }), place: dataDir };
  } catch (thrown) {
    if (!(thrown instanceof WherryError && thrown.code === 'DATA_LOCKED')) throw thrown;
    const place = `${dataDir}-${process.pid}`;
    return { server: await composeServer({ dataDir: place, environment, port: 0 }), place };
  }
}

/** The server of the settings. Throws SERVER_UNAVAILABLE. */
export async function openKnownServer(context: Context): Promise<TestServer> {
  const { apiUrl: url, apiKey: key } = await context.settings();
  if (url === undefined || key === undefined)
    throw new WherryError('SERVER_UNAVAILABLE', 'no server is known to test on', {
      hint: 'start one with `wherry serve`, or name another with --api-url',
    });
  return { url, key, client: createApiClient({ url, key }), close: async () => {} };
}
