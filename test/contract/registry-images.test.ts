import { appendFileSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { type Digest, digestOf } from '../../src/oci/digest.js';
import { type Blobs, openBlobs } from '../../src/registry/blobs.js';
import { createRegistryClient } from '../../src/registry/client.js';
import { createImages } from '../../src/registry/retain.js';
import { openRegistryServer } from './registry-server.js';

type Registry = Awaited<ReturnType<typeof openRegistryServer>>;

async function* once(bytes: Uint8Array) {
  yield bytes;
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function addBlob(blobs: Blobs, repository: string, { bytes, mediaType }: { bytes: Buffer; mediaType: string }) {
  const digest = digestOf(bytes);
  await blobs.put(digest, once(bytes));
  await blobs.linkBlob(repository, digest);
  return { mediaType, digest, size: bytes.length };
}

/** An image with one gzip and one plain layer. */
async function addImage(blobs: Blobs, repository: string, { tag, text, diffId }: { tag?: string; text: string; diffId?: string }) {
  const diffIds = [diffId ?? digestOf(`packed ${text}`), digestOf(`plain ${text}`)];
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } }));
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: await addBlob(blobs, repository, { bytes: config, mediaType: MEDIA_TYPES.config }),
    layers: [
      await addBlob(blobs, repository, { bytes: gzipSync(`packed ${text}`), mediaType: MEDIA_TYPES.layerGzip }),
      await addBlob(blobs, repository, { bytes: Buffer.from(`plain ${text}`), mediaType: MEDIA_TYPES.layerTar }),
    ],
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const digest = digestOf(bytes);
  await blobs.putManifest(repository, digest, bytes, { mediaType: MEDIA_TYPES.manifest, tag });
  return { digest, size: bytes.length, mediaType: MEDIA_TYPES.manifest, layers: manifest.layers };
}

async function addIndex(blobs: Blobs, repository: string, tag: string) {
  const images = await Promise.all(['amd64', 'arm64'].map((architecture) => addImage(blobs, repository, { text: architecture })));
  const manifests = images.map(({ digest, size, mediaType }, index) => ({
    digest,
    size,
    mediaType,
    platform: { os: 'linux', architecture: index === 0 ? 'amd64' : 'arm64' },
  }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }));
  await blobs.putManifest(repository, digestOf(bytes), bytes, { mediaType: MEDIA_TYPES.index, tag });
  return { amd64: images[0]?.digest, arm64: images[1]?.digest };
}

let own: Registry;
let remote: Registry;
beforeEach(async () => {
  own = await openRegistryServer();
  remote = await openRegistryServer();
});
afterEach(async () => {
  await own.close();
  await remote.close();
});

function imagesOf(more: { architecture?: string } = {}) {
  return createImages({
    blobs: own.blobs,
    log: silentLog,
    ownHosts: () => [own.host],
    clientFor: async ({ registry }) => createRegistryClient({ registry, log: silentLog, retryDelayMs: 1 }),
    ...more,
  });
}

const fileOf = (digest: Digest) => join(own.dir, 'blobs', 'sha256', digest.slice(7));
const endpoint = { endpointId: 'e1' };

describe('resolve', () => {
  it('pins names of its own registry, with and without the host', async () => {
    const { digest } = await addImage(own.blobs, 'acme/echo', { tag: 'latest', text: 'x' });
    const image = { repository: 'acme/echo', tag: 'latest', digest };
    expect(await imagesOf().resolve('acme/echo', endpoint)).toEqual({ ...image, reference: 'acme/echo' });
    expect(await imagesOf().resolve(`${own.host}/acme/echo:latest`, endpoint)).toEqual({ ...image, reference: 'acme/echo:latest' });
    expect(await imagesOf().resolve(`acme/echo@${digest}`, endpoint)).toEqual({ ...image, tag: null, reference: `acme/echo@${digest}` });
  });

  it('takes the digest when a tag stands beside it, and wants it to exist', async () => {
    const old = await addImage(own.blobs, 'a', { tag: 'v1', text: 'old' });
    await addImage(own.blobs, 'a', { tag: 'v1', text: 'new' });
    expect(await imagesOf().resolve(`a:v1@${old.digest}`, endpoint)).toMatchObject({ digest: old.digest, tag: 'v1' });
    await expect(imagesOf().resolve(`a:v1@${digestOf('nothing')}`, endpoint)).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' });
    await expect(imagesOf().resolve('a:v2', endpoint)).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN', hint: expect.any(String) });
    await expect(imagesOf().resolve('a@sha256:12', endpoint)).rejects.toMatchObject({ code: 'DIGEST_INVALID' });
  });

  it('chooses the platform from an index', async () => {
    const { amd64, arm64 } = await addIndex(own.blobs, 'multi', 'v1');
    expect((await imagesOf().resolve('multi:v1', endpoint)).digest).toBe(amd64);
    expect((await imagesOf({ architecture: 'arm64' }).resolve('multi:v1', endpoint)).digest).toBe(arm64);
    await expect(imagesOf({ architecture: 's390x' }).resolve('multi:v1', endpoint)).rejects.toMatchObject({
      code: 'IMAGE_UNKNOWN',
      message: expect.stringContaining('linux/arm64'),
    });
  });

  it('copies a remote image, so that it lives on without its registry', async () => {
    await addIndex(remote.blobs, 'far/away', 'v1');
    const images = imagesOf();
    const image = await images.resolve(`${remote.host}/far/away:v1`, endpoint);
    expect(image).toMatchObject({ reference: `${remote.host}/far/away:v1`, repository: 'retained/e1', tag: 'v1' });
    await remote.close();
    await images.verify(image);
    expect(await Promise.all((await images.layers(image)).map((layer) => collect(layer.open())))).toEqual(['packed amd64', 'plain amd64']);
    await expect(images.resolve(`${remote.host}/far/away:v1`, endpoint)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' });
  });

  it('pulls a damaged blob again', async () => {
    const { layers } = await addImage(remote.blobs, 'far', { tag: 'v1', text: 'x' });
    const images = imagesOf();
    const image = await images.resolve(`${remote.host}/far:v1`, endpoint);
    appendFileSync(fileOf(layers[0]?.digest ?? image.digest), 'damage');
    await expect(images.verify(image)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    await images.resolve(`${remote.host}/far:v1`, endpoint);
    await images.verify(image);
  });
});

describe('retainFor', () => {
  it('names a copy for another endpoint, where it stays when the first endpoint goes (row 16)', async () => {
    let at = 0;
    const blobs = await openBlobs(own.dir, { now: () => at });
    await addImage(remote.blobs, 'far', { tag: 'v1', text: 'x' });
    const clientFor = async ({ registry }: { registry: string }) => createRegistryClient({ registry, log: silentLog, retryDelayMs: 1 });
    const images = createImages({ blobs, log: silentLog, ownHosts: () => [], clientFor });
    const image = await images.resolve(`${remote.host}/far:v1`, { endpointId: 'staging' });
    await remote.close();
    const promoted = await images.retainFor(image, { endpointId: 'production' });
    expect(promoted).toEqual({ ...image, repository: 'retained/production' });
    at = 3_600_001;
    await images.removeRetained(async (id) => id === 'production');
    expect(await blobs.listRepositories()).toEqual(['retained/production']);
    await images.verify(promoted);
    await expect(images.retainFor(image, { endpointId: 'other' })).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' });
  });

  it('leaves an image of an own repository where every endpoint finds it', async () => {
    await addImage(own.blobs, 'a', { tag: 'v1', text: 'x' });
    const images = imagesOf();
    const image = await images.resolve('a:v1', endpoint);
    expect(await images.retainFor(image, { endpointId: 'e2' })).toEqual(image);
  });
});

describe('a pinned image', () => {
  it('names all its blobs and gives its config', async () => {
    const { digest, layers } = await addImage(own.blobs, 'a', { tag: 'v1', text: 'x' });
    const images = imagesOf();
    const image = await images.resolve('a:v1', endpoint);
    const used = await images.usedDigests(image);
    expect(used).toHaveLength(4);
    expect(used).toEqual(expect.arrayContaining([digest, ...layers.map((layer) => layer.digest)]));
    expect((await images.config(image)).architecture).toBe('amd64');
  });

  it('tells its size as it travels, and its layers (row 6)', async () => {
    const { layers } = await addImage(own.blobs, 'a', { tag: 'v1', text: 'x' });
    const images = imagesOf();
    const image = await images.resolve('a:v1', endpoint);
    const { bytes, layers: count } = await images.measure(image);
    const config = Buffer.from(JSON.stringify(await images.config(image))).length;
    expect([bytes, count]).toEqual([layers.reduce((sum, { size }) => sum + size, config), 2]);
  });

  it('notices damage that keeps size and modification time', async () => {
    const { layers } = await addImage(own.blobs, 'a', { tag: 'v1', text: 'x' });
    const images = imagesOf();
    const image = await images.resolve('a:v1', endpoint);
    await images.verify(image);
    const file = fileOf(layers[1]?.digest ?? image.digest);
    const { atime, mtime } = statSync(file);
    writeFileSync(file, 'plain y');
    utimesSync(file, atime, mtime);
    await expect(images.verify(image)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    const [, plain] = await images.layers(image);
    await expect(collect(plain?.open() ?? once(Buffer.of()))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  it('never passes a layer off as another one', async () => {
    await addImage(own.blobs, 'a', { tag: 'v1', text: 'x', diffId: digestOf('something else') });
    const images = imagesOf();
    const [layer] = await images.layers(await images.resolve('a:v1', endpoint));
    await expect(collect(layer?.open() ?? once(Buffer.of()))).rejects.toMatchObject({ code: 'LAYER_INVALID' });
  });
});

describe('blob storage', () => {
  it('goes on with an upload after a restart, and removes it after a day', async () => {
    const id = await own.blobs.startUpload();
    await own.blobs.appendUpload(id, once(Buffer.from('first ')));
    const reopened = await openBlobs(own.dir);
    await reopened.appendUpload(id, once(Buffer.from('second')), { start: 6 });
    expect(await reopened.finishUpload(id, digestOf('first second'), 'a/up')).toBe(12);
    const left = await reopened.startUpload();
    await openBlobs(own.dir, { now: () => Date.now() + 23 * 3_600_000 });
    expect(readdirSync(join(own.dir, 'uploads'))).toEqual([left]);
    await openBlobs(own.dir, { now: () => Date.now() + 25 * 3_600_000 });
    expect(readdirSync(join(own.dir, 'uploads'))).toEqual([]);
  });

  it('keeps what came before a break, and leaves nothing of a blob that failed', async () => {
    async function* broken() {
      yield Buffer.from('half');
      throw new Error('the line broke');
    }
    const id = await own.blobs.startUpload();
    await expect(own.blobs.appendUpload(id, broken())).rejects.toThrow('the line broke');
    expect(await own.blobs.uploadSize(id)).toBe(4);
    await expect(own.blobs.put(digestOf('whole'), broken())).rejects.toThrow('the line broke');
    await expect(own.blobs.put(digestOf('whole'), once(Buffer.from('other')))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(await own.blobs.has(digestOf('whole'))).toBeUndefined();
    expect(readdirSync(join(own.dir, 'incoming'))).toEqual([]);
  });

  it('lets appends to one upload wait for each other', async () => {
    const id = await own.blobs.startUpload();
    const texts = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(100_000));
    await Promise.all(texts.map((text) => own.blobs.appendUpload(id, once(Buffer.from(text)))));
    expect(await own.blobs.finishUpload(id, digestOf(texts.join('')), 'a/up')).toBe(400_000);
  });

  it('never answers a push with 201 and then lacks the bytes, while their last other name is deleted', async () => {
    for (let round = 0; round < 60; round++) {
      const bytes = Buffer.from(`round ${round}`);
      const digest = digestOf(bytes);
      await addBlob(own.blobs, 'first', { bytes, mediaType: MEDIA_TYPES.layerTar });
      const [pushed] = await Promise.all([
        fetch(`${own.url}/v2/second/blobs/uploads/?digest=${digest}`, { method: 'POST', body: new Uint8Array(bytes) }),
        fetch(`${own.url}/v2/first/blobs/${digest}`, { method: 'DELETE' }),
      ]);
      expect(pushed.status).toBe(201);
      expect((await fetch(`${own.url}/v2/second/blobs/${digest}`, { method: 'HEAD' })).status, `round ${round}`).toBe(200);
    }
  });

  it('keeps what a deploy looked at for an hour, so that nothing of it goes before its release is stored', async () => {
    let at = 0;
    const blobs = await openBlobs(own.dir, { now: () => at });
    const { digest, layers } = await addImage(blobs, 'a', { tag: 'v1', text: 'x' });
    const clientFor = async () => Promise.reject(new Error('no other registry'));
    await createImages({ blobs, log: silentLog, ownHosts: () => [], clientFor }).resolve('a:v1', endpoint);
    await expect(blobs.deleteManifest('a', digest)).rejects.toMatchObject({ code: 'BLOB_IN_USE' });
    await expect(blobs.unlinkBlob('a', layers[0]?.digest ?? digest)).rejects.toMatchObject({ code: 'BLOB_IN_USE' });
    at = 3_600_001;
    await blobs.deleteManifest('a', digest);
    expect(await blobs.has(digest)).toBeUndefined();
  });

  it('removes the copies of removed endpoints, but not what another repository has or a deploy just took', async () => {
    let at = 0;
    const blobs = await openBlobs(own.dir, { now: () => at });
    const { layers, digest } = await addImage(remote.blobs, 'far', { tag: 'v1', text: 'x' });
    const clientFor = async ({ registry }: { registry: string }) => createRegistryClient({ registry, log: silentLog, retryDelayMs: 1 });
    const images = createImages({ blobs, log: silentLog, ownHosts: () => [], clientFor });
    for (const endpointId of ['gone', 'stays']) await images.resolve(`${remote.host}/far:v1`, { endpointId });
    const remove = () => images.removeRetained(async (id) => id === 'stays');
    await remove();
    expect(await blobs.listRepositories()).toEqual(['retained/gone', 'retained/stays']);
    at = 3_600_001;
    await remove();
    expect(await blobs.listRepositories()).toEqual(['retained/stays']);
    expect(await blobs.has(layers[0]?.digest ?? digest)).toBeDefined();
    await images.removeRetained(async () => false);
    expect(await blobs.listRepositories()).toEqual([]);
    expect(readdirSync(join(own.dir, 'blobs', 'sha256'))).toEqual([]);
  });

  it('removes an upload that nobody went on with, also while the server runs', async () => {
    let at = Date.now();
    const blobs = await openBlobs(own.dir, { now: () => at });
    const id = await blobs.startUpload();
    await blobs.removeOldUploads();
    expect(await blobs.uploadSize(id)).toBe(0);
    at += 25 * 3_600_000;
    await blobs.removeOldUploads();
    await expect(blobs.uploadSize(id)).rejects.toMatchObject({ code: 'BLOB_UPLOAD_UNKNOWN' });
    expect(readdirSync(join(own.dir, 'uploads'))).toEqual([]);
  });

  it('refuses to delete what is protected, and to read a blob above the limit', async () => {
    const digest = digestOf('bytes');
    await own.blobs.put(digest, once(Buffer.from('bytes')));
    await expect(own.blobs.read(digest, 4)).rejects.toMatchObject({ code: 'SIZE_INVALID' });
    own.protect(digest);
    await expect(own.blobs.deleteBlob(digest)).rejects.toMatchObject({ code: 'BLOB_IN_USE' });
    expect(await collect((await own.blobs.open(digest)).stream)).toBe('bytes');
  });
});
