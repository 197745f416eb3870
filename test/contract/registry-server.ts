import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../src/base/log.js';
import type { Digest } from '../../src/oci/digest.js';
import { type BlobsOptions, openBlobs } from '../../src/registry/blobs.js';
import { createRegistryClient } from '../../src/registry/client.js';
import { createRegistryHandler } from '../../src/registry/handler.js';
import { createMirrors, originIn } from '../../src/registry/mirror.js';

/** A server on a free port of this machine; `close` ends open connections too. */
export async function listen(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return { host, url: `http://${host}`, close };
}

interface ServerOptions extends Omit<BlobsOptions, 'needs' | 'isCopied'> {
  /** Hosts of which it mirrors, by name. */
  readonly mirrored?: ReadonlyMap<string, string>;
}

/** Our handler over fresh storage. Requests with the header `x-pull-only` may not push; names below `kept/` are reserved. */
export async function openRegistryServer({ mirrored, ...options }: ServerOptions = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-registry-'));
  const kept = new Set<Digest>();
  const registries = mirrored ?? new Map<string, string>();
  const blobs = await openBlobs(dir, {
    isCopied: (repository) => originIn(registries, repository) !== undefined,
    ...options,
    needs: async () => [...kept].map((digest) => ({ by: 'a test', repository: 'd', digest })),
  });
  const mirrors = createMirrors({
    blobs,
    log: silentLog,
    registries,
    clientFor: async ({ registry }) => createRegistryClient({ registry, log: silentLog, retryDelayMs: 1 }),
  });
  const handle = createRegistryHandler({ blobs, mirrors, log: silentLog, isRepositoryAllowed: (name) => !name.startsWith('kept/') });
  const server = await listen((request, response) => {
    void handle(request, response, { canPush: request.headers['x-pull-only'] === undefined });
  });
  return {
    ...server,
    dir,
    blobs,
    handle,
    mirrors,
    reserved: 'kept/a',
    pullOnly: { 'x-pull-only': '1' },
    protect: (digest: Digest) => void kept.add(digest),
    close: async () => {
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
