import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openClock } from '../../src/base/clock.js';
import { markUsed } from '../../src/base/use-mark.js';
import { collectBuilds, KEEP_TIMES } from '../../src/build/collect.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { type Digest, digestOf } from '../../src/oci/digest.js';
import { blobsDirOf, type Layout, openLayout } from '../../src/oci/layout.js';

const DAY_MS = 24 * 60 * 60 * 1000;
let dir: string;
let layout: Layout;
let now: number;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-collect-'));
  layout = await openLayout(join(dir, 'images'));
  now = openClock().now();
  // The first time only begins the day.
  expect(await collect()).toBeUndefined();
  passDays(2);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const collect = (sizeBytes = 1e9) =>
  collectBuilds({ layoutDir: layout.dir, cacheDir: join(dir, 'cache'), now, rules: { ...KEEP_TIMES, sizeBytes } });
/** As if the last collection had been so long ago. */
const passDays = (days: number) => age(join(layout.dir, 'collected'), days);
const fileOf = (digest: Digest) => join(blobsDirOf(layout.dir), digest.slice(7));
const age = (path: string, days: number) => utimesSync(path, (now - days * DAY_MS) / 1000, (now - days * DAY_MS) / 1000);
const isThere = (digest: Digest) => existsSync(fileOf(digest));

/** A build of one layer, last used so many days ago. */
async function built(name: string, layer: string, days: number, settings = JSON.stringify({ name })) {
  const parts = [await layout.putBytes(layer), await layout.putBytes(settings)] as const;
  const [layers, config] = parts.map((part) => ({ mediaType: MEDIA_TYPES.layerGzip, ...part })) as [object, object];
  const manifest = await layout.putBytes(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config, layers: [layers] }));
  await layout.putRef(name, { mediaType: MEDIA_TYPES.manifest, ...manifest });
  const blobs = [...parts, manifest].map(({ digest }) => digest);
  for (const digest of blobs) age(fileOf(digest), days);
  return blobs as [Digest, Digest, Digest];
}

/** Something beside the images, last used so many days ago. */
function left(path: string, days: number, text = 'x'.repeat(100)): string {
  const place = join(dir, path);
  mkdirSync(dirname(place), { recursive: true });
  writeFileSync(place, text);
  age(place, days);
  return place;
}

it('keeps the last build of each project and what was used in a week, and removes the rest', async () => {
  const [before, last] = [await built('one', 'first', 8), await built('one', 'second', 8)];
  const other = await built('two', 'third', 90);
  const kept = [left('cache/layers/used', 3), left('cache/compiled/root/old.pyc', 90), left('images/oci-layout', 90)];
  const old = [left('cache/layers/unused', 8), left('cache/staging/uuid/x', 8), left('images/blob-killed.part', 8)];
  mkdirSync(join(dir, 'cache/npm/tree/node_modules'), { recursive: true });
  age(join(dir, 'cache/npm/tree'), 8);
  age(join(dir, 'cache/staging/uuid'), 8);
  // The layer and the manifest; the config of both builds is the same.
  expect(await collect()).toMatchObject({ count: 6 });
  expect(before.filter(isThere)).toEqual(before.filter((digest) => last.includes(digest)));
  expect([...last, ...other].every(isThere)).toBe(true);
  expect(kept.filter((path) => !existsSync(path))).toEqual([]);
  expect([...old, join(dir, 'cache/npm/tree')].filter((path) => existsSync(path))).toEqual([]);
});

it('keeps what the next build of a project begins with: what is remembered of its layers, its packages, its base', async () => {
  const [, baseConfig, digest] = await built('base', 'of the base', 8);
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { diff_ids: [] },
    config: { Labels: { 'org.opencontainers.image.base.digest': digest } },
  });
  const [layer] = await built('project', 'layer', 8, config);
  await layout.removeRefs([{ name: 'base', digest }]);
  const remembered = (of: Digest | undefined) => JSON.stringify({ digest: of, diffId: of, size: 5 });
  const kept = [
    left('cache/layers/known', 8, remembered(layer)),
    left('cache/trees/project', 8, 'tree'),
    left('cache/npm/tree', 8),
    fileOf(digest),
  ];
  const gone = [
    left('cache/layers/other', 8, remembered(digestOf('other'))),
    left('cache/trees/removed', 8, 'another'),
    left('cache/npm/another', 8),
  ];
  await collect();
  expect(kept.filter((path) => !existsSync(path))).toEqual([]);
  expect(gone.filter((path) => existsSync(path))).toEqual([]);
  expect(isThere(baseConfig)).toBe(true);
});

it('lets go of the last builds that nothing used for longest when there is too much, with their names', async () => {
  const [oldest, older, newest] = [
    await built('one', 'a'.repeat(600), 40),
    await built('two', 'b'.repeat(600), 30),
    await built('three', 'c'.repeat(600), 0),
  ];
  expect(await collect(2_500)).toBeDefined();
  expect(oldest.some((digest) => !isThere(digest))).toBe(true);
  expect([...older, ...newest].every(isThere)).toBe(true);
  expect((await layout.listRefs()).map(({ name }) => name).sort()).toEqual(['three', 'two']);
  passDays(2);
  await collect(0);
  expect((await layout.listRefs()).map(({ name }) => name)).toEqual(['three']);
  expect(readdirSync(blobsDirOf(layout.dir))).toHaveLength(3);
});

it('runs once a day, and once for all that ask at the same time', async () => {
  const collected = await Promise.all(Array.from({ length: 5 }, () => collect()));
  expect(collected.filter((each) => each !== undefined)).toHaveLength(1);
  passDays(0.9);
  expect(await collect()).toBeUndefined();
  passDays(1.1);
  expect(await collect()).toEqual({ count: 0, sizeBytes: 0 });
});

it('keeps what is used meanwhile: what was told to be there can be read', async () => {
  const file = (n: number) => join(dir, `cache/npm/${n}`);
  let used = 0;
  for (let round = 0; round < 15; round++) {
    passDays(2);
    const blobs = await Promise.all(Array.from({ length: 20 }, (_, n) => layout.putBytes(`blob ${round} ${n}`)));
    for (const { digest } of blobs) age(fileOf(digest), 8);
    for (let n = 0; n < 20; n++) left(`cache/npm/${n}`, 8);
    const uses = blobs.map(async (blob, n) => {
      // Each a little later, so that some meet the collection in the middle.
      for (let turn = 0; turn < n; turn++) await markUsed(join(dir, 'absent'));
      if (await layout.has(blob)) {
        used += 1;
        expect(Buffer.from(await layout.readBytes(blob.digest)).toString()).toBe(`blob ${round} ${n}`);
      }
      if (await markUsed(file(n), layout.lockFile)) expect(existsSync(file(n))).toBe(true);
      // What was gone is made again, and stays.
      await layout.putBytes(`blob ${round} ${n}`);
    });
    await Promise.all([collect(), ...uses]);
    expect(blobs.every(({ digest }) => isThere(digest))).toBe(true);
  }
  expect(used).toBeGreaterThan(0);
});

it('keeps the names of builds that end at the same time', async () => {
  const names = Array.from({ length: 30 }, (_, n) => `project-${n}`);
  const manifest = { mediaType: MEDIA_TYPES.manifest, digest: digestOf('x'), size: 1 };
  await Promise.all(names.map(async (name) => (await openLayout(layout.dir)).putRef(name, manifest)));
  expect((await layout.listRefs()).map(({ name }) => name).sort()).toEqual([...names].sort());
});
