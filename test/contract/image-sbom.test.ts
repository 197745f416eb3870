import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { attachSbom, findSbom, hasSbom } from '../../src/cli/image-sbom.js';
import { type OpenRepository, openBuiltImage } from '../../src/cli/image-source.js';
import { readKnownPackages } from '../../src/image/known-packages.js';
import { makeSbom } from '../../src/image/sbom.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { openLayout } from '../../src/oci/layout.js';
import type { Manifest } from '../../src/oci/manifest.js';
import { createRegistryClient, type RegistryClient } from '../../src/registry/client.js';
import { pushMade, tarOf } from '../made-image.js';
import { listen, openRegistryServer } from './registry-server.js';

const NO_MEMORY = { get: async () => undefined, put: async () => {} };

type Registry = Awaited<ReturnType<typeof openRegistryServer>>;
/** True when the request was answered and must not reach the registry. */
type Gate = (request: IncomingMessage, response: ServerResponse) => boolean;

const TYPE = 'application/vnd.cyclonedx+json';
const SBOM = '{"bomFormat":"CycloneDX"}';

let registry: Registry;
let closers: (() => Promise<void>)[];
beforeEach(async () => {
  registry = await openRegistryServer();
  closers = [registry.close];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

async function clientBehind(gate: Gate = () => false): Promise<RegistryClient> {
  const server = await listen((request, response) => {
    if (!gate(request, response)) void registry.handle(request, response, { canPush: true });
  });
  const client = createRegistryClient({ registry: server.host, log: silentLog, retryDelayMs: 1 });
  closers.push(server.close, () => client.close());
  return client;
}

const withoutReferrers: Gate = (request, response) => {
  const isAsked = request.url?.includes('/referrers/') === true;
  if (isAsked) response.writeHead(404).end();
  return isAsked;
};

/** Nor does a registry without such lists say under which subject it has a manifest. */
function withoutSubjects(client: RegistryClient): RegistryClient {
  const putManifest: RegistryClient['putManifest'] = async (...call) => {
    await client.putManifest(...call);
    return { subject: undefined };
  };
  return { ...client, putManifest };
}

async function openImage(gate?: Gate) {
  const client = gate === withoutReferrers ? withoutSubjects(await clientBehind(gate)) : await clientBehind(gate);
  const image = await pushMade(client, ['acme/a', '1.0.0'], { tars: [await tarOf([{ name: 'a' }])] });
  const repository: OpenRepository = { client, name: 'acme/a' };
  return { repository, image };
}

describe.each<[string, Gate | undefined]>([
  ['that lists referrers', undefined],
  ['that does not list referrers', withoutReferrers],
])('a registry %s', (_, gate) => {
  it('keeps an SBOM and gives it back', async () => {
    const { repository, image } = await openImage(gate);
    expect(await findSbom(repository, image.digest)).toBeUndefined();
    const { isTagged } = await attachSbom(repository, image, SBOM);
    expect(isTagged).toBe(gate !== undefined);
    expect(await findSbom(repository, image.digest)).toEqual({ bomFormat: 'CycloneDX' });
  });

  it('has one SBOM when the same is attached twice', async () => {
    const { repository, image } = await openImage(gate);
    const first = await attachSbom(repository, image, SBOM);
    expect(await attachSbom(repository, image, SBOM)).toEqual(first);
    const index = await repository.client.getManifest('acme/a', image.digest.replace(':', '-')).catch(() => undefined);
    if (gate) expect(JSON.parse(Buffer.from(index?.bytes ?? []).toString()).manifests).toHaveLength(1);
    else expect(await repository.client.listReferrers('acme/a', image.digest)).toHaveLength(1);
  });
});

it('makes an SBOM out of the layers of a build', async () => {
  const { repository } = await openImage();
  const dir = mkdtempSync(join(tmpdir(), 'wherry-layout-'));
  closers.push(async () => rmSync(dir, { recursive: true }));
  const layout = await openLayout(dir);
  const image = await repository.client.getManifest('acme/a', '1.0.0');
  const { config, layers } = JSON.parse(Buffer.from(image.bytes).toString()) as Manifest;
  for (const blob of [config, ...layers]) await layout.writeBlob(repository.client.getBlob('acme/a', blob), blob.digest);
  await layout.putBytes(image.bytes);
  const source = await openBuiltImage(layout, { descriptor: { ...image, size: image.bytes.length }, blobs: [] });
  expect(await hasSbom(repository, image.digest)).toBe(false);
  const text = makeSbom(source, await readKnownPackages(source, { memory: NO_MEMORY }), '1.2.3');
  expect(await attachSbom(repository, source.descriptor, text)).toMatchObject({ isTagged: false });
  expect(await hasSbom(repository, image.digest)).toBe(true);
  expect(await findSbom(repository, image.digest)).toMatchObject({
    specVersion: '1.6',
    metadata: { component: { version: image.digest } },
  });
});

it('writes the manifest as the image-spec has it', async () => {
  const { repository, image } = await openImage();
  const { digest } = await attachSbom(repository, image, SBOM);
  const { bytes, mediaType } = await repository.client.getManifest('acme/a', digest);
  expect(mediaType).toBe(MEDIA_TYPES.manifest);
  expect(JSON.parse(Buffer.from(bytes).toString())).toEqual({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType: TYPE,
    config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: digestOf('{}'), size: 2 },
    layers: [{ mediaType: TYPE, digest: digestOf(SBOM), size: SBOM.length }],
    subject: image,
  });
  expect(await repository.client.listReferrers('acme/a', image.digest)).toEqual([
    { mediaType: MEDIA_TYPES.manifest, digest, size: bytes.length, artifactType: TYPE },
  ]);
});

it('leaves what others attached under the tag', async () => {
  const { repository, image } = await openImage(withoutReferrers);
  await attachSbom(repository, image, SBOM);
  await attachSbom(repository, image, '{"bomFormat":"CycloneDX","version":2}');
  const index = await repository.client.getManifest('acme/a', image.digest.replace(':', '-'));
  expect(JSON.parse(Buffer.from(index.bytes).toString()).manifests).toHaveLength(2);
});

it('does not take an SBOM that belongs to another image, or that is no JSON', async () => {
  const { repository, image } = await openImage(withoutReferrers);
  const other = await pushMade(repository.client, ['acme/a'], { tars: [await tarOf([{ name: 'other' }])] });
  await attachSbom(repository, other, SBOM);
  const foreign = await repository.client.getManifest('acme/a', other.digest.replace(':', '-'));
  await repository.client.putManifest('acme/a', image.digest.replace(':', '-'), foreign.bytes, MEDIA_TYPES.index);
  expect(await findSbom(repository, image.digest)).toBeUndefined();
  const broken = await openImage();
  await attachSbom(broken.repository, broken.image, '{');
  await expect(findSbom(broken.repository, broken.image.digest)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
});

describe('listing tags', () => {
  const TAGS = ['a', 'b', 'c', 'd', 'e'];
  const pushTags = async (client: RegistryClient) => pushMade(client, ['acme/a', ...TAGS], { tars: [await tarOf([{ name: 'a' }])] });

  it('goes on from page to page, on the same registry whatever the link says', async () => {
    const asked: string[] = [];
    const client = await clientBehind((request, response) => {
      if (request.url?.includes('/tags/list') !== true) return false;
      asked.push(request.url);
      const last = new URL(request.url, 'http://registry').searchParams.get('last');
      const page = TAGS.slice(last === null ? 0 : TAGS.indexOf(last) + 1).slice(0, 2);
      const link = { link: `<http://other.example/v2/acme/a/tags/list?n=2&last=${page.at(-1)}>; rel="next"` };
      response.writeHead(200, page.includes('e') ? {} : link).end(JSON.stringify({ name: 'acme/a', tags: page }));
      return true;
    });
    expect(await client.listTags('acme/a')).toEqual(TAGS);
    expect(asked).toHaveLength(3);
  });

  it('gives all tags of our registry, and none of a repository without', async () => {
    const client = await clientBehind();
    await pushTags(client);
    expect(await client.listTags('acme/a')).toEqual(TAGS);
    const empty = await clientBehind((request, response) => {
      const isList = request.url?.includes('/tags/list') === true;
      if (isList) response.writeHead(200).end('{"name":"acme/a","tags":null}');
      return isList;
    });
    expect(await empty.listTags('acme/a')).toEqual([]);
  });

  it('ends with an error for an unknown repository, for nonsense and for a circle', async () => {
    const client = await clientBehind();
    await expect(client.listTags('acme/unknown')).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
    const answering = (body: string, headers = {}) =>
      clientBehind((_, response) => {
        response.writeHead(200, headers).end(body);
        return true;
      });
    await expect((await answering('<html>')).listTags('a')).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' });
    const circle = await answering('{"tags":["a"]}', { link: '</v2/a/tags/list?last=a>; rel="next"' });
    await expect(circle.listTags('a')).rejects.toMatchObject({
      code: 'REGISTRY_UNAVAILABLE',
      message: expect.stringContaining('without an end'),
    });
  });
});
