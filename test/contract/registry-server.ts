import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../src/base/log.js';
import type { Digest } from '../../src/oci/digest.js';
import { type BlobsOptions, openBlobs } from '../../src/registry/blobs.js';
import { createRegistryHandler } from '../../src/registry/handler.js';

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

/** Our handler over fresh storage. Requests with the header `x-pull-only` may not push; names below `kept/` are reserved. */
export async function openRegistryServer(options: Omit<BlobsOptions, 'needs'> = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-registry-'));
  const kept = new Set<Digest>();
  const blobs = await openBlobs(dir, {
    ...options,
    needs: async () => [...kept].map((digest) => ({ by: 'a test', repository: 'd', digest })),
  });
  const handle = createRegistryHandler({ blobs, log: silentLog, isRepositoryAllowed: (name) => !name.startsWith('kept/') });
  const server = await listen((request, response) => {
    void handle(request, response, { canPush: request.headers['x-pull-only'] === undefined });
  });
  return {
    ...server,
    dir,
    blobs,
    handle,
    reserved: 'kept/a',
    pullOnly: { 'x-pull-only': '1' },
    protect: (digest: Digest) => void kept.add(digest),
    close: async () => {
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
