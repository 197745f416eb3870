import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { openBaseImages } from '../../src/cli/base-image.js';
import { type Descriptor, MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { openLayout } from '../../src/oci/layout.js';
import { createRegistryClient } from '../../src/registry/client.js';
import { createImages } from '../../src/registry/retain.js';
import { describeBytes, keepBlob, openGate } from './registry-gate.js';
import { listen, openRegistryServer } from './registry-server.js';

const CONFIG = Buffer.from('{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}');
const EMPTY = Buffer.from('{}');
const LAYER = Buffer.from('layer');
const config = describeBytes(MEDIA_TYPES.config, CONFIG);
const layer = describeBytes(MEDIA_TYPES.layerTar, LAYER);
const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+json';
const SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
const LIMIT_BYTES = 4 * 1024 * 1024;

/** Where a manifest says that more of it is; nobody should ask there. */
let elsewhere: Awaited<ReturnType<typeof listen>>;
const askedElsewhere: string[] = [];
let own: Awaited<ReturnType<typeof openRegistryServer>>;
let remote: Awaited<ReturnType<typeof openRegistryServer>>;
let gate: Awaited<ReturnType<typeof openGate>>;
beforeAll(async () => {
  elsewhere = await listen((request, response) => {
    askedElsewhere.push(request.url ?? '');
    response.end(LAYER);
  });
  [own, remote] = await Promise.all([openRegistryServer(), openRegistryServer()]);
  gate = await openGate(remote);
  for (const { blobs } of [own, remote]) for (const bytes of [CONFIG, EMPTY, LAYER]) await keepBlob(blobs, 'a', bytes);
});
beforeEach(() => {
  gate.asked.length = 0;
  gate.put(() => false);
});
afterEach(() => expect(askedElsewhere).toEqual([]));
afterAll(async () => {
  for (const { close } of [gate, own, remote, elsewhere]) await close();
});

type Fields = Record<string, unknown>;
const image = (changes: Fields = {}): Fields => ({
  schemaVersion: 2,
  mediaType: MEDIA_TYPES.manifest,
  config,
  layers: [layer],
  ...changes,
});
const index = (changes: Fields = {}): Fields => ({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [], ...changes });
const withLayer = (changes: Fields) => image({ layers: [{ ...layer, ...changes }] });
const platform = { os: 'linux', architecture: 'amd64' };
const nest = (levels: number): unknown => (levels === 0 ? 'x' : [nest(levels - 1)]);
const signature = { header: { alg: 'ES256' }, signature: 'x', protected: 'x' };
const schema1 = { schemaVersion: 1, name: 'a', tag: 'v1', architecture: 'amd64', fsLayers: [{ blobSum: layer.digest }], history: [] };

type Refused = readonly [name: string, make: () => Fields | string, type?: string];

/** What no reader of ours takes for a manifest, with the type it comes as. */
const REFUSED: readonly Refused[] = [
  ['schema 1', () => schema1, SCHEMA_1],
  ['schema 1 with signatures', () => JSON.stringify({ ...schema1, signatures: [signature] }, undefined, 3), SIGNED],
  ['schema 1 that comes as an image', () => schema1],
  ['an image of schema 1', () => image({ schemaVersion: 1 })],
  ['an image that comes as schema 1 with signatures', () => image({ mediaType: undefined }), SIGNED],
  ['a digest of another algorithm', () => withLayer({ digest: `sha512:${'a'.repeat(128)}` })],
  ['a digest with upper-case digits', () => withLayer({ digest: layer.digest.toUpperCase().replace('SHA', 'sha') })],
  ['a digest whose algorithm is in capitals', () => withLayer({ digest: layer.digest.replace('sha', 'SHA') })],
  ['a digest without its algorithm', () => withLayer({ digest: layer.digest.slice(7) })],
  ['a digest that is too short', () => withLayer({ digest: layer.digest.slice(0, -1) })],
  ['a digest of sha256 called sha512', () => withLayer({ digest: layer.digest.replace('256', '512') })],
  ['a size below zero', () => withLayer({ size: -1 })],
  ['a size with a fraction', () => withLayer({ size: 4.5 })],
  ['a size as text', () => withLayer({ size: String(layer.size) })],
  ['a layer with addresses', () => withLayer({ urls: [`${elsewhere.url}/layer`] })],
  ['a config with addresses', () => image({ config: { ...config, urls: [`${elsewhere.url}/config`] } })],
  ['addresses that are no list', () => withLayer({ urls: `${elsewhere.url}/layer` })],
  ['a layer that is not to be distributed', () => withLayer({ mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' })],
  ['a foreign layer', () => withLayer({ mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })],
  ['an image that is an index as well', () => image({ manifests: [] })],
  ['an index that is an image as well', () => index({ config, layers: [layer] }), MEDIA_TYPES.index],
  ['an image that calls itself an index', () => image({ mediaType: MEDIA_TYPES.index }), MEDIA_TYPES.index],
  ['an image that comes as an index', () => image({ mediaType: undefined }), MEDIA_TYPES.index],
  ['an image that comes as one of the other kind', () => image(), MEDIA_TYPES.dockerManifest],
  ['an image that comes as a page', () => image({ mediaType: undefined }), 'text/html'],
  ['a type of nobody', () => image({ mediaType: 'application/vnd.example.manifest+json' }), 'application/vnd.example.manifest+json'],
  ['annotations that nest deep', () => image({ annotations: { a: nest(40) } })],
  ['annotations that nest deeper than a stack', () => `{"schemaVersion":2,"a":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`],
  ['an artifact type that is no text', () => image({ artifactType: { a: 1 } })],
  ['a subject with a bad digest', () => image({ subject: { ...layer, digest: 'sha256:x\r\ny: z' } })],
  ['an index with a bad subject', () => index({ subject: { ...layer, digest: 'sha256:x\r\ny: z' } }), MEDIA_TYPES.index],
  ['an image without config', () => image({ config: undefined })],
  ['an image without layers', () => image({ layers: undefined })],
  ['manifests that are no list', () => index({ manifests: {} }), MEDIA_TYPES.index],
  ['a list', () => '[]'],
  ['what is no JSON', () => 'schemaVersion: 2'],
];

const textOf = (made: Fields | string) => (typeof made === 'string' ? made : JSON.stringify(made));
const send = (body: string | Buffer, type: string, reference = 'v1') =>
  fetch(`${own.url}/v2/a/manifests/${reference}`, {
    method: 'PUT',
    body: new Uint8Array(Buffer.from(body)),
    headers: { 'content-type': type },
  });
const codeOf = async (answer: Response) => ((await answer.json()) as { errors: { code: string }[] }).errors[0]?.code;
const isStored = async () => (await fetch(`${own.url}/v2/a/manifests/v1`)).status === 200;

/** The gate serves these bytes as every manifest, or that of one path. */
function serve(body: string | Buffer, type: string, path = '/manifests/'): void {
  gate.put((request, response) => {
    if (!request.url?.includes(path)) return false;
    response.writeHead(200, { 'content-type': type }).end(body);
    return true;
  });
}

const imagesHere = () =>
  createImages({
    blobs: own.blobs,
    log: silentLog,
    ownHosts: () => [],
    clientFor: async ({ registry }) => createRegistryClient({ registry, log: silentLog, retryDelayMs: 1 }),
  });
const resolve = (reference: string, endpointId = 'e') => imagesHere().resolve(reference, { endpointId });
const resolveRemote = (endpointId?: string) => resolve(`${gate.host}/a:v1`, endpointId);
const INVALID = { code: 'MANIFEST_INVALID' };

describe('a manifest', () => {
  it.for(REFUSED)('is not stored when it is %s (S5)', async ([, make, type = MEDIA_TYPES.manifest]) => {
    const answer = await send(textOf(make()), type);
    expect([answer.status, await codeOf(answer)]).toEqual([400, 'MANIFEST_INVALID']);
    expect(await isStored()).toBe(false);
  });

  it.for(REFUSED)('is not deployed from another registry when it is %s (S5)', async ([, make, type = MEDIA_TYPES.manifest]) => {
    serve(textOf(make()), type);
    await expect(resolveRemote()).rejects.toMatchObject({ ...INVALID, message: expect.stringContaining(gate.host) });
    expect(gate.asked.every((request) => request === 'GET /v2/a/manifests/v1')).toBe(true);
    expect(await own.blobs.listTags('retained/e')).toBeUndefined();
  });
});

describe('a manifest that is too large', () => {
  const large = JSON.stringify(image({ annotations: { a: 'x'.repeat(LIMIT_BYTES) } }));

  it('is not stored (S5)', async () => {
    const answer = await send(large, MEDIA_TYPES.manifest);
    expect([answer.status, await codeOf(answer)]).toEqual([413, 'MANIFEST_INVALID']);
    expect(await isStored()).toBe(false);
  });

  it('is not read from another registry, nor one without an end (S5)', async () => {
    serve(large, MEDIA_TYPES.manifest);
    const refused = { code: 'SIZE_INVALID', message: expect.stringContaining(gate.host) };
    await expect(resolveRemote()).rejects.toMatchObject(refused);
    gate.put((_request, response) => {
      response.writeHead(200, { 'content-type': MEDIA_TYPES.manifest });
      const more = () => void response.write(Buffer.alloc(65_536, ' '), (failed) => failed || more());
      more();
      return true;
    });
    await expect(resolveRemote()).rejects.toMatchObject(refused);
  });
});

describe('a size that is not that of the blob', () => {
  it.each([
    ['too small', LAYER.length - 1],
    ['too large', LAYER.length + 1],
    ['none', 0],
  ])('is refused at a push: %s (S5)', async (_name, size) => {
    const answer = await send(JSON.stringify(withLayer({ size })), MEDIA_TYPES.manifest);
    expect([answer.status, await codeOf(answer)]).toEqual([400, 'MANIFEST_INVALID']);
    expect(await isStored()).toBe(false);
  });

  it.each([
    ['too small', LAYER.length - 1],
    ['too large', LAYER.length + 1],
    ['none', 0],
  ])('is refused at the pull of an image, whether its blob is here or comes: %s (S5)', async (_name, size) => {
    serve(JSON.stringify(withLayer({ size })), MEDIA_TYPES.manifest);
    await expect(resolveRemote()).rejects.toMatchObject({ ...INVALID, message: expect.stringContaining(layer.digest) });
    const far = Buffer.from('other');
    await keepBlob(remote.blobs, 'a', far);
    serve(JSON.stringify(withLayer({ digest: digestOf(far), size })), MEDIA_TYPES.manifest);
    await expect(resolveRemote()).rejects.toMatchObject({ code: 'SIZE_INVALID', message: expect.stringContaining(digestOf(far)) });
    expect(await own.blobs.has(digestOf(far))).toBeUndefined();
    expect(await own.blobs.listTags('retained/e')).toBeUndefined();
  });

  it('is refused in an index (S5)', async () => {
    const child = Buffer.from(JSON.stringify(image()));
    expect((await send(child, MEDIA_TYPES.manifest, digestOf(child))).status).toBe(201);
    const entry = { ...describeBytes(MEDIA_TYPES.manifest, child), size: child.length + 1, platform };
    const answer = await send(JSON.stringify(index({ manifests: [entry] })), MEDIA_TYPES.index);
    expect([answer.status, await codeOf(answer)]).toEqual([400, 'MANIFEST_INVALID']);
    serve(JSON.stringify(index({ manifests: [entry] })), MEDIA_TYPES.index, '/manifests/v1');
    await remote.blobs.putManifest('a', digestOf(child), child, { mediaType: MEDIA_TYPES.manifest });
    await expect(resolveRemote()).rejects.toMatchObject({ ...INVALID, message: expect.stringContaining(digestOf(child)) });
  });
});

/** An index whose only entry is an index, and so on down to an image; pushed from below. Gives the descriptor of the outermost. */
async function pushNested(levels: number): Promise<Descriptor> {
  const bytes = Buffer.from(
    JSON.stringify(levels === 0 ? image() : index({ manifests: [{ ...(await pushNested(levels - 1)), platform }] })),
  );
  const type = levels === 0 ? MEDIA_TYPES.manifest : MEDIA_TYPES.index;
  expect((await send(bytes, type, digestOf(bytes))).status).toBe(201);
  return describeBytes(type, bytes);
}

describe('an index of indexes', () => {
  it('is kept and judged by its parts, however deep, but not deployed (S5)', async () => {
    const { digest } = await pushNested(40);
    await expect(resolve(`a@${digest}`)).rejects.toMatchObject(INVALID);
    for await (const event of own.blobs.verifyAll()) expect(event.kind).not.toBe('fault');
    await own.blobs.collect({ untaggedMs: 0 });
    expect((await fetch(`${own.url}/v2/a/manifests/${digest}`)).status).toBe(200);
  });

  it('of another registry is not deployed, nor one that holds itself (S5)', async () => {
    const inner = Buffer.from(JSON.stringify(index()));
    const entry = { ...describeBytes(MEDIA_TYPES.index, inner), platform };
    await remote.blobs.putManifest('a', entry.digest, inner, { mediaType: MEDIA_TYPES.index });
    serve(JSON.stringify(index({ manifests: [entry] })), MEDIA_TYPES.index, '/manifests/v1');
    await expect(resolveRemote()).rejects.toMatchObject({ ...INVALID, message: expect.stringContaining(gate.host) });
    // No index can hold its own digest; a registry may claim that it does.
    serve(JSON.stringify(index({ manifests: [entry] })), MEDIA_TYPES.index);
    await expect(resolveRemote()).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  it('whose entry is elsewhere, or of another type than it says, is not deployed (S5)', async () => {
    const child = Buffer.from(JSON.stringify(image()));
    await remote.blobs.putManifest('a', digestOf(child), child, { mediaType: MEDIA_TYPES.manifest });
    const entry = { ...describeBytes(MEDIA_TYPES.manifest, child), platform };
    for (const wrong of [{ urls: [`${elsewhere.url}/x`] }, { mediaType: MEDIA_TYPES.dockerManifest }]) {
      serve(JSON.stringify(index({ manifests: [{ ...entry, ...wrong }] })), MEDIA_TYPES.index, '/manifests/v1');
      await expect(resolveRemote()).rejects.toMatchObject(INVALID);
    }
    serve(JSON.stringify(index({ manifests: [entry] })), MEDIA_TYPES.index, '/manifests/v1');
    expect(await resolveRemote('other')).toMatchObject({ digest: entry.digest });
  });
});

it('no base image has layers that are elsewhere (S5)', async () => {
  const layout = await openLayout(`${own.dir}/layout`);
  const bases = openBaseImages({
    layout,
    open: async (registry) => createRegistryClient({ registry, log: silentLog, retryDelayMs: 1 }),
  });
  const foreign = JSON.stringify(withLayer({ urls: [`${elsewhere.url}/layer`] }));
  serve(foreign, MEDIA_TYPES.manifest);
  await expect(bases.pull(`${gate.host}/a@${digestOf(foreign)}`, platform)).rejects.toMatchObject(INVALID);
});

const DOCKER_CONFIG = { ...config, mediaType: 'application/vnd.docker.container.image.v1+json' };
const EMPTY_CONFIG = describeBytes('application/vnd.oci.empty.v1+json', EMPTY);
const subject = { ...layer, mediaType: MEDIA_TYPES.manifest };

/** What is in use, and must stay so. */
const ACCEPTED: readonly (readonly [string, Fields, string])[] = [
  ['an image without a type of its own', image({ mediaType: undefined }), MEDIA_TYPES.manifest],
  ['an image of Docker', image({ mediaType: MEDIA_TYPES.dockerManifest, config: DOCKER_CONFIG }), MEDIA_TYPES.dockerManifest],
  ['a list of Docker', index({ mediaType: MEDIA_TYPES.dockerManifestList }), MEDIA_TYPES.dockerManifestList],
  ['an index without a type of its own', index({ mediaType: undefined }), MEDIA_TYPES.index],
  [
    'an artifact with an empty config',
    image({ config: EMPTY_CONFIG, artifactType: 'application/vnd.example+json', subject }),
    MEDIA_TYPES.manifest,
  ],
  ['an artifact without layers', image({ config: EMPTY_CONFIG, layers: [] }), MEDIA_TYPES.manifest],
  [
    'a chart of Helm',
    image({
      mediaType: undefined,
      config: { ...config, mediaType: 'application/vnd.cncf.helm.config.v1+json' },
      layers: [{ ...layer, mediaType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip' }],
      annotations: { 'org.opencontainers.image.title': 'chart' },
    }),
    MEDIA_TYPES.manifest,
  ],
  [
    'layers of other compressions',
    withLayer({ mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd', annotations: { a: 'b' } }),
    MEDIA_TYPES.manifest,
  ],
  ['an empty list of addresses', withLayer({ urls: [] }), MEDIA_TYPES.manifest],
  [
    'a layer whose type has the word foreign in it',
    withLayer({ mediaType: 'application/vnd.example.foreign-keys+json' }),
    MEDIA_TYPES.manifest,
  ],
  ['an index with a subject and an artifact type', index({ subject, artifactType: 'application/vnd.example+json' }), MEDIA_TYPES.index],
];

it.each(ACCEPTED)('%s is stored, and served and copied as it is (S5)', async (_name, fields, type) => {
  const bytes = Buffer.from(JSON.stringify(fields));
  const pushed = await send(bytes, `${type}; charset=utf-8`, 'good');
  expect([pushed.status, pushed.headers.get('oci-subject')]).toEqual([201, fields['subject'] === undefined ? null : subject.digest]);
  const answer = await fetch(`${own.url}/v2/a/manifests/good`);
  expect(answer.headers.get('content-type')).toBe(type);
  expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
  serve(bytes, type);
  expect(await gate.clientOf().getManifest('a', 'v1')).toMatchObject({ digest: digestOf(bytes), mediaType: type });
});
