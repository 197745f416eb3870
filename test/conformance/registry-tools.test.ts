import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { openRegistryServer } from '../contract/registry-server.js';
import { needs } from '../needs.js';

const run = promisify(execFile);

let registry: Awaited<ReturnType<typeof openRegistryServer>>;
let dir: string;
beforeEach(async () => {
  registry = await openRegistryServer();
  dir = mkdtempSync(join(tmpdir(), 'wherry-tools-'));
});
afterEach(async () => {
  await registry.close();
  rmSync(dir, { recursive: true, force: true });
});

/** An OCI layout with one image of one empty tar layer, as tools write it. */
function writeLayout(): { readonly path: string; readonly digest: string } {
  const path = join(dir, 'layout');
  mkdirSync(join(path, 'blobs', 'sha256'), { recursive: true });
  const add = (mediaType: string, bytes: Buffer) => {
    const digest = digestOf(bytes);
    writeFileSync(join(path, 'blobs', 'sha256', digest.slice(7)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const layer = Buffer.alloc(1024);
  const config = { architecture: 'amd64', os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [digestOf(layer)] } };
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: add(MEDIA_TYPES.config, Buffer.from(JSON.stringify(config))),
    layers: [add(MEDIA_TYPES.layerTar, layer)],
  };
  const image = add(MEDIA_TYPES.manifest, Buffer.from(JSON.stringify(manifest)));
  const named = { ...image, annotations: { 'org.opencontainers.image.ref.name': 'v1' } };
  writeFileSync(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return { path, digest: image.digest };
}

// Skipped where skopeo is not installed; WHERRY_TEST_REQUIRE=skopeo makes its absence a failure.
describe.skipIf(!needs('skopeo'))('skopeo', () => {
  const skopeo = (...args: string[]) => run('skopeo', ['--insecure-policy', ...args]);

  it('copies an image in and out with the digest unchanged, lists its tags and deletes it', async () => {
    const { path, digest } = writeLayout();
    const image = `docker://${registry.host}/tools/skopeo:v1`;
    await skopeo('copy', '--preserve-digests', '--dest-tls-verify=false', `oci:${path}:v1`, image);
    const inspected = JSON.parse((await skopeo('inspect', '--tls-verify=false', image)).stdout) as { Digest: string };
    expect(inspected.Digest).toBe(digest);
    await skopeo('copy', '--preserve-digests', '--src-tls-verify=false', image, `dir:${join(dir, 'out')}`);
    expect(digestOf(readFileSync(join(dir, 'out', 'manifest.json')))).toBe(digest);
    const tags = await skopeo('list-tags', '--tls-verify=false', `docker://${registry.host}/tools/skopeo`);
    expect((JSON.parse(tags.stdout) as { Tags: string[] }).Tags).toEqual(['v1']);
    await skopeo('delete', '--tls-verify=false', image);
    await expect(skopeo('inspect', '--tls-verify=false', image)).rejects.toThrow(/manifest unknown|MANIFEST_UNKNOWN/i);
  });
});

// Skipped where curl is not installed; WHERRY_TEST_REQUIRE=curl makes its absence a failure.
describe.skipIf(!needs('curl'))('curl', () => {
  it('pushes a blob and resumes a broken download of it', async () => {
    const bytes = Buffer.alloc(300_000, 'curl');
    const digest = digestOf(bytes);
    writeFileSync(join(dir, 'in'), bytes);
    const address = `${registry.url}/v2/tools/curl/blobs`;
    await run('curl', ['-fsS', '-X', 'POST', '--data-binary', `@${join(dir, 'in')}`, `${address}/uploads/?digest=${digest}`]);
    writeFileSync(join(dir, 'out'), bytes.subarray(0, 1000));
    await run('curl', ['-fsS', '-C', '-', '-o', join(dir, 'out'), `${address}/${digest}`]);
    expect(readFileSync(join(dir, 'out')).equals(bytes)).toBe(true);
  });

  it('uploads a stream of unknown length', async () => {
    const bytes = Buffer.alloc(300_000, 'stream');
    const digest = digestOf(bytes);
    writeFileSync(join(dir, 'in'), bytes);
    const started = await run('curl', ['-fsS', '-i', '-X', 'POST', `${registry.url}/v2/tools/curl/blobs/uploads/`]);
    const location = /^location: (\S+)/im.exec(started.stdout)?.[1] ?? '';
    const chunked = ['-H', 'Transfer-Encoding: chunked', '-T', join(dir, 'in')];
    await run('curl', ['-fsS', '-X', 'PATCH', ...chunked, `${registry.url}${location}`]);
    await run('curl', ['-fsS', '-X', 'PUT', `${registry.url}${location}?digest=${digest}`]);
    expect(await registry.blobs.has(digest)).toEqual({ size: bytes.length });
  });
});
