import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { type Digest, digestOf } from '../../src/oci/digest.js';

export interface OpenedRegistry {
  /** `http://HOST:PORT`. */
  readonly url: string;
  /** Deletion of these is refused from now on. */
  protect(digest: Digest): void;
  /** A repository name that the registry keeps for itself. */
  readonly reserved: string;
  /** Sent with requests that may only pull. */
  readonly pullOnly: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

interface Artifact {
  readonly bytes: Buffer;
  readonly digest: Digest;
}

function artifact(text: string): Artifact {
  const bytes = Buffer.from(text);
  return { bytes, digest: digestOf(bytes) };
}

/** What every OCI registry of ours must do (distribution-spec 1.1), over HTTP only. */
export function describeRegistry(name: string, open: () => Promise<OpenedRegistry>): void {
  describe(`${name} registry`, () => {
    let registry: OpenedRegistry;
    beforeEach(async () => {
      registry = await open();
    });
    afterEach(() => registry.close());

    const call = (method: string, path: string, init: RequestInit = {}) =>
      fetch(new URL(path, registry.url), { method, redirect: 'manual', ...init });
    const post = async (path: string) => (await call('POST', path)).headers.get('location') ?? '';
    const codesOf = async (response: Response) =>
      ((await response.json()) as { errors: { code: string }[] }).errors.map(({ code }) => code);

    async function pushBlob(repository: string, text: string): Promise<Artifact> {
      const blob = artifact(text);
      const response = await call('POST', `/v2/${repository}/blobs/uploads/?digest=${blob.digest}`, { body: blob.bytes });
      expect(response.status).toBe(201);
      return blob;
    }

    async function pushImage(repository: string, reference: string | null, more: object = {}): Promise<Artifact> {
      const config = await pushBlob(repository, '{}');
      const layer = await pushBlob(repository, `layer of ${repository}`);
      const describe = (mediaType: string, { bytes, digest }: Artifact) => ({ mediaType, digest, size: bytes.length });
      const manifest = {
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.manifest,
        config: describe(MEDIA_TYPES.config, config),
        layers: [describe(MEDIA_TYPES.layerTar, layer)],
        ...more,
      };
      const pushed = artifact(JSON.stringify(manifest));
      const response = await call('PUT', `/v2/${repository}/manifests/${reference ?? pushed.digest}`, {
        body: pushed.bytes,
        headers: { 'content-type': MEDIA_TYPES.manifest },
      });
      expect(response.status).toBe(201);
      expect(response.headers.get('docker-content-digest')).toBe(pushed.digest);
      return pushed;
    }

    it('answers the version check', async () => {
      const response = await call('GET', '/v2/');
      expect(response.status).toBe(200);
      expect(response.headers.get('docker-distribution-api-version')).toBe('registry/2.0');
    });

    it('gives back a blob that was pushed whole, by POST or by POST and PUT', async () => {
      const first = await pushBlob('a/b', 'hello');
      const second = artifact('world');
      const location = await post('/v2/a/b/blobs/uploads/');
      expect(location).toMatch(/^\/v2\/a\/b\/blobs\/uploads\//);
      expect((await call('PUT', `${location}?digest=${second.digest}`, { body: second.bytes })).status).toBe(201);
      for (const { bytes, digest } of [first, second]) {
        const response = await call('GET', `/v2/a/b/blobs/${digest}`);
        expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes);
        expect(response.headers.get('docker-content-digest')).toBe(digest);
        const head = await call('HEAD', `/v2/a/b/blobs/${digest}`);
        expect([head.status, head.headers.get('content-length')]).toEqual([200, String(bytes.length)]);
      }
    });

    it('takes a blob in chunks and tells how far it is', async () => {
      const { bytes, digest } = artifact('0123456789');
      const location = await post('/v2/a/blobs/uploads/');
      const chunk = (from: number, to: number) =>
        call('PATCH', location, { body: bytes.subarray(from, to), headers: { 'content-range': `${from}-${to - 1}` } });
      expect((await chunk(0, 4)).headers.get('range')).toBe('0-3');
      expect((await chunk(4, 7)).status).toBe(202);
      const status = await call('GET', location);
      expect([status.status, status.headers.get('range')]).toEqual([204, '0-6']);
      expect((await call('PUT', `${location}?digest=${digest}`, { body: bytes.subarray(7) })).status).toBe(201);
      expect(await (await call('GET', `/v2/a/blobs/${digest}`)).text()).toBe('0123456789');
    });

    it('refuses a chunk out of order with 416 and tells where to go on', async () => {
      const location = await post('/v2/a/blobs/uploads/');
      await call('PATCH', location, { body: 'abc', headers: { 'content-range': '0-2' } });
      const refused = await call('PATCH', location, { body: 'xyz', headers: { 'content-range': '5-7' } });
      expect([refused.status, refused.headers.get('range'), refused.headers.get('location')]).toEqual([416, '0-2', location]);
    });

    it('refuses bytes that are not of the digest, and keeps nothing', async () => {
      const { digest } = artifact('right');
      const response = await call('POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: 'wrong' });
      expect([response.status, await codesOf(response)]).toEqual([400, ['DIGEST_INVALID']]);
      expect((await call('HEAD', `/v2/a/blobs/${digest}`)).status).toBe(404);
      const malformed = await call('GET', '/v2/a/blobs/sha256:abc');
      expect([malformed.status, await codesOf(malformed)]).toEqual([400, ['DIGEST_INVALID']]);
    });

    it('forgets a cancelled upload', async () => {
      const location = await post('/v2/a/blobs/uploads/');
      expect((await call('DELETE', location)).status).toBe(204);
      const gone = await call('GET', location);
      expect(gone.status).toBe(404);
      const patched = await call('PATCH', location, { body: 'x' });
      expect(await codesOf(patched)).toEqual(['BLOB_UPLOAD_UNKNOWN']);
    });

    it('mounts a blob of another repository, and starts an upload when there is none', async () => {
      const { digest } = await pushBlob('from/here', 'shared');
      expect((await call('HEAD', `/v2/to/there/blobs/${digest}`)).status).toBe(404);
      expect((await call('POST', `/v2/to/there/blobs/uploads/?mount=${digest}&from=from/here`)).status).toBe(201);
      expect((await call('HEAD', `/v2/to/there/blobs/${digest}`)).status).toBe(200);
      const unknown = artifact('unknown').digest;
      expect((await call('POST', `/v2/to/there/blobs/uploads/?mount=${unknown}&from=from/here`)).status).toBe(202);
    });

    it.each([
      ['bytes=2-4', 206, 'bytes 2-4/10', '234'],
      ['bytes=7-', 206, 'bytes 7-9/10', '789'],
      ['bytes=-2', 206, 'bytes 8-9/10', '89'],
      ['bytes=8-99', 206, 'bytes 8-9/10', '89'],
      ['bytes=10-', 416, 'bytes */10', undefined],
      ['lines=1-2', 200, null, '0123456789'],
    ])('answers the range %s with %i', async (range, status, contentRange, text) => {
      const { digest } = await pushBlob('a', '0123456789');
      const response = await call('GET', `/v2/a/blobs/${digest}`, { headers: { range } });
      expect([response.status, response.headers.get('content-range')]).toEqual([status, contentRange]);
      const body = await response.text();
      if (text !== undefined) expect(body).toBe(text);
    });

    it('keeps uploads apart that run at the same time', async () => {
      const texts = Array.from({ length: 12 }, (_, index) => `${index}`.repeat(200_000));
      const digests = await Promise.all(
        [...texts, ...texts].map(async (text) => {
          const { bytes, digest } = artifact(text);
          const location = await post('/v2/many/blobs/uploads/');
          const middle = bytes.length / 2;
          await call('PATCH', location, { body: bytes.subarray(0, middle) });
          expect((await call('PUT', `${location}?digest=${digest}`, { body: bytes.subarray(middle) })).status).toBe(201);
          return digest;
        }),
      );
      for (const [index, digest] of digests.slice(0, texts.length).entries()) {
        expect(digestOf(Buffer.from(await (await call('GET', `/v2/many/blobs/${digest}`)).arrayBuffer()))).toBe(
          artifact(texts[index] ?? '').digest,
        );
      }
    });

    it('serves a manifest by tag and by digest, byte for byte', async () => {
      const { bytes, digest } = await pushImage('a/image', 'v1');
      for (const reference of ['v1', digest]) {
        const response = await call('GET', `/v2/a/image/manifests/${reference}`);
        expect(response.headers.get('content-type')).toBe(MEDIA_TYPES.manifest);
        expect(response.headers.get('docker-content-digest')).toBe(digest);
        expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes);
      }
      expect((await call('HEAD', '/v2/a/image/manifests/v1')).headers.get('content-length')).toBe(String(bytes.length));
      expect(await codesOf(await call('GET', '/v2/a/image/manifests/v2'))).toEqual(['MANIFEST_UNKNOWN']);
    });

    it('refuses a manifest whose parts are missing, that is damaged, or is too large', async () => {
      const { digest } = artifact('nowhere');
      const part = { mediaType: MEDIA_TYPES.config, digest, size: 7 };
      const put = (body: string) => call('PUT', '/v2/a/manifests/v1', { body, headers: { 'content-type': MEDIA_TYPES.manifest } });
      expect(await codesOf(await put(JSON.stringify({ schemaVersion: 2, config: part, layers: [] })))).toEqual(['MANIFEST_BLOB_UNKNOWN']);
      expect(await codesOf(await put('not json'))).toEqual(['MANIFEST_INVALID']);
      expect((await put(' '.repeat(4 * 1024 * 1024 + 1))).status).toBe(413);
      expect((await call('GET', '/v2/a/manifests/v1')).status).toBe(404);
    });

    it('refuses a manifest under a digest that is not its own', async () => {
      const response = await call('PUT', `/v2/a/manifests/${artifact('other').digest}`, { body: '{}' });
      expect(await codesOf(response)).toEqual(['DIGEST_INVALID']);
    });

    it('lists tags in order and in pages', async () => {
      for (const tag of ['v2', 'a', 'V1', 'v10']) await pushImage('tagged', tag);
      expect(await (await call('GET', '/v2/tagged/tags/list')).json()).toEqual({ name: 'tagged', tags: ['V1', 'a', 'v10', 'v2'] });
      const first = await call('GET', '/v2/tagged/tags/list?n=3');
      expect(((await first.json()) as { tags: string[] }).tags).toEqual(['V1', 'a', 'v10']);
      const next = /^<([^>]+)>; rel="next"$/.exec(first.headers.get('link') ?? '')?.[1] ?? '';
      const second = await call('GET', next);
      expect(((await second.json()) as { tags: string[] }).tags).toEqual(['v2']);
      expect(second.headers.get('link')).toBeNull();
      expect(((await (await call('GET', '/v2/tagged/tags/list?n=0')).json()) as { tags: string[] }).tags).toEqual([]);
      expect(await codesOf(await call('GET', '/v2/unknown/tags/list'))).toEqual(['NAME_UNKNOWN']);
    });

    it('lists repositories', async () => {
      await pushImage('b', 'v1');
      await pushImage('b/below', 'v1');
      await pushImage('a', 'v1');
      expect(await (await call('GET', '/v2/_catalog')).json()).toEqual({ repositories: ['a', 'b', 'b/below'] });
    });

    it('lists what refers to a manifest, by kind if asked', async () => {
      const image = await pushImage('r', 'v1');
      const subject = { mediaType: MEDIA_TYPES.manifest, digest: image.digest, size: image.bytes.length };
      const sbom = await pushImage('r', null, { subject, artifactType: 'application/sbom', annotations: { by: 'test' } });
      const signature = await pushImage('r', null, { subject, artifactType: 'application/signature' });
      const list = async (query: string) => {
        const response = await call('GET', `/v2/r/referrers/${image.digest}${query}`);
        expect(response.headers.get('content-type')).toBe(MEDIA_TYPES.index);
        return { response, index: (await response.json()) as { manifests: { digest: string; annotations?: object }[] } };
      };
      expect((await list('')).index.manifests.map(({ digest }) => digest).sort()).toEqual([sbom.digest, signature.digest].sort());
      const filtered = await list('?artifactType=application/sbom');
      expect(filtered.response.headers.get('oci-filters-applied')).toBe('artifactType');
      expect(filtered.index.manifests).toMatchObject([
        { digest: sbom.digest, artifactType: 'application/sbom', annotations: { by: 'test' } },
      ]);
      await call('DELETE', `/v2/r/manifests/${sbom.digest}`);
      expect((await list('')).index.manifests.map(({ digest }) => digest)).toEqual([signature.digest]);
    });

    it('names the subject of a manifest in its answer, even of one that is not there', async () => {
      const config = await pushBlob('r', '{}');
      const subject = { mediaType: MEDIA_TYPES.manifest, digest: artifact('later').digest, size: 5 };
      const part = { mediaType: MEDIA_TYPES.config, digest: config.digest, size: 2 };
      const body = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config: part, layers: [], subject });
      const response = await call('PUT', '/v2/r/manifests/ref', { body, headers: { 'content-type': MEDIA_TYPES.manifest } });
      expect(response.headers.get('oci-subject')).toBe(subject.digest);
    });

    it('deletes tags, manifests and blobs', async () => {
      const { digest } = await pushImage('d', 'v1');
      await pushImage('d', 'v2');
      expect((await call('DELETE', '/v2/d/manifests/v1')).status).toBe(202);
      expect((await call('GET', '/v2/d/manifests/v1')).status).toBe(404);
      expect((await call('DELETE', `/v2/d/manifests/${digest}`)).status).toBe(202);
      expect((await call('GET', '/v2/d/manifests/v2')).status).toBe(404);
      const blob = await pushBlob('d', 'gone soon');
      expect((await call('DELETE', `/v2/d/blobs/${blob.digest}`)).status).toBe(202);
      const again = await call('DELETE', `/v2/d/blobs/${blob.digest}`);
      expect([again.status, await codesOf(again)]).toEqual([404, ['BLOB_UNKNOWN']]);
    });

    it('keeps the bytes of a deleted blob that another repository has', async () => {
      const { digest } = await pushBlob('one', 'shared');
      await pushBlob('two', 'shared');
      await call('DELETE', `/v2/one/blobs/${digest}`);
      expect((await call('GET', `/v2/one/blobs/${digest}`)).status).toBe(404);
      expect(await (await call('GET', `/v2/two/blobs/${digest}`)).text()).toBe('shared');
    });

    it('refuses with 409 to delete what a release needs', async () => {
      const blob = await pushBlob('d', 'precious');
      const image = await pushImage('d', 'v1');
      registry.protect(blob.digest);
      registry.protect(image.digest);
      for (const path of [`/v2/d/blobs/${blob.digest}`, `/v2/d/manifests/${image.digest}`]) {
        expect((await call('DELETE', path)).status).toBe(409);
        expect((await call('GET', path)).status).toBe(200);
      }
    });

    it.each(['UPPER', 'a//b', '-a', '.a', 'a%2F..%2Fb'])('refuses the name %s', async (repository) => {
      const response = await call('POST', `/v2/${repository}/x%2F/blobs/uploads/`);
      expect([response.status, await codesOf(response)]).toEqual([400, ['NAME_INVALID']]);
    });

    it('refuses names it keeps for itself, also as the source of a mount', async () => {
      expect(await codesOf(await call('POST', `/v2/${registry.reserved}/blobs/uploads/`))).toEqual(['NAME_INVALID']);
      const mount = `/v2/a/blobs/uploads/?mount=${artifact('x').digest}&from=${registry.reserved}`;
      expect(await codesOf(await call('POST', mount))).toEqual(['NAME_INVALID']);
    });

    it('refuses writes of those who may only pull', async () => {
      const { digest } = await pushBlob('a', 'x');
      const headers = registry.pullOnly;
      const refused = await call('POST', '/v2/a/blobs/uploads/', { headers });
      expect([refused.status, await codesOf(refused)]).toEqual([403, ['DENIED']]);
      expect((await call('GET', `/v2/a/blobs/${digest}`, { headers })).status).toBe(200);
    });

    it('answers other methods and paths with the errors of the spec', async () => {
      expect(await codesOf(await call('PUT', '/v2/a/tags/list'))).toEqual(['UNSUPPORTED']);
      expect((await call('GET', '/v2/a/nothing')).status).toBe(404);
    });
  });
}
