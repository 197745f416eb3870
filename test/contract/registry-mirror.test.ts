import { randomBytes } from 'node:crypto';
import type { IncomingMessage, RequestListener } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { type Digest, digestOf } from '../../src/oci/digest.js';
import type { BlobsOptions } from '../../src/registry/blobs.js';
import { createImages } from '../../src/registry/retain.js';
import type { VerifyEvent } from '../../src/registry/verify-all.js';
import { until } from '../stage.js';
import { listen, openRegistryServer } from './registry-server.js';

type Registry = Awaited<ReturnType<typeof openRegistryServer>>;

const HOUR = 3_600_000;
const LAYER = gzipSync(randomBytes(1_500_000));
const OTHER_LAYER = gzipSync(randomBytes(1_000));
const closers: (() => Promise<void>)[] = [];
/** Requests that reached the mirrored registry. */
const asked: string[] = [];
/** What it does with a request in place of answering; false to answer. */
let interfere: (...exchange: Parameters<RequestListener>) => boolean;
let upstream: Registry;
let front: Awaited<ReturnType<typeof listen>>;
let mirror: Registry;
/** Time of the mirror's storage. */
let now: number;

beforeEach(async () => {
  asked.length = 0;
  interfere = () => false;
  now = Date.now();
  upstream = await openRegistryServer();
  front = await listen((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    if (!interfere(request, response)) void upstream.handle(request, response, { canPush: false });
  });
  mirror = await openMirror();
  closers.push(upstream.close, front.close);
});
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});

async function openMirror(options: Omit<BlobsOptions, 'needs' | 'isCopied'> = {}): Promise<Registry> {
  const opened = await openRegistryServer({ now: () => now, ...options, mirrored: new Map([['up', front.host]]) });
  closers.push(opened.close);
  return opened;
}

async function* once(bytes: Uint8Array) {
  yield bytes;
}

async function addBlob(repository: string, bytes: Buffer, mediaType: string) {
  const digest = digestOf(bytes);
  await upstream.blobs.put(digest, once(bytes));
  await upstream.blobs.linkBlob(repository, digest);
  return { mediaType, digest, size: bytes.length };
}

/** An image in the mirrored registry. */
async function publish(tag: string, layer = LAYER) {
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digestOf(tag)] } }));
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: await addBlob('a/b', config, MEDIA_TYPES.config),
    layers: [await addBlob('a/b', layer, MEDIA_TYPES.layerGzip)],
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const digest = digestOf(bytes);
  await upstream.blobs.putManifest('a/b', digest, bytes, { mediaType: MEDIA_TYPES.manifest, tag });
  return { digest, bytes, config: manifest.config.digest, layer: digestOf(layer) };
}

const get = (path: string, init: RequestInit = {}, from = mirror) => fetch(`${from.url}/v2/up/a/b/${path}`, init);
const bytesOf = async (answer: Response) => Buffer.from(await answer.arrayBuffer());
const codeOf = async (answer: Response) => ((await answer.json()) as { errors: { code: string }[] }).errors[0]?.code;
/** The copy is on disk a little after the answer. */
const isKept = (digest: Digest) => until(() => mirror.blobs.isLinked('up/a/b', digest), 'a blob to be kept');
const goDown = () => {
  interfere = (request) => Boolean(request.socket.destroy());
};
const isBlobGet = ({ method, url }: IncomingMessage, digest: Digest) => method === 'GET' && url?.endsWith(`/blobs/${digest}`);

async function verify(): Promise<VerifyEvent[]> {
  const events: VerifyEvent[] = [];
  for await (const event of mirror.blobs.verifyAll()) if (event.kind !== 'progress') events.push(event);
  return events;
}

describe('a mirrored registry', () => {
  it('is asked once for what never changes, and for what a tag means each time', async () => {
    const image = await publish('v1');
    for (const round of [1, 2]) {
      asked.length = 0;
      const manifest = await get('manifests/v1');
      expect(manifest.headers.get('docker-content-digest')).toBe(image.digest);
      expect((await bytesOf(manifest)).equals(image.bytes)).toBe(true);
      expect((await bytesOf(await get(`blobs/${image.layer}`))).equals(LAYER)).toBe(true);
      await bytesOf(await get(`blobs/${image.config}`));
      await bytesOf(await get(`manifests/${image.digest}`));
      if (round === 2) expect(asked).toEqual(['HEAD /v2/a/b/manifests/v1']);
      else expect(asked.filter((request) => request.startsWith('GET'))).toHaveLength(3);
      for (const digest of [image.layer, image.config]) await isKept(digest);
    }
  });

  it('moves a tag here when it moves there', async () => {
    await publish('v1');
    await get('manifests/v1');
    const moved = await publish('v1', OTHER_LAYER);
    expect((await get('manifests/v1', { method: 'HEAD' })).headers.get('docker-content-digest')).toBe(moved.digest);
  });

  it('may be away: what is here is served', async () => {
    const image = await publish('v1');
    await bytesOf(await get('manifests/v1'));
    await bytesOf(await get(`blobs/${image.layer}`));
    await isKept(image.layer);
    goDown();
    expect((await get('manifests/v1')).headers.get('docker-content-digest')).toBe(image.digest);
    expect((await bytesOf(await get(`blobs/${image.layer}`))).equals(LAYER)).toBe(true);
    expect(await (await get('tags/list')).json()).toEqual({ name: 'up/a/b', tags: ['v1'] });
    const unknown = await get('manifests/v2');
    expect([unknown.status, await codeOf(unknown)]).toEqual([503, 'REGISTRY_UNAVAILABLE']);
  });

  it('says what is not there, and refuses what is pushed', async () => {
    await publish('v1');
    expect(await codeOf(await get('manifests/v2'))).toBe('MANIFEST_UNKNOWN');
    expect(await codeOf(await get(`manifests/${digestOf('x')}`))).toBe('MANIFEST_UNKNOWN');
    expect(await codeOf(await get(`blobs/${digestOf('x')}`))).toBe('BLOB_UNKNOWN');
    const pushed = await get('blobs/uploads/', { method: 'POST' });
    expect([pushed.status, await codeOf(pushed)]).toEqual([403, 'DENIED']);
    await bytesOf(await get('manifests/v1'));
    expect((await get('manifests/v1', { method: 'DELETE' })).status).toBe(202);
  });

  it('that wants other credentials is a denial, not a login', async () => {
    interfere = (_request, response) => Boolean(response.writeHead(401).end());
    const answer = await get('manifests/v1');
    expect([answer.status, await codeOf(answer)]).toEqual([403, 'DENIED']);
    interfere = (_request, response) => Boolean(response.writeHead(429).end());
    expect((await get('manifests/v1')).status).toBe(429);
  });

  it('lists its tags and referrers', async () => {
    const image = await publish('v2');
    await publish('v1', OTHER_LAYER);
    expect(await (await get('tags/list')).json()).toEqual({ name: 'up/a/b', tags: ['v1', 'v2'] });
    const subject = { mediaType: MEDIA_TYPES.manifest, digest: image.digest, size: image.bytes.length };
    const empty = await addBlob('a/b', Buffer.from('{}'), 'application/vnd.oci.empty.v1+json');
    const note = { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, artifactType: 'text/note', config: empty, layers: [], subject };
    const bytes = Buffer.from(JSON.stringify(note));
    await upstream.blobs.putManifest('a/b', digestOf(bytes), bytes, { mediaType: MEDIA_TYPES.manifest });
    const { manifests } = (await (await get(`referrers/${image.digest}`)).json()) as { manifests: { digest: string }[] };
    expect(manifests.map(({ digest }) => digest)).toEqual([digestOf(bytes)]);
    expect((await get(`manifests/${digestOf(bytes)}`)).status).toBe(200);
  });
});

describe('a blob on its way through', () => {
  it('comes while it is fetched, and once for all who ask', async () => {
    const { layer } = await publish('v1');
    let goOn = () => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    interfere = (request, response) => {
      if (!isBlobGet(request, layer)) return false;
      response.writeHead(200, { 'content-length': LAYER.length });
      response.write(LAYER.subarray(0, 1_000_000));
      void held.then(() => response.end(LAYER.subarray(1_000_000)));
      return true;
    };
    const first = await get(`blobs/${layer}`);
    expect(first.headers.get('content-length')).toBe(String(LAYER.length));
    const reader = (first.body as ReadableStream<Uint8Array>).getReader();
    expect((await reader.read()).value?.length).toBeGreaterThan(0);
    const second = get(`blobs/${layer}`).then(bytesOf);
    goOn();
    expect((await second).equals(LAYER)).toBe(true);
    await reader.cancel();
    expect(asked.filter((request) => request === `GET /v2/a/b/blobs/${layer}`)).toHaveLength(1);
  });

  it('is kept when the client leaves', async () => {
    const { layer } = await publish('v1');
    const leaving = new AbortController();
    interfere = (request) => {
      if (isBlobGet(request, layer)) leaving.abort();
      return false;
    };
    await expect(get(`blobs/${layer}`, { signal: leaving.signal }).then(bytesOf)).rejects.toThrow();
    expect((await bytesOf(await get(`blobs/${layer}`))).equals(LAYER)).toBe(true);
    expect(asked.filter((request) => request === `GET /v2/a/b/blobs/${layer}`)).toHaveLength(1);
  });

  it('with wrong bytes is cut and not kept', async () => {
    const { layer } = await publish('v1');
    interfere = (request, response) => {
      if (isBlobGet(request, layer)) response.end(randomBytes(LAYER.length));
      return isBlobGet(request, layer) === true;
    };
    await expect(get(`blobs/${layer}`).then(bytesOf)).rejects.toThrow();
    expect(await mirror.blobs.has(layer)).toBeUndefined();
    interfere = () => false;
    expect((await bytesOf(await get(`blobs/${layer}`))).equals(LAYER)).toBe(true);
  });

  it.each([-10, 10])('whose size is %i bytes off is cut and not kept (D1)', async (off) => {
    const { layer } = await publish('v1');
    interfere = (request, response) => {
      if (request.method !== 'HEAD' || !request.url?.includes('/blobs/')) return false;
      return Boolean(response.writeHead(200, { 'content-length': LAYER.length + off }).end());
    };
    await expect(get(`blobs/${layer}`).then(bytesOf)).rejects.toThrow();
    expect(await mirror.blobs.has(layer)).toBeUndefined();
  });

  it('comes whole when its registry tells no size (D1)', async () => {
    const { layer } = await publish('v1');
    interfere = (request, response) => request.method === 'HEAD' && Boolean(response.writeHead(200).end());
    const answer = await get(`blobs/${layer}`);
    expect(answer.headers.get('content-length')).toBe(String(LAYER.length));
    expect((await bytesOf(answer)).equals(LAYER)).toBe(true);
  });

  it('passes whole where the quota leaves no room for it', async () => {
    const { layer } = await publish('v1');
    const small = await openMirror({ quotaBytes: 500_000 });
    expect((await bytesOf(await get(`blobs/${layer}`, {}, small))).equals(LAYER)).toBe(true);
    expect(await small.blobs.has(layer)).toBeUndefined();
  });

  it('can be asked for in part', async () => {
    const { layer } = await publish('v1');
    const part = await get(`blobs/${layer}`, { headers: { range: 'bytes=1000-1999' } });
    expect(part.status).toBe(206);
    expect((await bytesOf(part)).equals(LAYER.subarray(1000, 2000))).toBe(true);
  });

  it('that another repository brought is shown only where the mirrored registry shows it', async () => {
    const { layer } = await publish('v1');
    await bytesOf(await get(`blobs/${layer}`));
    expect((await fetch(`${mirror.url}/v2/up/other/blobs/${layer}`)).status).toBe(404);
    expect((await fetch(`${mirror.url}/v2/own/blobs/${layer}`)).status).toBe(404);
  });
});

describe('copies', () => {
  it('need not be whole to be sound', async () => {
    await publish('v1');
    await bytesOf(await get('manifests/v1'));
    expect(await verify()).toEqual([expect.objectContaining({ kind: 'end', faults: 0 })]);
  });

  it('go when nobody asked for them for long, and come again', async () => {
    const used = await publish('used');
    const unused = await publish('unused', OTHER_LAYER);
    for (const tag of ['used', 'unused']) await bytesOf(await get(`manifests/${tag}`));
    for (const layer of [used.layer, unused.layer]) {
      await bytesOf(await get(`blobs/${layer}`));
      await isKept(layer);
    }
    const collect = () => mirror.blobs.collect({ untaggedMs: 0, keepTags: 0, copiedMs: 48 * HOUR });
    now += 30 * HOUR;
    expect((await collect()).repositories).toEqual([]);
    await bytesOf(await get('manifests/used'));
    now += 30 * HOUR;
    expect((await collect()).repositories).toMatchObject([{ repository: 'up/a/b', tags: ['unused'] }]);
    now += 49 * HOUR;
    await bytesOf(await get('manifests/used'));
    await collect();
    expect(await mirror.blobs.has(used.layer)).toBeDefined();
    expect(await mirror.blobs.has(unused.layer)).toBeUndefined();
    expect((await bytesOf(await get(`blobs/${unused.layer}`))).equals(OTHER_LAYER)).toBe(true);
  });

  it('that are deployed are made whole, and need the other registry no more', async () => {
    const image = await publish('v1');
    const images = createImages({
      blobs: mirror.blobs,
      log: silentLog,
      ownHosts: () => [mirror.host],
      mirrors: mirror.mirrors,
      clientFor: async () => Promise.reject(new Error('nothing is pulled past the mirror')),
    });
    const pinned = await images.resolve(`${mirror.host}/up/a/b:v1`, { endpointId: 'e' });
    expect(pinned).toMatchObject({ repository: 'up/a/b', digest: image.digest, tag: 'v1' });
    goDown();
    expect(await images.resolve('up/a/b:v1', { endpointId: 'f' })).toMatchObject({ digest: image.digest });
    await images.verify(pinned);
  });
});
