import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { type ModelCache, openModelCache } from '../../src/models/cache.js';
import { openHub as openClient } from '../../src/models/hub.js';
import { DIRECT, PATIENCE } from '../../src/registry/connections.js';
import { gitHash, openHub, sha256, type TestHub } from '../hub.js';
import { until } from '../stage.js';

const WEIGHTS = randomBytes(300_000);
const CONFIG = '{"a":1}';
const FILES = { 'config.json': CONFIG, 'model.safetensors': WEIGHTS, 'onnx/deep/copy.bin': WEIGHTS, empty: '' };

let hub: TestHub;
let dir: string;
const caches: ModelCache[] = [];
const stop = new AbortController();

beforeEach(async () => {
  hub = await openHub();
  dir = mkdtempSync(join(tmpdir(), 'wherry-models-'));
});
afterEach(async () => {
  for (const cache of caches.splice(0)) await cache.close();
  await hub.close();
  rmSync(dir, { recursive: true, force: true });
});

function openCache({ token, nowMs = 0 }: { readonly token?: string; readonly nowMs?: number } = {}): ModelCache {
  const client = openClient({ endpoint: hub.url, network: DIRECT, patience: PATIENCE, retryDelayMs: 1 });
  const now = () => Date.now() + nowMs;
  const cache = openModelCache({ dir, hub: client, token, retryDelayMs: 1, log: silentLog, now, signal: stop.signal });
  caches.push(cache);
  return cache;
}

async function fetchNow(cache: ModelCache, models: readonly string[], token?: string) {
  const resolved: string[] = [];
  for (const model of models) resolved.push(await cache.resolve(model, token));
  const told: string[] = [];
  const { signal } = new AbortController();
  const prepared = await cache.fetch(resolved, { token, onProgress: (text) => told.push(text), signal });
  return { ...prepared, resolved, told };
}

const hashOf = (file: string) => sha256(readFileSync(file));
const transfers = () => hub.seen.filter(({ at }) => at === 'store');

describe('models of a hub (row 88)', () => {
  it('lie as huggingface_hub lays them out: blobs by ETag, snapshots of links, refs', async () => {
    const commit = hub.commit('acme/tiny', FILES);
    const { cacheDir, folders, resolved } = await fetchNow(openCache(), ['acme/tiny']);
    expect([folders, resolved]).toEqual([['models--acme--tiny'], [`acme/tiny@main@${commit}`]]);
    const model = join(cacheDir, 'models--acme--tiny');
    expect(readFileSync(join(model, 'refs/main'), 'utf8')).toBe(commit);
    const snapshot = join(model, 'snapshots', commit);
    for (const [path, body] of Object.entries(FILES))
      expect([path, hashOf(join(snapshot, path))]).toEqual([path, sha256(Buffer.from(body))]);
    expect(readdirSync(join(model, 'blobs')).sort()).toEqual(
      [sha256(WEIGHTS), gitHash(Buffer.from(CONFIG)), gitHash(Buffer.alloc(0))].sort(),
    );
    expect(statSync(join(snapshot, 'config.json')).mode & 0o777).toBe(0o444);
    expect(statSync(snapshot).mode & 0o777).toBe(0o755);
  });

  it('come once, for starts at the same time and for another server, also while the hub is away', async () => {
    hub.commit('acme/tiny', FILES);
    const cache = openCache();
    const text = await cache.resolve('acme/tiny', undefined);
    const fetchIt = (from: ModelCache) => from.fetch([text], { token: undefined, onProgress: () => {}, signal: stop.signal });
    await Promise.all([fetchIt(cache), fetchIt(cache), fetchIt(cache)]);
    expect(transfers()).toHaveLength(1);
    hub.setDown(503);
    expect(await fetchIt(openCache())).toMatchObject({ bytes: 0 });
    expect(transfers()).toHaveLength(1);
  });

  it('go on behind the last byte after a break, with the range, in this server and in the next', async () => {
    hub.commit('acme/tiny', FILES);
    hub.faults.push({ cut: 100_000 });
    await fetchNow(openCache(), ['acme/tiny']);
    expect(transfers().map(({ range }) => range)).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
    hub.commit('acme/other', { w: randomBytes(400_000) });
    hub.faults.push({ cut: 200_000 }, ...Array.from({ length: 5 }, () => ({ cut: 0 })));
    await expect(fetchNow(openCache(), ['acme/other'])).rejects.toMatchObject({ code: 'MODEL_UNAVAILABLE' });
    hub.faults.length = 0;
    await fetchNow(openCache(), ['acme/other']);
    expect(transfers().at(-1)?.range).toMatch(/^bytes=[1-9]\d*-$/);
  });

  it('begin anew when a range is ignored, or when what was here is not what was sent', async () => {
    hub.commit('acme/tiny', FILES);
    hub.faults.push({ cut: 100_000 }, 'whole');
    await fetchNow(openCache(), ['acme/tiny']);
    const other = randomBytes(200_000);
    hub.commit('acme/other', { w: other });
    writeFileSync(join(dir, 'blobs', `${sha256(other)}.incomplete`), randomBytes(1_000));
    const { cacheDir } = await fetchNow(openCache(), ['acme/other']);
    expect(hashOf(join(cacheDir, 'models--acme--other/blobs', sha256(other)))).toBe(sha256(other));
  });

  it('are refused with other bytes than their hash, and nothing of them is shown', async () => {
    hub.commit('acme/tiny', FILES);
    hub.faults.push('twist');
    await expect(fetchNow(openCache(), ['acme/tiny'])).rejects.toMatchObject({
      code: 'MODEL_UNAVAILABLE',
      message: expect.stringContaining('came with other bytes than its hash'),
    });
    expect(existsSync(join(dir, 'sets'))).toBe(false);
    await fetchNow(openCache(), ['acme/tiny']);
  });

  it('are fetched again when somebody wrote to their files', async () => {
    hub.commit('acme/tiny', FILES);
    const { cacheDir } = await fetchNow(openCache(), ['acme/tiny']);
    const blob = join(cacheDir, 'models--acme--tiny/blobs', sha256(WEIGHTS));
    rmSync(blob);
    writeFileSync(join(dir, 'blobs', sha256(WEIGHTS)), randomBytes(WEIGHTS.length));
    await fetchNow(openCache(), ['acme/tiny']);
    expect(hashOf(blob)).toBe(sha256(WEIGHTS));
  });

  it('share equal files, and releases see only the models and revisions of their own', async () => {
    const first = hub.commit('acme/tiny', FILES);
    const cache = openCache();
    const old = await fetchNow(cache, ['acme/tiny']);
    const second = hub.commit('acme/tiny', { ...FILES, 'config.json': '{"a":2}' });
    hub.commit('acme/copy', { w: WEIGHTS }, 'refs/pr/1');
    const now = await fetchNow(cache, ['acme/tiny', 'acme/copy@refs/pr/1']);
    expect(transfers()).toHaveLength(1);
    const refOf = ({ cacheDir }: { readonly cacheDir: string }) => readFileSync(join(cacheDir, 'models--acme--tiny/refs/main'), 'utf8');
    expect([refOf(old), refOf(now)]).toEqual([first, second]);
    expect(readdirSync(now.cacheDir).sort()).toEqual(['models--acme--copy', 'models--acme--tiny']);
    expect(existsSync(join(now.cacheDir, 'models--acme--copy/refs/refs/pr/1'))).toBe(true);
  });

  it('may be one repository at several revisions', async () => {
    const first = hub.commit('acme/tiny', FILES);
    const second = hub.commit('acme/tiny', { ...FILES, more: 'x' }, 'v2');
    const { cacheDir, folders } = await fetchNow(openCache(), ['acme/tiny', 'acme/tiny@v2', `acme/tiny@${second}`]);
    expect(folders).toEqual(['models--acme--tiny']);
    const [refs, snapshots] = ['refs', 'snapshots'].map((name) => readdirSync(join(cacheDir, 'models--acme--tiny', name)).sort());
    expect([refs, snapshots]).toEqual([['main', 'v2'], [first, second].sort()]);
  });

  it('are opened with a token that goes to the hub only, and never into a message', async () => {
    hub.commit('acme/secret', FILES);
    hub.guard('acme/secret', 'hf_right');
    const refused = await fetchNow(openCache({ token: 'hf_wrong' }), ['acme/secret']).catch((thrown: unknown) => thrown);
    expect(refused).toMatchObject({ code: 'MODEL_UNKNOWN', message: expect.not.stringContaining('hf_wrong') });
    await fetchNow(openCache({ token: 'hf_wrong' }), ['acme/secret'], 'hf_right');
    expect(hub.seen.some(({ at, authorization }) => at === 'hub' && authorization === 'Bearer hf_right')).toBe(true);
    expect(transfers().map(({ authorization }) => authorization)).toEqual([undefined]);
    hub.commit('acme/gated', { w: WEIGHTS, small: 'x' });
    hub.guard('acme/gated', 'hf_right', true);
    await expect(fetchNow(openCache(), ['acme/gated'])).rejects.toMatchObject({
      code: 'DENIED',
      hint: expect.stringContaining('HF_TOKEN'),
    });
  });

  it('say which of them cannot be had, and why', async () => {
    hub.commit('acme/tiny', FILES);
    const cache = openCache();
    await expect(cache.resolve('acme/none', undefined)).rejects.toMatchObject({ code: 'MODEL_UNKNOWN' });
    await expect(cache.resolve('acme/tiny@v9', undefined)).rejects.toMatchObject({ code: 'MODEL_UNKNOWN' });
    hub.setDown(503);
    await expect(cache.resolve('acme/tiny', undefined)).rejects.toMatchObject({
      code: 'MODEL_UNAVAILABLE',
      message: expect.stringContaining('answered 503'),
    });
    hub.setDown(undefined);
    hub.commit('acme/evil', { '../up': WEIGHTS });
    const evil = fetchNow(cache, ['acme/evil']);
    await expect(evil).rejects.toMatchObject({ message: expect.stringContaining("'../up' is no path in it") });
  });

  it('are given up when nobody waits any more, and tell how far they are', async () => {
    hub.commit('acme/tiny', FILES);
    const cache = openCache();
    const text = await cache.resolve('acme/tiny', undefined);
    hub.hold(new Promise(() => {}));
    const leaving = new AbortController();
    const told: string[] = [];
    const fetched = cache.fetch([text], { token: undefined, onProgress: (line) => told.push(line), signal: leaving.signal });
    await until(() => transfers().length === 1, 'a transfer');
    leaving.abort();
    await expect(fetched).rejects.toMatchObject({ code: 'MODEL_UNAVAILABLE' });
    expect(told[0]).toBe('fetching model acme/tiny@main: 0 B of 293.0 KiB');
  });

  it('come for those who wait, also after others gave up the same file or the same models', async () => {
    hub.commit('acme/tiny', FILES);
    hub.commit('acme/copy', { w: WEIGHTS });
    const cache = openCache();
    const [tiny, copy] = [await cache.resolve('acme/tiny', undefined), await cache.resolve('acme/copy', undefined)];
    let release = () => {};
    hub.hold(new Promise((resolve) => (release = resolve)));
    const leaving = new AbortController();
    const fetchIt = (text: string, { signal } = new AbortController()) =>
      cache.fetch([text], { token: undefined, onProgress: () => {}, signal });
    const givenUp = fetchIt(tiny, leaving);
    await until(() => transfers().length === 1, 'a transfer');
    const other = fetchIt(copy);
    await until(() => hub.seen.filter(({ path }) => path.includes('acme/copy')).length === 2, 'the other set to be described');
    await until(() => existsSync(join(dir, 'blobs', `${sha256(WEIGHTS)}.incomplete`)), 'the shared file to be begun');
    leaving.abort();
    const again = fetchIt(tiny);
    await expect(givenUp).rejects.toMatchObject({
      code: 'MODEL_UNAVAILABLE',
      message: 'the fetch of models was given up: nobody waits for them any more',
    });
    release();
    const [{ cacheDir }] = await Promise.all([other, again]);
    expect(hashOf(join(cacheDir, 'models--acme--copy/blobs', sha256(WEIGHTS)))).toBe(sha256(WEIGHTS));
  });

  it('come with the right token while the same are refused with another', async () => {
    const commit = hub.commit('acme/gated', FILES);
    hub.guard('acme/gated', 'hf_right', true);
    const cache = openCache();
    const fetched = ['hf_wrong', 'hf_right'].map((token) => fetchNow(cache, [`acme/gated@${commit}`], token));
    const [refused, come] = await Promise.allSettled(fetched);
    expect([refused?.status, come?.status]).toEqual(['rejected', 'fulfilled']);
  });

  it('stay while a release names them, and go a day after that', async () => {
    hub.commit('acme/tiny', FILES);
    hub.commit('acme/other', { w: randomBytes(1_000) });
    const { resolved: tiny } = await fetchNow(openCache(), ['acme/tiny']);
    const { cacheDir } = await fetchNow(openCache(), ['acme/other']);
    await openCache().forget([tiny]);
    expect(existsSync(cacheDir)).toBe(true);
    await openCache({ nowMs: 25 * 3_600_000 }).forget([tiny]);
    expect(existsSync(cacheDir)).toBe(false);
    expect(readdirSync(join(dir, 'blobs'))).toHaveLength(3);
    expect(readdirSync(join(dir, 'sets'))).toHaveLength(2);
  });
});
