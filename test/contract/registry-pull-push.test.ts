import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { openCalls, outcomeOf } from './registry-calls.js';
import { composeImage, describeBytes } from './registry-gate.js';

let registry: Awaited<ReturnType<typeof openCalls>>;
beforeAll(async () => {
  registry = await openCalls();
});
afterAll(() => registry.close());

const NOWHERE = digestOf('nowhere');
const BYTES = Buffer.from('0123456789');
const DIGEST = digestOf(BYTES);

describe('pull', () => {
  it('answers HEAD as GET, but for the body (D8)', async () => {
    const repository = registry.fresh();
    const { digest } = await registry.pushImage(repository, ['v1']);
    for (const path of [`manifests/v1`, `manifests/${digest}`, `blobs/${digestOf('layer')}`]) {
      const [head, get] = [
        await registry.call('HEAD', `/v2/${repository}/${path}`),
        await registry.call('GET', `/v2/${repository}/${path}`),
      ];
      const headersOf = ({ headers }: Response) =>
        [...headers].filter(([name]) => !['date', 'connection', 'keep-alive'].includes(name)).sort();
      expect([head.status, headersOf(head)]).toEqual([get.status, headersOf(get)]);
      expect((await head.arrayBuffer()).byteLength).toBe(0);
      expect((await get.arrayBuffer()).byteLength).toBe(Number(head.headers.get('content-length')));
    }
  });

  it.each([
    ['a manifest by tag', 'manifests/v2', 'MANIFEST_UNKNOWN'],
    ['a manifest by digest', `manifests/${NOWHERE}`, 'MANIFEST_UNKNOWN'],
    ['a blob', `blobs/${NOWHERE}`, 'BLOB_UNKNOWN'],
  ])('answers 404 where %s is not there, in repositories that are and that are not (D8)', async (_name, path, code) => {
    const repository = registry.fresh();
    await registry.pushImage(repository, ['v1']);
    for (const name of [repository, registry.fresh()]) {
      expect(await outcomeOf(await registry.call('GET', `/v2/${name}/${path}`))).toEqual([404, code]);
      expect((await registry.call('HEAD', `/v2/${name}/${path}`)).status).toBe(404);
    }
  });

  it.each(['manifests/sha256:baddigeststring', `manifests/sha512:${'a'.repeat(128)}`, 'blobs/sha256:baddigeststring'])(
    'answers 400 to %s (D8)',
    async (path) => {
      expect(await outcomeOf(await registry.call('GET', `/v2/${registry.fresh()}/${path}`))).toEqual([400, 'DIGEST_INVALID']);
    },
  );

  it.each([
    ['bytes=0-0', 206, '0'],
    ['bytes=0-', 206, '0123456789'],
    ['bytes=9-9', 206, '9'],
    ['bytes=-20', 206, '0123456789'],
    ['bytes=5-0', 416, undefined],
    ['bytes=20-30', 416, undefined],
    ['bytes=-0', 416, undefined],
    ['bytes=0-1,3-4', 200, '0123456789'],
  ])('answers the range %s with %i (D8)', async (range, status, text) => {
    const repository = registry.fresh();
    await registry.pushBlob(repository, BYTES);
    const answer = await registry.call('GET', `/v2/${repository}/blobs/${DIGEST}`, { headers: { range } });
    expect(answer.status).toBe(status);
    if (text === undefined) expect(answer.headers.get('content-range')).toBe('bytes */10');
    else expect([answer.headers.get('content-length'), await answer.text()]).toEqual([String(text.length), text]);
  });
});

describe('push', () => {
  it('takes a blob as a stream without a length (D8)', async () => {
    const repository = registry.fresh();
    const location = await registry.begin(repository);
    const body = new ReadableStream({
      start(controller) {
        for (const byte of BYTES) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const streamed = await registry.call('PATCH', location, { body, duplex: 'half' });
    expect([streamed.status, streamed.headers.get('range')]).toEqual([202, '0-9']);
    expect((await registry.call('PUT', `${location}?digest=${encodeURIComponent(DIGEST)}`)).status).toBe(201);
    expect(await (await registry.call('GET', `/v2/${repository}/blobs/${DIGEST}`)).text()).toBe(String(BYTES));
  });

  it('takes the last chunk with the end, and gives the place of the blob (D8)', async () => {
    const location = await registry.begin(registry.fresh());
    expect((await registry.sendChunk(location, BYTES.subarray(0, 4), { from: 0 })).status).toBe(202);
    const ended = await registry.sendChunk(location, BYTES.subarray(4), { from: 4, digest: DIGEST });
    expect(ended.status).toBe(201);
    expect(await (await registry.call('GET', ended.headers.get('location') ?? '')).text()).toBe(String(BYTES));
  });

  it.each([
    ['the first chunk out of order', 0, 4, {}],
    ['a chunk that came before', 4, 0, {}],
    ['a last chunk out of order', 4, 6, { digest: DIGEST }],
  ])('answers %s with 416 and goes on where it was (D8)', async (_name, had, from, ending) => {
    const repository = registry.fresh();
    const location = await registry.begin(repository);
    if (had > 0) await registry.sendChunk(location, BYTES.subarray(0, had), { from: 0 });
    const refused = await registry.sendChunk(location, BYTES.subarray(from, from + 4), { from, ...ending });
    expect([refused.status, refused.headers.get('location')]).toEqual([416, location]);
    const status = await registry.call('GET', location);
    expect([status.status, status.headers.get('range'), status.headers.get('location')]).toEqual([
      204,
      `0-${Math.max(0, had - 1)}`,
      location,
    ]);
    expect((await registry.sendChunk(location, BYTES.subarray(had), { from: had })).status).toBe(202);
    expect((await registry.call('PUT', `${location}?digest=${DIGEST}`)).status).toBe(201);
    expect((await registry.call('GET', location)).status).toBe(404);
  });

  it('refuses a chunk whose range is not that of its bytes, and keeps the upload (D8)', async () => {
    const location = await registry.begin(registry.fresh());
    for (const range of ['0-3', 'x-y', '3-0']) {
      expect(await outcomeOf(await registry.send('PATCH', location, BYTES, { 'content-range': range }))).toEqual([400, 'SIZE_INVALID']);
    }
    expect((await registry.call('PUT', `${location}?digest=${DIGEST}`, { body: BYTES })).status).toBe(201);
  });

  it.each(['', '?digest=', '?digest=sha256:abc', `?digest=sha512:${'a'.repeat(128)}`, `?digest=${DIGEST.toUpperCase()}`])(
    'does not end an upload with "%s" for a digest, and keeps it (D8)',
    async (query) => {
      const location = await registry.begin(registry.fresh());
      await registry.sendChunk(location, BYTES, { from: 0 });
      expect(await outcomeOf(await registry.call('PUT', `${location}${query}`))).toEqual([400, 'DIGEST_INVALID']);
      expect((await registry.call('PUT', `${location}?digest=${DIGEST}`)).status).toBe(201);
    },
  );

  it('answers bytes of another digest with 400, however they came (D8)', async () => {
    const repository = registry.fresh();
    const ends = [
      () => registry.send('POST', `/v2/${repository}/blobs/uploads/?digest=${NOWHERE}`, BYTES),
      async () => registry.send('PUT', `${await registry.begin(repository)}?digest=${NOWHERE}`, BYTES),
      async () => {
        const location = await registry.begin(repository);
        await registry.sendChunk(location, BYTES, { from: 0 });
        return registry.call('PUT', `${location}?digest=${NOWHERE}`);
      },
    ];
    for (const end of ends) expect(await outcomeOf(await end())).toEqual([400, 'DIGEST_INVALID']);
    expect((await registry.call('HEAD', `/v2/${repository}/blobs/${NOWHERE}`)).status).toBe(404);
    expect((await registry.call('HEAD', `/v2/${repository}/blobs/${DIGEST}`)).status).toBe(404);
  });

  it('takes an empty blob (D8)', async () => {
    const repository = registry.fresh();
    const location = await registry.pushBlob(repository, Buffer.of());
    const [head, get] = [await registry.call('HEAD', location), await registry.call('GET', location)];
    expect([head.status, head.headers.get('content-length'), get.status, await get.text()]).toEqual([200, '0', 200, '']);
  });

  it('begins an upload where a mount names no repository, or none that has the blob (D8)', async () => {
    const source = registry.fresh();
    await registry.pushBlob(source, BYTES);
    for (const query of [
      `mount=${DIGEST}`,
      `mount=${DIGEST}&from=${registry.fresh()}`,
      `mount=${NOWHERE}&from=${source}`,
      `mount=${NOWHERE}`,
      `from=${source}`,
    ]) {
      const target = registry.fresh();
      const answer = await registry.call('POST', `/v2/${target}/blobs/uploads/?${query}`);
      const location = answer.headers.get('location') ?? '';
      expect([query, answer.status, location.startsWith(`/v2/${target}/blobs/uploads/`)]).toEqual([query, 202, true]);
      expect((await registry.send('PUT', `${location}?digest=${DIGEST}`, BYTES)).status).toBe(201);
    }
    const target = registry.fresh();
    const mounted = await registry.call('POST', `/v2/${target}/blobs/uploads/?mount=${DIGEST}&from=${source}`);
    expect([mounted.status, mounted.headers.get('location')]).toEqual([201, `/v2/${target}/blobs/${DIGEST}`]);
  });

  it('gives the place of a manifest, takes it again, and under more tags (D8)', async () => {
    const repository = registry.fresh();
    const { manifest, digest } = await registry.pushImage(repository, ['v1', 'v2', 'v1']);
    const again = await registry.putManifest([repository, 'v3'], manifest);
    expect([again.status, again.headers.get('location')]).toEqual([201, `/v2/${repository}/manifests/${digest}`]);
    const served = await registry.call('GET', again.headers.get('location') ?? '');
    expect([served.headers.get('content-type'), Buffer.from(await served.arrayBuffer()).equals(manifest)]).toEqual([
      MEDIA_TYPES.manifest,
      true,
    ]);
    const moved = composeImage([]);
    await registry.pushBlob(repository, moved.config);
    await registry.putManifest([repository, 'v1'], moved.manifest);
    expect((await registry.call('HEAD', `/v2/${repository}/manifests/v1`)).headers.get('docker-content-digest')).toBe(moved.digest);
    expect((await registry.call('HEAD', `/v2/${repository}/manifests/v2`)).headers.get('docker-content-digest')).toBe(digest);
  });

  it('refuses a manifest whose config, layer or platform it does not have, even if another repository has it (D8)', async () => {
    const { manifest, blobs } = await registry.pushImage(registry.fresh(), []);
    for (const missing of blobs) {
      const repository = registry.fresh();
      for (const bytes of blobs) if (bytes !== missing) await registry.pushBlob(repository, bytes);
      expect(await outcomeOf(await registry.putManifest([repository, 'v1'], manifest))).toEqual([400, 'MANIFEST_BLOB_UNKNOWN']);
      expect((await registry.call('HEAD', `/v2/${repository}/manifests/v1`)).status).toBe(404);
    }
    const manifests = [describeBytes(MEDIA_TYPES.manifest, manifest)];
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }));
    expect(await outcomeOf(await registry.putManifest([registry.fresh(), 'v1'], index, MEDIA_TYPES.index))).toEqual([
      400,
      'MANIFEST_BLOB_UNKNOWN',
    ]);
  });

  it('takes a manifest of almost four megabytes, an empty index, and fields that it does not know (D8)', async () => {
    const repository = registry.fresh();
    const annotations = Object.fromEntries(Array.from({ length: 390 }, (_, n) => [`large-${n}`, 'A'.repeat(10_000)]));
    await registry.pushImage(repository, ['large'], { annotations });
    const layer = { ...describeBytes(MEDIA_TYPES.layerTar, Buffer.from('layer')), data: Buffer.from('layer').toString('base64') };
    await registry.pushImage(repository, ['custom'], { 'org.example': { custom: [1, null] }, layers: [layer] });
    const empty = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [] }));
    expect((await registry.putManifest([repository, 'empty'], empty, MEDIA_TYPES.index)).status).toBe(201);
  });
});
