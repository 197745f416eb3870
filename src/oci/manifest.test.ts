import { expect, it } from 'vitest';
import { digestOf } from './digest.js';
import { isIndex, parseImageConfig, parseManifest } from './manifest.js';
import { listPlatforms } from './platform.js';

const CONFIG = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [digestOf('')] } };
const ENTRY = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(''), size: 0 };

const configOf = (more: object) => parseImageConfig(JSON.stringify({ ...CONFIG, ...more }));
const indexOf = (more: object) => parseManifest(JSON.stringify({ schemaVersion: 2, manifests: [{ ...ENTRY, ...more }] }));

it.each([
  { config: { Env: 'x' } },
  { config: { Env: [1] } },
  { config: { Cmd: 'x' } },
  { config: { Labels: { a: 1 } } },
  { config: [] },
  { history: {} },
  { history: [null] },
  { history: [{ created_by: 1 }] },
  { rootfs: { diff_ids: [1] } },
  { os: undefined },
  { architecture: null },
])('refuses an image config with %j', (more) => {
  expect(() => configOf(more)).toThrow(expect.objectContaining({ code: 'MANIFEST_INVALID' }));
});

it.each(['linux', {}, { os: 'linux' }, { os: 1, architecture: 'amd64' }])('refuses an index with the platform %j', (platform) => {
  expect(() => indexOf({ platform })).toThrow(expect.objectContaining({ code: 'MANIFEST_INVALID' }));
});

it('takes null for absent where other tools write it, and keeps what it does not know', () => {
  const nulls = { variant: null, created: null, history: null, config: { Cmd: null, Labels: null, OnBuild: null }, author: 'me' };
  expect(configOf(nulls)).toEqual({ ...CONFIG, config: { OnBuild: null }, author: 'me' });
  expect(configOf({ config: null })).toEqual(CONFIG);
  const index = indexOf({ platform: null, urls: null, data: 'e30=' });
  expect(index).toMatchObject({ manifests: [{ ...ENTRY, data: 'e30=' }] });
  expect(isIndex(index) && listPlatforms(index)).toEqual([]);
});
