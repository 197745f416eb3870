import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { file, type RawEntry, rawTar, symlink } from '../../test/raw-tar.js';
import { digestOf } from './digest.js';
import { readArchive, readLayers } from './docker-archive.js';

function archive(entries: readonly RawEntry[]): string {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-archive-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'image.tar'), rawTar(entries));
  return join(dir, 'image.tar');
}

const diffId = digestOf('layer');
const CONFIG = JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [diffId, diffId] } });
const list = (layers: readonly unknown[], config: unknown = 'c.json') =>
  file('manifest.json', JSON.stringify([{ Config: config, Layers: layers }]));

it('finds layers by their paths, and by links to them', async () => {
  const path = archive([
    file('c.json', CONFIG),
    file('1/layer.tar', 'layer'),
    symlink('2/layer.tar', '../1/layer.tar'),
    list(['1/layer.tar', '2/layer.tar']),
  ]);
  const { layers } = await readArchive(path);
  expect(layers).toEqual([1, 2].map(() => ({ diffId, path: '1/layer.tar' })));
  for await (const { tar } of readLayers(path, new Set(['1/layer.tar'])))
    expect(Buffer.concat(await Readable.from(tar).toArray()).toString()).toBe('layer');
});

it.each<[string, readonly RawEntry[]]>([
  ['without its list', [file('c.json', CONFIG)]],
  ['whose list is not JSON', [file('manifest.json', '[{')]],
  ['whose list is of something else', [file('manifest.json', '[null]')]],
  ['whose layers are no paths', [file('c.json', CONFIG), list([1, 2])]],
  ['whose config is not there', [list(['a', 'b'], '/etc/passwd')]],
  ['with fewer layers than diffIDs', [file('c.json', CONFIG), list(['a'])]],
  ['with a path out of it', [file('../evil', '{}'), file('c.json', CONFIG), list(['a', 'b'])]],
  ['with documents without end', Array.from({ length: 10_001 }, (_, n) => file(`${n}.json`, '{}'))],
])('refuses an archive %s (S4)', async (_, entries) => {
  await expect(readArchive(archive(entries))).rejects.toMatchObject({ code: 'LAYER_INVALID' });
});
