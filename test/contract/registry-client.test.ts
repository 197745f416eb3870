import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { createRegistryClient, type RegistryClient, type RegistryClientOptions } from '../../src/registry/client.js';
import { readDockerCredentials } from '../../src/registry/credentials.js';
import { pushImage } from '../../src/registry/push.js';
import { listen, openRegistryServer } from './registry-server.js';

type Registry = Awaited<ReturnType<typeof openRegistryServer>>;
/** True when the request was answered and must not reach the registry. */
type Gate = (request: IncomingMessage, response: ServerResponse) => boolean;

const BYTES = Buffer.alloc(600_000, 'wherry');
const BLOB = { digest: digestOf(BYTES), size: BYTES.length };

async function* stream(bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

let registry: Registry;
let closers: (() => Promise<void>)[];
beforeEach(async () => {
  registry = await openRegistryServer();
  closers = [registry.close];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

function clientOf(host: string, more: Partial<RegistryClientOptions> = {}): RegistryClient {
  const client = createRegistryClient({ registry: host, log: silentLog, retryDelayMs: 1, ...more });
  closers.push(() => client.close());
  return client;
}

/** The registry behind a gate that may answer in its place. */
async function behind(gate: Gate): Promise<string> {
  const server = await listen((request, response) => {
    if (!gate(request, response)) void registry.handle(request, response, { canPush: true });
  });
  closers.push(server.close);
  return server.host;
}

function imageOf(layers: readonly Buffer[]) {
  const config = Buffer.from(
    JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: layers.map(digestOf) } }),
  );
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: describe(MEDIA_TYPES.config, config),
    layers: layers.map((bytes) => describe(MEDIA_TYPES.layerTar, bytes)),
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const blobs = [config, ...layers].map((part) => ({ digest: digestOf(part), size: part.length, open: () => stream(part) }));
  return { manifest: { bytes, digest: digestOf(bytes), mediaType: MEDIA_TYPES.manifest }, blobs };
}

describe('the registry client', () => {
  it('gives back what it pushed, and sends nothing twice', async () => {
    const client = clientOf(registry.host);
    expect(await client.findBlob('a/b', BLOB.digest)).toBeUndefined();
    expect(await client.putBlob('a/b', BLOB, () => stream(BYTES))).toBe(true);
    expect(await client.putBlob('a/b', BLOB, () => stream(BYTES))).toBe(false);
    expect((await collect(client.getBlob('a/b', BLOB))).equals(BYTES)).toBe(true);
  });

  it('mounts what another repository has', async () => {
    const client = clientOf(registry.host);
    await client.putBlob('a', BLOB, () => stream(BYTES));
    expect(await client.putBlob('b', BLOB, () => stream(BYTES), { mountFrom: 'a' })).toBe(false);
    expect(await client.findBlob('b', BLOB.digest)).toEqual(BLOB);
  });

  it('goes on where a download broke', async () => {
    const ranges: (string | undefined)[] = [];
    const host = await behind((request, response) => {
      if (request.method !== 'GET') return false;
      ranges.push(request.headers.range);
      const from = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
      if (ranges.length > 3) return false;
      response.writeHead(from === 0 ? 200 : 206, {
        'content-length': BYTES.length - from,
        ...(from > 0 && { 'content-range': `bytes ${from}-${BYTES.length - 1}/${BYTES.length}` }),
      });
      response.write(BYTES.subarray(from, from + 150_000), () => response.destroy());
      return true;
    });
    await clientOf(registry.host).putBlob('a', BLOB, () => stream(BYTES));
    expect((await collect(clientOf(host).getBlob('a', BLOB))).equals(BYTES)).toBe(true);
    expect(ranges.length).toBe(4);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ''))).toBe(true);
  });

  it('skips what it has when a registry ignores ranges', async () => {
    let served = 0;
    const host = await behind((request, response) => {
      if (request.method !== 'GET') return false;
      served += 1;
      response.writeHead(200, { 'content-length': BYTES.length });
      if (served > 1) response.end(BYTES);
      else response.write(BYTES.subarray(0, 100_000), () => response.destroy());
      return true;
    });
    expect((await collect(clientOf(host).getBlob('a', BLOB))).equals(BYTES)).toBe(true);
    expect(served).toBe(2);
  });

  it('gives up on a download that never moves', async () => {
    let tries = 0;
    const host = await behind((_request, response) => {
      tries += 1;
      response.destroy();
      return true;
    });
    await expect(collect(clientOf(host).getBlob('a', BLOB))).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' });
    expect(tries).toBe(5);
  });

  it('refuses bytes of another digest', async () => {
    const host = await behind((_request, response) => {
      response.end('other');
      return true;
    });
    await expect(collect(clientOf(host).getBlob('a', { digest: BLOB.digest }))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    await expect(clientOf(host).getManifest('a', BLOB.digest)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  it('begins an upload again after it broke', async () => {
    let puts = 0;
    const host = await behind((request, response) => {
      if (request.method !== 'PUT') return false;
      puts += 1;
      if (puts > 2) return false;
      request.once('data', () => response.destroy());
      return true;
    });
    expect(await clientOf(host).putBlob('a', BLOB, () => stream(BYTES))).toBe(true);
    expect(puts).toBe(3);
    expect((await collect(clientOf(registry.host).getBlob('a', BLOB))).equals(BYTES)).toBe(true);
  });

  it('waits as long as a busy registry asks', async () => {
    const answeredAt: number[] = [];
    const host = await behind((_request, response) => {
      answeredAt.push(performance.now());
      if (answeredAt.length > 1) return false;
      response.writeHead(429, { 'retry-after': '1' }).end();
      return true;
    });
    expect(await clientOf(host).findBlob('a', BLOB.digest)).toBeUndefined();
    expect((answeredAt[1] ?? 0) - (answeredAt[0] ?? 0)).toBeGreaterThan(900);
  });

  it('tells a missing image, a refused login, a forbidden repository and a dead host apart', async () => {
    await expect(clientOf(registry.host).getManifest('a', 'v1')).rejects.toMatchObject({
      code: 'IMAGE_UNKNOWN',
      message: expect.stringContaining(`${registry.host}/a:v1`),
    });
    const answering = (status: number) => behind((_request, response) => Boolean(response.writeHead(status).end()));
    await expect(clientOf(await answering(401)).findBlob('a', BLOB.digest)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await expect(clientOf(await answering(403)).findBlob('a', BLOB.digest)).rejects.toMatchObject({ code: 'DENIED' });
    const gone = await listen(() => {});
    await gone.close();
    await expect(clientOf(gone.host).findBlob('a', BLOB.digest)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' });
  });

  it('follows a redirect to another host without its credentials', async () => {
    const seen: (string | undefined)[] = [];
    const other = await listen((request, response) => {
      seen.push(request.headers.authorization);
      response.end(BYTES);
    });
    closers.push(other.close);
    const host = await behind((request, response) => {
      if (!request.headers.authorization) response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
      else response.writeHead(307, { location: `${other.url}/elsewhere` }).end();
      return true;
    });
    const client = clientOf(host, { credentials: { username: 'u', password: 'p' } });
    expect((await collect(client.getBlob('a', BLOB))).equals(BYTES)).toBe(true);
    expect(seen).toEqual([undefined]);
  });
});

it('keeps its connections, also after questions whether a blob is there', async () => {
  const ports = new Set<number | undefined>();
  const host = await behind((request) => {
    ports.add(request.socket.remotePort);
    return false;
  });
  const client = clientOf(host);
  for (let question = 0; question < 6; question += 1) expect(await client.hasBlob('a', BLOB)).toBe(false);
  // The next question may come before the first connection knows that its answer is over.
  expect(ports.size).toBeLessThanOrEqual(2);
});

describe('the token flow', () => {
  /** A registry that wants tokens, and the service that gives them; a token is good for one scope. */
  async function setup() {
    const asked: { url: string; authorization: string | undefined; body: string }[] = [];
    const issued = new Set<string>();
    const service = await listen(async (request, response) => {
      const body = (await collect(request)).toString();
      asked.push({ url: request.url ?? '', authorization: request.headers.authorization, body });
      const token = `token-${asked.length}`;
      issued.add(`Bearer ${token}`);
      response.end(JSON.stringify({ token }));
    });
    closers.push(service.close);
    const headers: (string | undefined)[] = [];
    const host = await behind((request, response) => {
      headers.push(request.headers.authorization);
      if (issued.has(request.headers.authorization ?? '')) return false;
      const challenge = `Bearer realm="${service.url}/token",service="test, service"`;
      response.writeHead(401, { 'www-authenticate': challenge }).end();
      return true;
    });
    return { asked, issued, headers, host };
  }

  it('asks for a token with the scope, keeps it, and asks again when it is refused', async () => {
    const { asked, issued, host } = await setup();
    const client = clientOf(host, { credentials: { username: 'u', password: 'p' } });
    await client.findBlob('a/b', BLOB.digest);
    await client.findBlob('a/b', BLOB.digest);
    expect(asked).toHaveLength(1);
    const url = new URL(asked[0]?.url ?? '', 'http://service');
    expect([url.searchParams.get('service'), url.searchParams.get('scope')]).toEqual(['test, service', 'repository:a/b:pull']);
    expect(asked[0]?.authorization).toBe(`Basic ${Buffer.from('u:p').toString('base64')}`);
    issued.clear();
    expect(await client.findBlob('a/b', BLOB.digest)).toBeUndefined();
    await client.putBlob('a/b', BLOB, () => stream(BYTES));
    expect(asked.map((ask) => new URL(ask.url, 'http://service').searchParams.get('scope'))).toEqual([
      'repository:a/b:pull',
      'repository:a/b:pull',
      'repository:a/b:pull,push',
    ]);
  });

  it('asks for one token for requests that go out together', async () => {
    const { asked, host } = await setup();
    const client = clientOf(host);
    await Promise.all([1, 2, 3, 4].map(() => client.findBlob('a', BLOB.digest)));
    expect(asked).toHaveLength(1);
  });

  it('asks without credentials when it has none, and by POST with an identity token', async () => {
    const { asked, headers, host } = await setup();
    await clientOf(host).findBlob('a', BLOB.digest);
    expect(asked[0]?.authorization).toBeUndefined();
    await clientOf(host, { credentials: { identityToken: 'secret' } }).findBlob('a', BLOB.digest);
    expect(asked[1]?.body).toContain('refresh_token=secret');
    expect(headers.join()).not.toContain('secret');
  });

  it('sends nothing to a token service that is not safe', async () => {
    const host = await behind((_request, response) =>
      Boolean(response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://example.com/token"' }).end()),
    );
    const client = clientOf(host, { credentials: { username: 'u', password: 'p' } });
    await expect(client.findBlob('a', BLOB.digest)).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('example.com'),
    });
  });

  it('keeps nothing open for an answer that it could not use', async () => {
    const host = await behind((_request, response) => {
      response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://example.com/token"', 'content-length': 10 }).flushHeaders();
      return true;
    });
    const patience = { connectMs: 1_000, readMs: 600_000, writeMs: 600_000 };
    const client = createRegistryClient({ registry: host, log: silentLog, patience });
    await expect(client.listTags('a')).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await client.close();
  });
});

describe('pushImage', () => {
  it('sends blobs, manifest and tags, and skips what is there', async () => {
    const client = clientOf(registry.host);
    const first = imageOf([Buffer.from('dependencies'), Buffer.from('code 1')]);
    expect(await pushImage({ client, repository: 'p', tags: ['v1', 'latest'], ...first })).toEqual({
      digest: first.manifest.digest,
      uploaded: 3,
      skipped: 0,
    });
    const second = imageOf([Buffer.from('dependencies'), Buffer.from('code 2')]);
    expect(await pushImage({ client, repository: 'p', tags: ['latest'], ...second })).toMatchObject({ uploaded: 2, skipped: 1 });
    expect((await client.getManifest('p', 'latest')).digest).toBe(second.manifest.digest);
    expect((await client.getManifest('p', 'v1')).digest).toBe(first.manifest.digest);
  });

  it('sends the manifests that an index lists before it, and tags only the index', async () => {
    const asked: string[] = [];
    const host = await behind((request) => {
      if (request.method === 'PUT' && request.url?.includes('/manifests/')) asked.push(String(request.url.split('/manifests/')[1]));
      return false;
    });
    const client = clientOf(host);
    const images = ['amd64', 'arm64'].map((code) => imageOf([Buffer.from('shared'), Buffer.from(code)]));
    const listed = images.map(({ manifest }) => manifest);
    const manifests = listed.map(({ digest, mediaType, bytes }) => ({ digest, mediaType, size: bytes.length }));
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }));
    const manifest = { bytes, digest: digestOf(bytes), mediaType: MEDIA_TYPES.index };
    const blobs = images.flatMap((image) => image.blobs);
    // Each has a layer and a config of its own.
    expect(await pushImage({ client, repository: 'p', tags: ['v1'], manifest, listed, blobs })).toMatchObject({ uploaded: 5, skipped: 0 });
    expect(asked).toEqual([...listed.map(({ digest }) => digest), 'v1']);
    expect(await client.getManifest('p', 'v1')).toMatchObject({ digest: manifest.digest, mediaType: MEDIA_TYPES.index });
  });

  it.each([
    ['mounts what another repository has', false, 2],
    ['sends what it may not mount', true, 3],
  ])('%s', async (_name, isRefused, uploaded) => {
    const host = await behind(
      (request, response) => isRefused && Boolean(request.url?.includes('mount=')) && Boolean(response.writeHead(403).end()),
    );
    const client = clientOf(host);
    const layer = Buffer.from('dependencies');
    await client.putBlob('other', { digest: digestOf(layer), size: layer.length }, () => stream(layer));
    const image = imageOf([layer, Buffer.from('code')]);
    const mountFrom = async (digest: string) => (digest === digestOf(layer) ? 'other' : undefined);
    const pushed = await pushImage({ client, repository: 'p', tags: [], ...image, mountFrom });
    expect(pushed).toMatchObject({ uploaded, skipped: 3 - uploaded });
  });

  it('fails when a source is damaged, and names nothing', async () => {
    const client = clientOf(registry.host);
    const image = imageOf([Buffer.from('good')]);
    const blobs = image.blobs.map((blob) => ({ ...blob, open: () => stream(Buffer.alloc(blob.size)) }));
    await expect(pushImage({ client, repository: 'p', tags: ['v1'], manifest: image.manifest, blobs })).rejects.toMatchObject({
      code: 'REGISTRY_UNAVAILABLE',
      message: expect.stringContaining('DIGEST_INVALID'),
    });
    await expect(client.getManifest('p', 'v1')).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' });
  });
});

describe('readDockerCredentials', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'wherry-docker-'));
    closers.push(async () => rmSync(dir, { recursive: true, force: true }));
  });
  const write = (config: object | string) =>
    writeFileSync(join(dir, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  const auth = Buffer.from('user:pass:word').toString('base64');

  it('finds nothing without a file or an entry', async () => {
    expect(await readDockerCredentials('example.com', dir)).toBeUndefined();
    write({ auths: { 'example.com': {} } });
    expect(await readDockerCredentials('example.com', dir)).toBeUndefined();
  });

  it('reads entries by host, by address, and under the old key of the hub', async () => {
    write({
      auths: { 'example.com:5000': { auth }, 'https://other.example/v1/': { identitytoken: 't' }, 'https://index.docker.io/v1/': { auth } },
    });
    const password = { username: 'user', password: 'pass:word' };
    expect(await readDockerCredentials('example.com:5000', dir)).toEqual(password);
    expect(await readDockerCredentials('other.example', dir)).toEqual({ identityToken: 't' });
    expect(await readDockerCredentials('docker.io', dir)).toEqual(password);
    expect(await readDockerCredentials('example.com', dir)).toBeUndefined();
  });

  it('asks the credential helper of the host', async () => {
    const helper = join(dir, 'docker-credential-test');
    const answer =
      'case "$(cat)" in a.example) echo \'{"Username":"u","Secret":"s"}\';; b.example) echo \'{"Username":"<token>","Secret":"t"}\';;';
    writeFileSync(helper, `#!/bin/sh\n${answer} c.example) echo credentials not found in native keychain; exit 1;; *) exit 2;; esac\n`);
    chmodSync(helper, 0o755);
    vi.stubEnv('PATH', `${dir}${delimiter}${process.env['PATH'] ?? ''}`);
    closers.push(async () => void vi.unstubAllEnvs());
    write({ credHelpers: { 'a.example': 'test', 'b.example': 'test', 'c.example': 'test', 'd.example': 'test' } });
    expect(await readDockerCredentials('a.example', dir)).toEqual({ username: 'u', password: 's' });
    expect(await readDockerCredentials('b.example', dir)).toEqual({ identityToken: 't' });
    expect(await readDockerCredentials('c.example', dir)).toBeUndefined();
    await expect(readDockerCredentials('d.example', dir)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('refuses a damaged file', async () => {
    write('{');
    await expect(readDockerCredentials('example.com', dir)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});
