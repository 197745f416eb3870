import type { ServerResponse } from 'node:http';
import { describe, expect, it, type TestContext } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { createRegistryClient } from '../../src/registry/client.js';
import { pushImage } from '../../src/registry/push.js';
import { createImages } from '../../src/registry/retain.js';
import { composeImage, HASTE, keepImage, openGate, streamOf } from './registry-gate.js';
import { openRegistryServer } from './registry-server.js';

const LAYER = Buffer.alloc(100_000, 'layer');
const IMAGE = composeImage([LAYER]);
const OTHER = composeImage([Buffer.alloc(100_000, 'other')]);

/** Our storage, and another registry behind a gate, which has an image. */
async function setup({ onTestFinished }: Pick<TestContext, 'onTestFinished'>) {
  const [own, remote] = await Promise.all([openRegistryServer(), openRegistryServer()]);
  const gate = await openGate(remote);
  onTestFinished(async () => {
    await gate.close();
    await Promise.all([own.close(), remote.close()]);
  });
  await keepImage(remote.blobs, 'far', 'v1', IMAGE);
  const images = createImages({
    blobs: own.blobs,
    log: silentLog,
    ownHosts: () => [],
    clientFor: async ({ registry }) => createRegistryClient({ registry, log: silentLog, retryDelayMs: 1, patience: HASTE }),
  });
  return { own, remote, gate, resolve: (name: string) => images.resolve(`${gate.host}/${name}`, { endpointId: 'e' }) };
}

/** What is asked for while an image is copied, and what its true answer is. */
const PARTS = {
  manifest: { path: '/manifests/v1', name: 'far:v1', bytes: IMAGE.manifest, type: MEDIA_TYPES.manifest },
  'manifest by digest': { path: `/manifests/${IMAGE.digest}`, name: IMAGE.digest, bytes: IMAGE.manifest, type: MEDIA_TYPES.manifest },
  config: { path: `/blobs/${digestOf(IMAGE.config)}`, name: digestOf(IMAGE.config), bytes: IMAGE.config, type: 'application/octet-stream' },
  layer: { path: `/blobs/${digestOf(LAYER)}`, name: digestOf(LAYER), bytes: LAYER, type: 'application/octet-stream' },
} as const;
type Part = (typeof PARTS)[keyof typeof PARTS];

/** An answer as the registry gives it, but for what is changed. */
interface Lie {
  readonly bytes?: Buffer;
  readonly headers?: Readonly<Record<string, string | number>>;
  /** The line breaks before so many bytes. */
  readonly cutAt?: number;
  /** Without a Content-Length. */
  readonly isChunked?: boolean;
}

function tell(response: ServerResponse, part: Part, { bytes = part.bytes, headers = {}, cutAt, isChunked = false }: Lie): void {
  const length = isChunked ? {} : { 'content-length': bytes.length };
  response.writeHead(200, { 'content-type': part.type, 'docker-content-digest': digestOf(part.bytes), ...length, ...headers });
  if (cutAt === undefined) response.end(bytes);
  else response.write(bytes.subarray(0, cutAt), () => response.destroy());
}

const otherOf = ({ bytes }: Part) =>
  bytes === LAYER ? Buffer.alloc(bytes.length, 'wrong') : bytes === IMAGE.config ? Buffer.alloc(bytes.length, ' ') : OTHER.manifest;
const half = (bytes: Buffer) => bytes.subarray(0, bytes.length / 2);

/** Each with the code that a manifest, and a blob, is refused with. */
const LIES: readonly (readonly [string, (part: Part) => Lie, { readonly manifest?: string; readonly blob?: string }])[] = [
  ['other bytes', (part) => ({ bytes: otherOf(part) }), { manifest: 'DIGEST_MISMATCH', blob: 'DIGEST_MISMATCH' }],
  ['half of the bytes', ({ bytes }) => ({ bytes: half(bytes) }), { manifest: 'DIGEST_MISMATCH', blob: 'SIZE_INVALID' }],
  ['half of the bytes without a length', ({ bytes }) => ({ bytes: half(bytes), isChunked: true }), { blob: 'DIGEST_MISMATCH' }],
  ['bytes and more without a length', ({ bytes }) => ({ bytes: Buffer.concat([bytes, bytes]), isChunked: true }), { blob: 'SIZE_INVALID' }],
  ['bytes and more', ({ bytes }) => ({ bytes: Buffer.concat([bytes, bytes]) }), { manifest: 'DIGEST_MISMATCH', blob: 'SIZE_INVALID' }],
  ['nothing', () => ({ bytes: Buffer.of() }), { manifest: 'DIGEST_MISMATCH', blob: 'SIZE_INVALID' }],
  ['a line that breaks', ({ bytes }) => ({ cutAt: bytes.length / 2 }), { manifest: 'REGISTRY_UNAVAILABLE', blob: 'REGISTRY_UNAVAILABLE' }],
  [
    'a Content-Length that is too small',
    ({ bytes }) => ({ headers: { 'content-length': bytes.length - 10 } }),
    { manifest: 'DIGEST_MISMATCH', blob: 'SIZE_INVALID' },
  ],
  [
    'a Content-Length that is too large',
    ({ bytes }) => ({ headers: { 'content-length': bytes.length + 10 } }),
    { manifest: 'REGISTRY_UNAVAILABLE', blob: 'SIZE_INVALID' },
  ],
  ['the digest of something else', () => ({ headers: { 'docker-content-digest': digestOf('else') } }), { manifest: 'DIGEST_MISMATCH' }],
  ['the media type of an index', () => ({ headers: { 'content-type': MEDIA_TYPES.index } }), { manifest: 'MANIFEST_INVALID' }],
  ['the media type of a page', () => ({ headers: { 'content-type': 'text/html; charset=utf-8' } }), { manifest: 'MANIFEST_INVALID' }],
];

const CASES = (Object.keys(PARTS) as (keyof typeof PARTS)[]).flatMap((part) =>
  LIES.flatMap(([what, lie, { manifest, blob }]) => {
    const code = part.startsWith('manifest') ? manifest : blob;
    return code === undefined ? [] : [[part, what, lie, code] as const];
  }),
);

describe('a remote image', () => {
  it.concurrent.for(CASES)(
    'whose %s comes as %s is refused by name, and nothing of it is here (D1)',
    async ([name, , lie, code], context) => {
      const part = PARTS[name];
      const { own, gate, resolve } = await setup(context);
      gate.put((request, response) => {
        if (!request.url?.endsWith(part.path)) return false;
        tell(response, part, lie(part));
        return true;
      });
      const reference = name === 'manifest by digest' ? `far@${IMAGE.digest}` : 'far:v1';
      const thrown: unknown = await resolve(reference).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(thrown).toMatchObject({ code, message: expect.stringContaining(gate.host) });
      expect(thrown).toMatchObject({ message: expect.stringMatching(`${part.name}|${part.path}`) });
      expect(await own.blobs.getManifest('retained/e', IMAGE.digest)).toBeUndefined();
      expect(await own.blobs.has(digestOf(part.bytes))).toBeUndefined();
      gate.put(() => false);
      expect(await resolve(reference)).toMatchObject({ digest: IMAGE.digest });
    },
  );

  it('is refused when a pull that broke is gone on with at another place (D1)', async (context) => {
    const { own, gate, resolve } = await setup(context);
    gate.put((request, response) => {
      if (!request.url?.endsWith(PARTS.layer.path)) return false;
      if (request.headers.range === undefined) tell(response, PARTS.layer, { cutAt: LAYER.length / 2 });
      else response.writeHead(206, { 'content-range': `bytes 0-9/${LAYER.length}` }).end('0123456789');
      return true;
    });
    await expect(resolve('far:v1')).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE', message: expect.stringContaining('bytes 0-9/') });
    expect(await own.blobs.has(digestOf(LAYER))).toBeUndefined();
  });

  it('is the one that its tag meant, though the tag moves while it is copied (D1)', async (context) => {
    const { own, remote, gate, resolve } = await setup(context);
    gate.put((request, response) => {
      if (!request.url?.endsWith(PARTS.config.path)) return false;
      void keepImage(remote.blobs, 'far', 'v1', OTHER).then(() => remote.handle(request, response, { canPush: false }));
      return true;
    });
    expect(await resolve('far:v1')).toMatchObject({ digest: IMAGE.digest });
    for (const bytes of IMAGE.blobs) expect(await own.blobs.has(digestOf(bytes))).toEqual({ size: bytes.length });
    expect(await own.blobs.getManifest('retained/e', OTHER.digest)).toBeUndefined();
    expect(await resolve('far:v1')).toMatchObject({ digest: OTHER.digest });
  });

  it('that went when its tag moved is not taken for what the tag means now (D1)', async (context) => {
    const { own, remote, gate, resolve } = await setup(context);
    await keepImage(remote.blobs, 'far', 'v1', OTHER);
    await remote.blobs.deleteManifest('far', IMAGE.digest);
    await expect(resolve(`far:v1@${IMAGE.digest}`)).rejects.toMatchObject({
      code: 'IMAGE_UNKNOWN',
      message: expect.stringContaining(`${gate.host}/far@${IMAGE.digest}`),
    });
    expect(await own.blobs.getManifest('retained/e', OTHER.digest)).toBeUndefined();
  });
});

describe('a push', () => {
  const push = ({ gate }: Awaited<ReturnType<typeof setup>>) =>
    pushImage({
      client: gate.clientOf(),
      repository: 'new',
      tags: ['v1'],
      manifest: { bytes: IMAGE.manifest, digest: IMAGE.digest, mediaType: MEDIA_TYPES.manifest },
      blobs: IMAGE.blobs.map((bytes) => ({ digest: digestOf(bytes), size: bytes.length, open: () => streamOf(bytes) })),
    });

  it('fails when the registry keeps another manifest (D1)', async (context) => {
    const scene = await setup(context);
    scene.gate.put(({ method, url }, response) => {
      const isRead = method === 'GET' && url?.includes('/manifests/') === true;
      if (isRead) tell(response, PARTS.manifest, { bytes: OTHER.manifest });
      return isRead;
    });
    await expect(push(scene)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH', message: expect.stringContaining(`new@${IMAGE.digest}`) });
  });

  it('fails when the registry says that it got another manifest (D1)', async (context) => {
    const scene = await setup(context);
    scene.gate.put(({ method, url }, response) => {
      if (method !== 'PUT' || !url?.includes('/manifests/')) return false;
      return Boolean(response.writeHead(201, { 'docker-content-digest': OTHER.digest }).end());
    });
    await expect(push(scene)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH', message: expect.stringContaining(`new@${IMAGE.digest}`) });
  });

  it('sends a blob that the registry has in another size, and fails when it stays so (D1)', async (context) => {
    const scene = await setup(context);
    const { path } = PARTS.layer;
    scene.gate.put(({ method, url }, response) => {
      if (method !== 'HEAD' || !url?.endsWith(path)) return false;
      return Boolean(response.writeHead(200, { 'content-length': LAYER.length / 2 }).end());
    });
    await expect(push(scene)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE', message: expect.stringContaining(digestOf(LAYER)) });
    expect(await scene.remote.blobs.isLinked('new', digestOf(LAYER))).toBe(true);
  });
});
