import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import type { ImageConfig, Manifest } from '../../src/oci/manifest.js';
import { describeBytes, keepBlob, openGate } from '../contract/registry-gate.js';
import { openRegistryServer } from '../contract/registry-server.js';
import { openStage, type Stage, until } from '../stage.js';
import { nodeProject } from './projects.js';

type PartName = 'manifest' | 'config' | 'layer';
interface Lie {
  readonly bytes?: Buffer;
  readonly headers?: Readonly<Record<string, string | number>>;
  /** The line breaks in the middle. */
  readonly isCut?: boolean;
}

const half = (bytes: Buffer) => bytes.subarray(0, bytes.length / 2);
const spaces = (bytes: Buffer) => Buffer.alloc(bytes.length, ' ');
const isHalf = (bytes: Buffer): Lie => ({ bytes: half(bytes) });
const isOther = (bytes: Buffer): Lie => ({ bytes: spaces(bytes) });
const isCut = (): Lie => ({ isCut: true });

/** What the registry sends in place of a part, and how the deploy is refused. */
const FAULTS: readonly (readonly [PartName, string, (bytes: Buffer) => Lie, string])[] = [
  ['manifest', 'with other bytes', isOther, 'DIGEST_MISMATCH'],
  ['manifest', 'truncated', isHalf, 'DIGEST_MISMATCH'],
  ['manifest', 'over a line that breaks', isCut, 'REGISTRY_UNAVAILABLE'],
  ['manifest', 'with another digest in the header', () => ({ headers: { 'docker-content-digest': digestOf('x') } }), 'DIGEST_MISMATCH'],
  ['manifest', 'with another media type', () => ({ headers: { 'content-type': MEDIA_TYPES.index } }), 'MANIFEST_INVALID'],
  ['config', 'with other bytes', isOther, 'DIGEST_MISMATCH'],
  ['config', 'truncated', isHalf, 'SIZE_INVALID'],
  ['config', 'over a line that breaks', isCut, 'REGISTRY_UNAVAILABLE'],
  ['layer', 'with other bytes', isOther, 'DIGEST_MISMATCH'],
  ['layer', 'truncated', isHalf, 'SIZE_INVALID'],
  ['layer', 'over a line that breaks', isCut, 'REGISTRY_UNAVAILABLE'],
  ['layer', 'with another Content-Length', ({ length }) => ({ headers: { 'content-length': length + 1 } }), 'SIZE_INVALID'],
];

const answering = (text: string) => `export const handler = () => '${text}';\n`;

/** Another registry behind a gate; deploys pull from it. */
let remote: Awaited<ReturnType<typeof openRegistryServer>>;
let gate: Awaited<ReturnType<typeof openGate>>;
let stage: Stage;
let published = 0;
/** Answers of the endpoint while the deploys go wrong. */
const answers: unknown[] = [];
let isAsking = true;
let asking: Promise<void>;

beforeAll(async () => {
  remote = await openRegistryServer();
  gate = await openGate(remote);
  stage = await openStage({ DOCKER_CONFIG: '/nonexistent' });
  const dir = stage.project('served', nodeProject('served', answering('old')));
  await stage.cli('push', dir, '--to', `${gate.host}/acme/image:old`);
  await stage.cli('deploy', '--image', `${gate.host}/acme/image:old`, '-e', 'served');
  stage.project('served', { 'handler.mjs': answering('new') });
  await stage.cli('push', dir, '--to', `${gate.host}/acme/image:new`);
  asking = ask();
});
afterAll(async () => {
  isAsking = false;
  await asking;
  await stage.close();
  await gate.close();
  await remote.close();
});

async function ask(): Promise<void> {
  while (isAsking) answers.push((await stage.runsync('served', null)).output);
}

const parse = <T>(bytes: Buffer | undefined) => JSON.parse(String(bytes)) as T;

/** The new image under a tag of its own, with a config and a last layer that nobody has seen: nothing of an earlier try is used again. */
async function publish(tag: string) {
  published += 1;
  const found = await remote.blobs.getManifest('acme/image', 'new');
  const { config, layers, ...rest } = parse<Manifest>(found?.bytes);
  const last = layers.at(-1);
  const whole = parse<ImageConfig>(await remote.blobs.read(config.digest, 1_000_000));
  const labels = { ...whole.config?.Labels, 'dev.wherry.test': tag };
  const configBytes = Buffer.from(JSON.stringify({ ...whole, config: { ...whole.config, Labels: labels } }));
  // Further, empty members of gzip change the bytes and not what they unpack to.
  const packed = await remote.blobs.read(last?.digest ?? config.digest, 10_000_000);
  const layerBytes = Buffer.concat([packed, ...Array.from({ length: published }, () => gzipSync(''))]);
  for (const bytes of [configBytes, layerBytes]) await keepBlob(remote.blobs, 'acme/image', bytes);
  const manifest = Buffer.from(
    JSON.stringify({
      ...rest,
      config: describeBytes(MEDIA_TYPES.config, configBytes),
      layers: [...layers.slice(0, -1), describeBytes(MEDIA_TYPES.layerGzip, layerBytes)],
    }),
  );
  const digest = digestOf(manifest);
  await remote.blobs.putManifest('acme/image', digest, manifest, { mediaType: MEDIA_TYPES.manifest, tag });
  return { digest, parts: { manifest, config: configBytes, layer: layerBytes } };
}

const serveFalsely = (path: string, { bytes, headers = {}, isCut: isBroken }: Lie, truth: Buffer) =>
  gate.put((request: IncomingMessage, response: ServerResponse) => {
    if (request.method !== 'GET' || !request.url?.endsWith(path)) return false;
    const sent = bytes ?? truth;
    const type = path.startsWith('/manifests/') ? MEDIA_TYPES.manifest : 'application/octet-stream';
    const usual = { 'content-type': type, 'content-length': sent.length, 'docker-content-digest': digestOf(truth) };
    response.writeHead(200, { ...usual, ...headers });
    if (isBroken) response.write(half(sent), () => response.destroy());
    else response.end(sent);
    return true;
  });

const deploy = (tag: string) =>
  stage.call('/api/v1/endpoints/served/releases', { method: 'POST', body: { reference: `${gate.host}/acme/image:${tag}` } });
/** What serves, and all that is stored. */
async function releases() {
  const { activeRelease } = (await stage.call('/api/v1/endpoints/served')).json as { activeRelease: number };
  const { items } = (await stage.call('/api/v1/endpoints/served/releases')).json as { items: { number: number }[] };
  return { serves: activeRelease, stored: items.map(({ number }) => number) };
}

describe('a deploy from a registry that lies', () => {
  it.each(FAULTS)('refuses a %s %s, and the old release keeps serving (D1)', async (part, _what, lie, code) => {
    const tag = `t${published}`;
    const { parts } = await publish(tag);
    const truth = parts[part];
    const path = part === 'manifest' ? `/manifests/${tag}` : `/blobs/${digestOf(truth)}`;
    serveFalsely(path, lie(truth), truth);
    const { status, json } = await deploy(tag);
    expect(json).toMatchObject({ error: { code, message: expect.stringContaining(gate.host) } });
    expect(json).toMatchObject({ error: { message: expect.stringMatching(part === 'manifest' ? tag : digestOf(truth)) } });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(await releases()).toEqual({ serves: 1, stored: [1] });
    const before = answers.length;
    await until(() => answers.length > before + 3, 'the endpoint to answer');
    expect(new Set(answers)).toEqual(new Set(['old']));
  });

  it('serves what the tag meant when it was asked, though the tag moves meanwhile (D1)', async () => {
    const { digest, parts } = await publish('moving');
    gate.put((request, response) => {
      if (!request.url?.endsWith(`/blobs/${digestOf(parts.config)}`)) return false;
      void publish('moving').then(() => remote.handle(request, response, { canPush: false }));
      return true;
    });
    expect((await deploy('moving')).json).toMatchObject({ release: { image: { digest } } });
    await until(() => answers.at(-1) === 'new', 'the new release to serve');
    await until(async () => (await releases()).serves === 2, 'the rollout to end');
    // Each was answered by one of them, first by the old one, then by the new one.
    expect(new Set(answers)).toEqual(new Set(['old', 'new']));
    expect(answers.slice(answers.indexOf('new'))).not.toContain('old');
  });
});
