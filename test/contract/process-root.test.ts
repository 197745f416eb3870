import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { digestOf } from '../../src/oci/digest.js';
import { LABELS } from '../../src/oci/manifest.js';
import { type PreparedImage, prepareImage } from '../../src/runtime/process/root.js';
import { copyTree, findChange } from '../../src/runtime/process/seal.js';
import { file, folder, type RawEntry, rawLayer, symlink } from '../raw-tar.js';

let dataDir: string;
let outside: string;
beforeEach(() => {
  dataDir = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-root-')));
  outside = join(dataDir, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'secret'), 'sentinel');
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

/** Prepares an image of one application layer for this machine's Node. */
function prepare(entries: readonly RawEntry[]): Promise<PreparedImage> {
  const labels = { [LABELS.interpreter]: 'node@20', [LABELS.handler]: 'h.mjs:handler', [LABELS.layers]: '["one"]' };
  const images = {
    config: async () =>
      ({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] }, config: { Labels: labels } }) as const,
    layers: async () => [{ diffId: 'one', open: () => rawLayer(entries) }],
  };
  const options = { dataDir, images, searchPath: '', log: silentLog };
  return prepareImage({ repository: 'test/image', digest: digestOf(JSON.stringify(entries)) }, options, async () => process.execPath);
}

/** What a worker gets of it. */
function copy({ root, seal }: PreparedImage): string {
  const target = join(dataDir, 'work');
  mkdirSync(target);
  copyTree({ root, seal, top: 'wherry/app', target });
  return target;
}

it('seals the image alone, whatever its links lead to (S4)', async () => {
  const mode = () => lstatSync(join(outside, 'secret')).mode;
  const before = mode();
  const image = await prepare([
    file('wherry/app/h.mjs'),
    symlink('wherry/app/self', '.'),
    symlink('wherry/app/all', '/'),
    symlink('wherry/app/out', outside),
    symlink('wherry/app/up', '../../../../outside'),
  ]);
  expect(image.seal.map(({ path }) => path)).toEqual(
    ['', '/app', '/app/all', '/app/h.mjs', '/app/out', '/app/self', '/app/up'].map((path) => `wherry${path}`),
  );
  expect(mode()).toBe(before);
  expect(findChange(image.root, image.seal)).toBeUndefined();
  for (const path of ['out/secret', 'up/secret', 'all/etc/passwd'])
    expect(() => readFileSync(join(image.root, 'wherry/app', path))).toThrow();
});

it("gives a worker links that lead where they lead in the image, out of the worker's folder too (S4)", async () => {
  const image = await prepare([
    folder('wherry/app/lib'),
    file('wherry/app/lib/a', 'a'),
    symlink('wherry/app/also', 'lib'),
    file('wherry/models/m', 'm'),
    symlink('wherry/app/model', '/wherry/models/m'),
    symlink('wherry/app/models', '../models'),
  ]);
  const work = copy(image);
  for (const [path, text] of Object.entries({ 'also/a': 'a', model: 'm', 'models/m': 'm' })) {
    expect(readFileSync(join(image.root, 'wherry/app', path), 'utf8')).toBe(text);
    expect(readFileSync(join(work, path), 'utf8')).toBe(text);
  }
});

it.each([
  ['/wherry', [symlink('wherry', '/etc')]],
  ['/wherry/app', [symlink('wherry/app', '../models'), file('wherry/models/m')]],
  ['a folder that is a file', [file('wherry/app')]],
])('refuses an image with a link for %s, and leaves nothing (S4)', async (_, entries) => {
  await expect(prepare(entries)).rejects.toMatchObject({ code: 'LAYER_INVALID' });
  expect(readdirSync(join(dataDir, 'roots'))).toEqual([]);
});

it('keeps nothing of an image whose layer is refused (S4)', async () => {
  await expect(prepare([file('wherry/app/h.mjs'), file('wherry/.wh...')])).rejects.toMatchObject({ code: 'LAYER_INVALID' });
  expect(readdirSync(join(dataDir, 'roots'))).toEqual([]);
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('sentinel');
});

it('drops the setuid bit of what it unpacks and of what it copies (S4)', async () => {
  const image = await prepare([file('wherry/app/run', '', { mode: 0o6755 })]);
  const modes = [join(image.root, 'wherry/app/run'), join(copy(image), 'run')].map((path) => lstatSync(path).mode & 0o7777);
  expect(modes).toEqual([0o555, 0o755]);
});
