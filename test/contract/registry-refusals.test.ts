import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import type { RegistryClient } from '../../src/registry/client.js';
import { pushImage } from '../../src/registry/push.js';
import { collect, composeImage, keepImage, openGate, streamOf } from './registry-gate.js';
import { listen, openRegistryServer } from './registry-server.js';

/** Above and below the size up to which a blob travels with the request that ends its upload. */
const LARGE = Buffer.alloc(1_500_000, 'wherry');
const SMALL = Buffer.from('wherry');
const KEPT = composeImage([Buffer.from('kept')]);
/** Its config is its only blob, so that calls can be counted. */
const PUSHED = composeImage([]);
const PASSWORD = { username: 'u', password: 'p' };

type Answer = (request: IncomingMessage, response: ServerResponse) => unknown;

interface AskedCall {
  /** Which requests are this call. */
  readonly of: RegExp;
  /** What makes the client send it. */
  readonly run: (client: RegistryClient, repository: string) => Promise<unknown>;
  /** It comes after this one. */
  readonly after?: RegExp;
  /** The client sends it only when this one broke before. */
  readonly brokenBefore?: RegExp;
  /** How often a failure that may pass is met, five times by default. */
  readonly tries?: number;
  /** How a refusal that lasts ends, where it is not as elsewhere; undefined for a good end. */
  readonly ends?: Readonly<Record<number, string | undefined>>;
}

const put = (bytes: Buffer) => (client: RegistryClient, repository: string) =>
  client.putBlob(repository, { digest: digestOf(bytes), size: bytes.length }, () => streamOf(bytes));
const push = (client: RegistryClient, repository: string) =>
  pushImage({
    client,
    repository,
    tags: [],
    manifest: { bytes: PUSHED.manifest, digest: PUSHED.digest, mediaType: MEDIA_TYPES.manifest },
    blobs: PUSHED.blobs.map((bytes) => ({ digest: digestOf(bytes), size: bytes.length, open: () => streamOf(bytes) })),
  });
const pull = (client: RegistryClient) => client.getManifest('kept', 'v1');

/** Every call of push and pull. */
const CALLS: Readonly<Record<string, AskedCall>> = {
  'HEAD of a blob before its push': { of: /^HEAD .*\/blobs\/sha256/, run: put(LARGE), ends: { 404: undefined } },
  'POST of an upload': { of: /^POST /, run: put(LARGE), ends: { 404: 'NAME_UNKNOWN' } },
  'PATCH of an upload': { of: /^PATCH /, run: put(LARGE) },
  'GET of an upload': { of: /^GET .*\/uploads\//, run: put(LARGE), brokenBefore: /^PATCH /, ends: { 404: undefined } },
  // Before the first of them the registry got all bytes: tries count from there.
  'PUT that ends an upload': { of: /^PUT .*\/uploads\//, run: put(LARGE), tries: 6 },
  'PUT of a small blob': { of: /^PUT .*\/uploads\//, run: put(SMALL) },
  'PUT of a manifest': { of: /^PUT .*\/manifests\//, run: push },
  'GET of a manifest after its push': { of: /^GET .*\/manifests\//, run: push, ends: { 404: 'IMAGE_UNKNOWN' } },
  'HEAD of a blob after its push': { of: /^HEAD .*\/blobs\/sha256/, run: push, after: /^GET .*\/manifests\// },
  'GET of the root': { of: /^GET \/v2\/$/, run: (client) => client.logIn() },
  'GET of a token': { of: /^GET \/token/, run: pull, ends: { 403: 'UNAUTHORIZED', 404: 'UNAUTHORIZED' } },
  'GET of a manifest': { of: /^GET .*\/manifests\//, run: pull, ends: { 404: 'IMAGE_UNKNOWN' } },
  'HEAD of a manifest': { of: /^HEAD .*\/manifests\//, run: (client) => client.getDigest('kept', 'v1'), ends: { 404: 'IMAGE_UNKNOWN' } },
  'GET of a blob': {
    of: /^GET .*\/blobs\/sha256/,
    run: (client) => collect(client.getBlob('kept', { digest: digestOf('kept') })),
    ends: { 404: 'BLOB_UNKNOWN' },
  },
  'GET of tags': { of: /^GET .*\/tags\/list/, run: (client) => client.listTags('kept'), ends: { 404: 'NAME_UNKNOWN' } },
  'GET of referrers': {
    of: /^GET .*\/referrers\//,
    run: (client) => client.listReferrers('kept', KEPT.digest),
    ends: { 404: undefined },
  },
};

let registry: Awaited<ReturnType<typeof openRegistryServer>>;
/** Repositories that nothing was pushed to. */
let repositories = 0;
beforeAll(async () => {
  registry = await openRegistryServer();
  await keepImage(registry.blobs, 'kept', 'v1', KEPT);
});
afterAll(() => registry.close());

/** The registry, which wants a token for everything and gives tokens for a password. */
async function setup(call: AskedCall, { onTestFinished }: TestContext) {
  const gated = await openGate(registry);
  onTestFinished(gated.close);
  repositories += 1;
  const repository = `r${repositories}`;
  const issued = new Set<string>();
  /** Requests of the call, in order, with the Authorization header of each. */
  const seen: (string | undefined)[] = [];
  let fault: { readonly answer: Answer; readonly times: number } | undefined;
  let hasBroken = false;
  gated.put((request, response) => {
    const line = `${request.method} ${request.url}`;
    const { authorization } = request.headers;
    const isToken = line.startsWith('GET /token');
    if (!isToken && !issued.has(authorization ?? '')) {
      const challenge = `Bearer realm="${gated.url}/token",service="test"`;
      return Boolean(request.resume() && response.writeHead(401, { 'www-authenticate': challenge }).end());
    }
    if (call.brokenBefore?.test(line) && !hasBroken) {
      hasBroken = true;
      return Boolean(response.destroy());
    }
    const isDue = call.after === undefined || gated.asked.some((before) => call.after?.test(before));
    if (call.of.test(line) && isDue) {
      seen.push(authorization);
      if (fault && seen.length <= fault.times) {
        fault.answer(request, response);
        return true;
      }
    }
    if (isToken) {
      const token = `t${gated.asked.length}`;
      issued.add(`Bearer ${token}`);
      response.end(JSON.stringify({ token }));
    }
    return isToken;
  });
  const client = gated.clientOf({ credentials: PASSWORD });
  return {
    ...gated,
    seen,
    issued,
    repository,
    /** Lets the client get tokens. */
    async warmUp() {
      await client.findBlob('kept', KEPT.digest);
      await put(Buffer.from('warm'))(client, repository);
      await client.logIn();
    },
    /** The call with an answer of our own, so many times. */
    run(answer: Answer, times = Number.POSITIVE_INFINITY) {
      seen.length = 0;
      fault = { answer, times };
      return call.run(client, repository);
    },
  };
}

const refuse =
  (status: number, headers: Record<string, string> = {}): Answer =>
  (request, response) =>
    request.resume() && response.writeHead(status, headers).end();
const hangUp: Answer = (_request, response) => response.destroy();
/** Neither reads nor answers. */
const keepSilent: Answer = () => {};
const stopInBody: Answer = (_request, response) => response.writeHead(200, { 'content-length': 1_000_000 }).flushHeaders();

const matrix = <T>(faults: readonly (readonly [string, T])[], names = Object.keys(CALLS)) =>
  names.flatMap((name) => faults.map(([faultName, fault]) => [name, faultName, fault] as const));
const callOf = (name: string): AskedCall => CALLS[name] ?? { of: /./, run: pull };

describe('a passing failure', () => {
  it.concurrent.for(
    matrix([
      ['429', refuse(429, { 'retry-after': '0' })],
      ['500', refuse(500)],
      ['503', refuse(503)],
      ['a line that breaks', hangUp],
      ['silence', keepSilent],
    ]),
  )('at the %s is survived: %s (D2)', async ([name, , answer], context) => {
    const scene = await setup(callOf(name), context);
    await scene.run(answer, 1);
    // Small blobs are asked for once more, whether the answer alone was lost; then their upload begins anew.
    expect(scene.seen.length).toBeLessThanOrEqual(2);
  });

  it.concurrent.for(
    matrix(
      [['a body that stops', stopInBody]],
      // Nobody reads what comes with an upload's progress or at the root.
      Object.keys(CALLS).filter((name) => name.startsWith('GET') && !/upload|root/.test(name)),
    ),
  )('at the %s is survived: %s (D2)', async ([name, , answer], context) => {
    const scene = await setup(callOf(name), context);
    await scene.run(answer, 1);
    expect(scene.seen).toHaveLength(2);
  });

  it.concurrent.for(
    matrix(
      [['a token that is over', undefined]],
      Object.keys(CALLS).filter((name) => !name.includes('token')),
    ),
  )('at the %s is survived: %s (D2)', async ([name], context) => {
    const scene = await setup(callOf(name), context);
    await scene.warmUp();
    await scene.run((request, response) => {
      scene.issued.clear();
      refuse(401, { 'www-authenticate': `Bearer realm="${scene.url}/token"` })(request, response);
    }, 1);
    expect(new Set(scene.seen).size).toBe(2);
  });
});

const LASTING: readonly (readonly [string, { readonly status: number; readonly code: string; readonly isPassing: boolean }])[] = [
  ['401', { status: 401, code: 'UNAUTHORIZED', isPassing: false }],
  ['403', { status: 403, code: 'DENIED', isPassing: false }],
  ['404', { status: 404, code: 'REGISTRY_UNAVAILABLE', isPassing: true }],
  ['429', { status: 429, code: 'TOOMANYREQUESTS', isPassing: true }],
  ['503', { status: 503, code: 'REGISTRY_UNAVAILABLE', isPassing: true }],
];

/** One of them must be in a message: the registry, the repository, or the token service. */
const namesOf = ({ host, repository }: { readonly host: string; readonly repository: string }) =>
  new RegExp(`'${host}['/]|'${repository}'|${host}/token`);

describe('a failure that lasts', () => {
  it.concurrent.for(matrix(LASTING))(
    'at the %s is named after few tries: %s (D2)',
    async ([name, , { status, code, isPassing }], context) => {
      const call = callOf(name);
      const scene = await setup(call, context);
      const end = call.ends && status in call.ends ? call.ends[status] : code;
      const ended = scene.run(refuse(status, { 'retry-after': '0' }));
      if (end === undefined) await ended;
      else await expect(ended).rejects.toMatchObject({ code: end, message: expect.stringMatching(namesOf(scene)) });
      expect(scene.seen.length).toBeLessThanOrEqual(isPassing ? (call.tries ?? 5) : 1);
    },
  );

  it.concurrent.for([
    ...matrix([['a line that breaks', hangUp]]),
    // Each takes seconds; at the others silence ends as a broken line does.
    ...matrix([['silence', keepSilent]], ['PATCH of an upload', 'GET of a token', 'GET of a manifest', 'GET of a blob']),
  ])('at the %s is named after few tries: %s (D2)', async ([name, , answer], context) => {
    const call = callOf(name);
    const scene = await setup(call, context);
    const error = { code: 'REGISTRY_UNAVAILABLE', message: expect.stringMatching(namesOf(scene)) };
    await expect(scene.run(answer)).rejects.toMatchObject(error);
    expect(scene.seen.length).toBeLessThanOrEqual(call.tries ?? 5);
  });
});

/** Another host, which serves the same registry to anybody, and notes what it was shown. */
async function openOther(scene: Awaited<ReturnType<typeof setup>>, answer?: Answer) {
  const shown: (string | undefined)[] = [];
  const other = await listen((request, response) => {
    shown.push(request.headers.authorization);
    if (answer) answer(request, response);
    else void registry.handle(request, response, { canPush: true });
  });
  scene.closeWith(other.close);
  return { ...other, shown };
}

const REGISTRY_CALLS = Object.keys(CALLS).filter((name) => !name.includes('token'));
const sendTo =
  (url: string, status = 307): Answer =>
  (request, response) =>
    refuse(status, { location: `${url}${request.url}` })(request, response);

describe('a redirect to another host', () => {
  it.concurrent.for(REGISTRY_CALLS)('at the %s is followed without credentials (D2)', async (name, context) => {
    const scene = await setup(callOf(name), context);
    const other = await openOther(scene);
    await scene.run(sendTo(other.url));
    expect(other.shown.length).toBeGreaterThan(0);
    expect(other.shown.every((authorization) => authorization === undefined)).toBe(true);
  });

  it.concurrent.for(REGISTRY_CALLS)('and back at the %s does not bring the credentials back (D2)', async (name, context) => {
    const scene = await setup(callOf(name), context);
    const returned: (string | undefined)[] = [];
    const home = await listen((request, response) => {
      response.setHeader('location', `${scene.url}${request.url}${request.url?.includes('?') ? '&' : '?'}returned`);
      refuse(307)(request, response);
    });
    scene.closeWith(home.close);
    const failed = scene.run((request, response) => {
      if (!request.url?.includes('returned')) return sendTo(home.url)(request, response);
      returned.push(request.headers.authorization);
      return refuse(200)(request, response);
    });
    await expect(failed).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    expect(returned).toEqual([]);
  });

  it.concurrent.for(REGISTRY_CALLS)('at the %s cannot name a service that gets the password (D2)', async (name, context) => {
    const scene = await setup(callOf(name), context);
    const thief = await openOther(scene, refuse(200));
    const other = await openOther(scene, refuse(401, { 'www-authenticate': `Bearer realm="${thief.url}/token"` }));
    await expect(scene.run(sendTo(other.url))).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining(other.host),
    });
    expect(thief.shown).toEqual([]);
  });

  it('at the GET of a token is not followed: the password stays (D2)', async (context) => {
    const scene = await setup(callOf('GET of a token'), context);
    const other = await openOther(scene);
    await expect(scene.run(sendTo(other.url))).rejects.toMatchObject({ code: 'UNAUTHORIZED', message: expect.stringContaining('307') });
    expect(other.shown).toEqual([]);
  });
});

const trickle =
  (status: number): Answer =>
  (request, response) => {
    request.resume();
    response.writeHead(status, { 'content-length': 1_000_000 });
    const drops = setInterval(() => response.write('k'), 50);
    response.once('close', () => clearInterval(drops));
  };

describe('a body that only trickles', () => {
  it.concurrent.for(['GET of a manifest', 'GET of a blob', 'GET of tags'])('ends the %s after few tries (D2)', async (name, context) => {
    const scene = await setup(callOf(name), context);
    await expect(scene.run(trickle(200))).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE', message: expect.stringContaining('kept') });
    expect(scene.seen).toHaveLength(5);
  });

  it.concurrent.for(['POST of an upload', 'PATCH of an upload', 'GET of a blob'])(
    'with a refusal of the %s keeps nobody (D2)',
    async (name, context) => {
      const scene = await setup(callOf(name), context);
      await expect(scene.run(trickle(403))).rejects.toMatchObject({ code: 'DENIED', message: expect.stringContaining('403') });
      expect(scene.seen).toHaveLength(1);
    },
  );

  it.concurrent('is given up where nobody wants it (D2)', async (context) => {
    const scene = await setup(callOf('GET of the root'), context);
    await scene.run(trickle(200));
    expect(scene.seen).toHaveLength(1);
  });
});
