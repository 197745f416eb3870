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

interface Listed {
  readonly digest: string;
  readonly artifactType?: string;
}

describe('content discovery', () => {
  const TAGS = ['a', 'b', 'c', 'd'];
  const listTags = async (repository: string, query: string) => {
    const answer = await registry.call('GET', `/v2/${repository}/tags/list${query}`);
    return { tags: ((await answer.json()) as { tags: string[] }).tags, link: answer.headers.get('link') };
  };

  it.each([
    ['', TAGS, false],
    ['?n=0', [], false],
    ['?n=2', ['a', 'b'], true],
    ['?n=4', TAGS, false],
    ['?n=100', TAGS, false],
    ['?last=b', ['c', 'd'], false],
    ['?last=bb', ['c', 'd'], false],
    ['?last=d', [], false],
    ['?last=z', [], false],
    ['?n=1&last=b', ['c'], true],
    ['?n=2&last=b', ['c', 'd'], false],
    ['?n=0&last=b', [], false],
  ])('lists tags with "%s" (D8)', async (query, tags, hasMore) => {
    const repository = registry.fresh();
    await registry.pushImage(repository, TAGS);
    const listed = await listTags(repository, query);
    expect(listed.tags).toEqual(tags);
    expect(listed.link !== null).toBe(hasMore);
    if (listed.link) expect(listed.link).toContain(`last=${tags.at(-1)}`);
  });

  it('lists all tags once, page after page (D8)', async () => {
    const repository = registry.fresh();
    await registry.pushImage(repository, TAGS);
    const seen: string[] = [];
    let next: string | undefined = '?n=3';
    while (next !== undefined) {
      const { tags, link } = await listTags(repository, next);
      seen.push(...tags);
      next = link === null ? undefined : `?${/\?([^>]*)>/.exec(link)?.[1]}`;
    }
    expect(seen).toEqual(TAGS);
  });

  it.each(['n=-1', 'n=x', 'n=1.5', 'n='])('refuses a page of %s tags (D8)', async (query) => {
    const repository = registry.fresh();
    await registry.pushImage(repository, ['v1']);
    expect((await registry.call('GET', `/v2/${repository}/tags/list?${query}`)).status).toBe(400);
  });

  it('knows a repository without tags from one that is not (D8)', async () => {
    const repository = registry.fresh();
    await registry.pushImage(repository, []);
    expect(await (await registry.call('GET', `/v2/${repository}/tags/list`)).json()).toEqual({ name: repository, tags: [] });
    expect(await outcomeOf(await registry.call('GET', `/v2/${registry.fresh()}/tags/list`))).toEqual([404, 'NAME_UNKNOWN']);
  });

  const listReferrers = async (repository: string, digest: string, query = '') => {
    const answer = await registry.call('GET', `/v2/${repository}/referrers/${digest}${query}`);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, MEDIA_TYPES.index]);
    const index = (await answer.json()) as { schemaVersion: number; mediaType: string; manifests: Listed[] };
    expect(index).toMatchObject({ schemaVersion: 2, mediaType: MEDIA_TYPES.index });
    return { manifests: index.manifests, filters: answer.headers.get('oci-filters-applied') };
  };

  it('lists nothing that refers to what is not there, in repositories that are and that are not (D8)', async () => {
    const repository = registry.fresh();
    await registry.pushImage(repository, []);
    for (const name of [repository, registry.fresh()]) expect(await listReferrers(name, NOWHERE)).toEqual({ manifests: [], filters: null });
    expect(await outcomeOf(await registry.call('GET', `/v2/${repository}/referrers/sha256:abc`))).toEqual([400, 'DIGEST_INVALID']);
  });

  it('lists what refers to an image before and after it is there, artifacts and indexes, with their kinds (D8)', async () => {
    const repository = registry.fresh();
    const image = composeImage([]);
    const subject = describeBytes(MEDIA_TYPES.manifest, image.manifest);
    const annotations = { 'org.example': 'x' };
    await registry.pushBlob(repository, image.config);
    const put = async (type: string, fields: object) => {
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, subject, annotations, ...fields }));
      const answer = await registry.putManifest([repository, digestOf(bytes)], bytes, type);
      expect([answer.status, answer.headers.get('oci-subject')]).toEqual([201, image.digest]);
      return describeBytes(type, bytes);
    };
    const artifact = { config: describeBytes('application/vnd.example.config', image.config), layers: [] };
    const early = {
      ...(await put(MEDIA_TYPES.manifest, { ...artifact, artifactType: 'application/sbom' })),
      artifactType: 'application/sbom',
    };
    expect((await listReferrers(repository, image.digest)).manifests).toEqual([{ ...early, annotations }]);
    expect((await registry.putManifest([repository, 'v1'], image.manifest)).headers.get('oci-subject')).toBeNull();
    const byConfig = { ...(await put(MEDIA_TYPES.manifest, artifact)), artifactType: 'application/vnd.example.config' };
    const index = {
      ...(await put(MEDIA_TYPES.index, { manifests: [], artifactType: 'application/list' })),
      artifactType: 'application/list',
    };
    const all = [early, byConfig, index];
    const byDigest = (listed: readonly Listed[]) => listed.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
    expect((await listReferrers(repository, image.digest)).manifests).toEqual(byDigest(all).map((each) => ({ ...each, annotations })));
    for (const each of all) {
      expect(await listReferrers(repository, image.digest, `?artifactType=${each.artifactType}`)).toEqual({
        manifests: [{ ...each, annotations }],
        filters: 'artifactType',
      });
    }
    expect(await listReferrers(repository, image.digest, '?artifactType=none')).toEqual({ manifests: [], filters: 'artifactType' });
  });
});

describe('content management', () => {
  it('deletes a tag and leaves the manifest, deletes the manifest with its tags, then blobs; each once (D8)', async () => {
    const repository = registry.fresh();
    const { digest, blobs } = await registry.pushImage(repository, ['v1', 'v2', 'v3']);
    const isThere = async (path: string) => (await registry.call('HEAD', `/v2/${repository}/${path}`)).status;
    const remove = (path: string) => registry.call('DELETE', `/v2/${repository}/${path}`);
    expect((await remove('manifests/v1')).status).toBe(202);
    expect(await Promise.all(['manifests/v1', 'manifests/v2', `manifests/${digest}`].map(isThere))).toEqual([404, 200, 200]);
    expect(await outcomeOf(await remove('manifests/v1'))).toEqual([404, 'MANIFEST_UNKNOWN']);
    expect((await remove(`manifests/${digest}`)).status).toBe(202);
    expect(await Promise.all(['manifests/v2', 'manifests/v3', `manifests/${digest}`].map(isThere))).toEqual([404, 404, 404]);
    expect(await outcomeOf(await remove(`manifests/${digest}`))).toEqual([404, 'MANIFEST_UNKNOWN']);
    for (const path of blobs.map((bytes) => `blobs/${digestOf(bytes)}`)) {
      expect([(await remove(path)).status, await isThere(path)]).toEqual([202, 404]);
      expect(await outcomeOf(await remove(path))).toEqual([404, 'BLOB_UNKNOWN']);
    }
  });

  it('refuses to delete what has no digest or tag for a name (D8)', async () => {
    const repository = registry.fresh();
    await registry.pushImage(repository, ['v1']);
    expect(await outcomeOf(await registry.call('DELETE', `/v2/${repository}/blobs/sha256:abc`))).toEqual([400, 'DIGEST_INVALID']);
    expect(await outcomeOf(await registry.call('DELETE', `/v2/${repository}/manifests/sha256:abc`))).toEqual([400, 'DIGEST_INVALID']);
    expect(await outcomeOf(await registry.call('DELETE', `/v2/${registry.fresh()}/manifests/v1`))).toEqual([404, 'MANIFEST_UNKNOWN']);
  });

  it('cancels an upload (D8)', async () => {
    const location = await registry.begin(registry.fresh());
    await registry.sendChunk(location, BYTES, { from: 0 });
    expect((await registry.call('DELETE', location)).status).toBe(204);
    for (const method of ['GET', 'DELETE', 'PATCH'])
      expect(await outcomeOf(await registry.call(method, location))).toEqual([404, 'BLOB_UPLOAD_UNKNOWN']);
    expect(await outcomeOf(await registry.call('PUT', `${location}?digest=${DIGEST}`))).toEqual([404, 'BLOB_UPLOAD_UNKNOWN']);
  });

  it('takes again what was deleted (D8)', async () => {
    const repository = registry.fresh();
    const { digest } = await registry.pushImage(repository, ['v1']);
    expect((await registry.call('DELETE', `/v2/${repository}/manifests/${digest}`)).status).toBe(202);
    expect((await registry.call('DELETE', `/v2/${repository}/blobs/${digestOf('layer')}`)).status).toBe(202);
    await registry.pushImage(repository, ['v1']);
    expect((await registry.call('GET', `/v2/${repository}/manifests/v1`)).status).toBe(200);
  });
});
