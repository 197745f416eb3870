import fc from 'fast-check';
import { type Header, pack } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../oci/descriptor.js';
import { digestOf } from '../oci/digest.js';
import { readContents } from './contents.js';
import { type Memory, readKnownPackages } from './known-packages.js';
import type { ImageSource } from './source.js';

type Entry = Partial<Header> & { readonly name: string; readonly text?: string };

async function* tarOf(entries: readonly Entry[]): AsyncIterable<Uint8Array> {
  const packer = pack();
  for (const { text = '', ...header } of entries) packer.entry(header as Header, text);
  packer.finalize();
  for await (const part of packer) yield part as Uint8Array;
}

/** `opened` gets the indexes of the layers that are read. */
function imageOf(layers: readonly (readonly Entry[])[], opened: number[] = []): ImageSource {
  const descriptor = { mediaType: MEDIA_TYPES.layerTar, digest: digestOf(''), size: 0 };
  const open = (entries: readonly Entry[], index: number) => {
    opened.push(index);
    return tarOf(entries);
  };
  return {
    descriptor: { ...descriptor, mediaType: MEDIA_TYPES.manifest },
    manifest: { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config: descriptor, layers: layers.map(() => descriptor) },
    config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
    layers: layers.map((entries, index) => ({ descriptor, diffId: digestOf(JSON.stringify(entries)), open: () => open(entries, index) })),
  };
}

function memoryOf(texts = new Map<string, string>()): Memory & { readonly texts: Map<string, string> } {
  return { texts, get: async (key) => texts.get(key), put: async (key, text) => void texts.set(key, text) };
}

const npm = (name: string, version: string) => JSON.stringify({ name, version });
const told = async (image: ImageSource) => {
  const { packages, distribution } = await readContents(image);
  return { packages, distribution };
};

const BASE: readonly Entry[] = [
  { name: 'etc/os-release', text: 'ID=debian\nVERSION_ID=12\n' },
  { name: 'usr/lib/plain', text: 'x' },
  { name: 'lib', type: 'symlink', linkname: 'usr/lib' },
  { name: 'app/node_modules/a/package.json', text: npm('a', '1.0.0') },
];

describe('packages of known layers', () => {
  it('are not read again', async () => {
    const memory = memoryOf();
    const opened: number[] = [];
    await readKnownPackages(imageOf([BASE, [{ name: 'code', text: '1' }]], opened), { memory });
    expect(opened).toEqual([0, 1]);
    opened.length = 0;
    const changed = [BASE, [{ name: 'lib/node_modules/b/package.json', text: npm('b', '2.0.0') }]];
    const { packages, distribution } = await readKnownPackages(imageOf(changed, opened), { memory });
    expect(opened).toEqual([1]);
    expect(packages.map(({ name, path }) => `${name} ${path}`)).toEqual([
      'a app/node_modules/a/package.json',
      'b lib/node_modules/b/package.json',
    ]);
    expect(distribution).toEqual({ id: 'debian', version: '12' });
  });

  it('that were damaged on disk are read again', async () => {
    const memory = memoryOf();
    await readKnownPackages(imageOf([BASE]), { memory });
    for (const key of memory.texts.keys()) memory.texts.set(key, '{"cut');
    expect((await readKnownPackages(imageOf([BASE]), { memory })).packages).toHaveLength(1);
  });

  it('under other layers are other ones', async () => {
    const memory = memoryOf();
    const top: readonly Entry[] = [{ name: 'app/.wh.node_modules' }];
    await readKnownPackages(imageOf([BASE, top]), { memory });
    const other = [[...BASE, { name: 'srv/node_modules/c/package.json', text: npm('c', '3.0.0') }], top];
    expect((await readKnownPackages(imageOf(other), { memory })).packages.map(({ name }) => name)).toEqual(['c']);
  });

  it('are the same as when all layers are read, whatever the layers do', async () => {
    const folder = fc.constantFrom('', 'a/', 'a/b/', 'l/', 'a/l/', 'node_modules/', 'a/node_modules/', 'l/node_modules/');
    const name = fc.constantFrom('a', 'b', 'l', 'x', 'node_modules');
    const entry: fc.Arbitrary<Entry> = fc.oneof(
      fc.record({ folder, name, version: fc.constantFrom('1.0.0', '2.0.0') }).map(({ folder: at, name: of, version }) => ({
        name: `${at.endsWith('node_modules/') ? at : `${at}node_modules/`}${of}/package.json`,
        text: npm(of, version),
      })),
      fc.tuple(folder, name).map(([at, of]) => ({ name: `${at}${of}`, text: 'plain' })),
      fc.tuple(folder, name).map(([at, of]) => ({ name: `${at}${of}`, type: 'directory' as const })),
      fc
        .tuple(folder, name, fc.constantFrom('a', '/a/b', '../a', 'b', 'node_modules', 'l'))
        .map(([at, of, linkname]) => ({ name: `${at}${of}`, type: 'symlink' as const, linkname })),
      fc.tuple(folder, name).map(([at, of]) => ({ name: `${at}.wh.${of}` })),
      folder.map((at) => ({ name: `${at}.wh..wh..opq` })),
    );
    const layers = fc.array(fc.array(entry, { maxLength: 6 }), { minLength: 2, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(layers, async (all) => {
        const memory = memoryOf();
        for (let known = 1; known <= all.length; known++) {
          const image = imageOf(all.slice(0, known));
          expect(await readKnownPackages(image, { memory })).toEqual(await told(image));
        }
      }),
      { numRuns: 300 },
    );
  });
});
