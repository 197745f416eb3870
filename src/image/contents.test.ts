import { type Header, pack } from 'tar-stream';
import { expect, it } from 'vitest';
import * as raw from '../../test/raw-tar.js';
import { WherryError } from '../base/errors.js';
import { MEDIA_TYPES } from '../oci/descriptor.js';
import { digestOf } from '../oci/digest.js';
import { type ContentsOptions, readContents } from './contents.js';
import type { ImageSource } from './source.js';

type Entry = Partial<Header> & { readonly name: string; readonly text?: string };

const file = (name: string, text = ''): Entry => ({ name, text });
const folder = (name: string): Entry => ({ name, type: 'directory' });
const symlink = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname });
const hardLink = (name: string, linkname: string): Entry => ({ name, type: 'link', linkname });

async function* tarOf(entries: readonly Entry[]): AsyncIterable<Uint8Array> {
  const packer = pack();
  for (const { text = '', ...header } of entries) packer.entry(header as Header, text);
  packer.finalize();
  for await (const part of packer) yield part as Uint8Array;
}

function imageOf(layers: readonly (readonly Entry[] | AsyncIterable<Uint8Array>)[]): ImageSource {
  const descriptor = { mediaType: MEDIA_TYPES.layerTar, digest: digestOf(''), size: 0 };
  return {
    descriptor: { ...descriptor, mediaType: MEDIA_TYPES.manifest },
    manifest: { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config: descriptor, layers: layers.map(() => descriptor) },
    config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
    layers: layers.map((layer) => ({ descriptor, diffId: '', open: () => (Symbol.asyncIterator in layer ? layer : tarOf(layer)) })),
  };
}

const read = (layers: Parameters<typeof imageOf>[0], options?: ContentsOptions) => readContents(imageOf(layers), options);

async function pathsOf(layers: Parameters<typeof imageOf>[0]): Promise<string[]> {
  return (await read(layers)).files.filter(({ type }) => type !== 'directory').map(({ path, layer }) => `${path}@${layer}`);
}

const LIMITS = { entries: 100, pathLength: 200, pathDepth: 10, allPaths: 1_000, packageFileBytes: 1_000, packages: 10 };

it('puts layers over one another', async () => {
  const layers = [
    [folder('etc/'), file('./etc/a', 'one'), file('etc/b')],
    [file('/etc/a', 'three'), file('c')],
  ];
  const { files } = await read(layers);
  expect(files.map(({ path, type, size, layer }) => [path, type, size, layer])).toEqual([
    ['c', 'file', 0, 1],
    ['etc', 'directory', 0, 0],
    ['etc/a', 'file', 5, 1],
    ['etc/b', 'file', 0, 0],
  ]);
});

it('removes what whiteouts name, but nothing of their own layer', async () => {
  expect(
    await pathsOf([
      [file('a/x'), file('a/y'), file('b')],
      [file('a/.wh.x'), file('.wh.b')],
    ]),
  ).toEqual(['a/y@0']);
  expect(await pathsOf([[file('a/x')], [file('a/x'), file('a/.wh.x')]])).toEqual(['a/x@1']);
  expect(
    await pathsOf([
      [file('a/x'), file('a/y')],
      [file('a/z'), file('.wh.a')],
    ]),
  ).toEqual(['a/z@1']);
  expect(await pathsOf([[file('a')], [file('.wh.missing'), file('gone/.wh.a')]])).toEqual(['a@0']);
});

it('empties an opaque directory of lower layers only', async () => {
  const lower = [file('a/x'), file('a/b/y'), file('c')];
  expect(await pathsOf([lower, [file('a/b/z'), file('a/.wh..wh..opq'), file('a/w')]])).toEqual(['a/b/z@1', 'a/w@1', 'c@0']);
});

it('replaces a directory by a file and a file by a directory', async () => {
  expect(await pathsOf([[file('a/x'), file('a/y')], [file('a', 'now a file')]])).toEqual(['a@1']);
  expect(await pathsOf([[file('a')], [folder('a'), file('a/x')]])).toEqual(['a/x@1']);
  expect(await pathsOf([[file('a')], [file('a/x')]])).toEqual(['a/x@1']);
  expect(await pathsOf([[file('a/x')], [folder('a')]])).toEqual(['a/x@0']);
});

it('follows links to directories on the way to a file, and no circle', async () => {
  const lower = [file('usr/lib/x'), symlink('lib', 'usr/lib'), symlink('usr/lib64', '../lib'), symlink('up', '/usr')];
  expect(await pathsOf([lower, [file('usr/lib64/y'), file('up/z'), file('lib/.wh.x')]])).toEqual([
    'lib@0',
    'up@0',
    'usr/lib/y@1',
    'usr/lib64@0',
    'usr/z@1',
  ]);
  expect(await pathsOf([[symlink('a', 'b'), symlink('b', 'a'), file('a/x')]])).toEqual(['a/x@0', 'b@0']);
});

it('counts the bytes that later layers replace or remove as wasted', async () => {
  const base = [file('a', '12345'), file('dir/b', '123'), file('dir/c', '1'), file('kept', '1234567')];
  const { layers } = await read([base, [file('a', '12')], [file('.wh.dir'), file('a')]]);
  expect(layers).toEqual([
    { entries: 4, unpackedBytes: 16, wastedBytes: 9 },
    { entries: 1, unpackedBytes: 2, wastedBytes: 2 },
    { entries: 2, unpackedBytes: 0, wastedBytes: 0 },
  ]);
});

it('counts content with several names as wasted when its last name is gone', async () => {
  const base = [file('a', '12345'), hardLink('b', 'a'), hardLink('c', './a')];
  const wasted = async (more: readonly Entry[]) => (await read([base, more])).layers[0]?.wastedBytes;
  expect(await wasted([file('.wh.a'), file('.wh.b')])).toBe(0);
  expect(await wasted([file('.wh.a'), file('.wh.b'), file('c', 'x')])).toBe(5);
});

it('tells equal content from other content when it is asked to', async () => {
  const contentOf = async (text: string) => (await read([[file('a', text)]], { isCompared: true })).files[0]?.content;
  expect(await contentOf('one')).toBe(await contentOf('one'));
  expect(await contentOf('one')).not.toBe(await contentOf('two'));
});

it('keeps the packages of the files that are left', async () => {
  const status = 'Package: a\nStatus: install ok installed\nVersion: 1\n';
  const contents = await read([
    [
      file('var/lib/dpkg/status', status),
      file('node_modules/b/package.json', '{"name":"b","version":"2"}'),
      file('etc/os-release', 'ID=x'),
    ],
    [file('var/lib/dpkg/status', `${status}\nPackage: c\nStatus: install ok installed\nVersion: 3\n`), file('.wh.node_modules')],
  ]);
  expect(contents.packages.map(({ kind, name, version }) => `${kind} ${name} ${version}`)).toEqual(['deb a 1', 'deb c 3']);
  expect(contents.distribution).toEqual({ id: 'x', version: undefined });
});

it.each<[string, readonly Entry[], string]>([
  ['more files than fit in memory', Array.from({ length: 101 }, (_, n) => file(`f${n}`)), 'more than 100 files'],
  ['folders that stand for files nobody sent', Array.from({ length: 15 }, (_, n) => file(`${n}/2/3/4/5/6/7/8`)), 'more than 100 files'],
  ['a path that is too long', [file(`a/${'x'.repeat(200)}`)], 'a path of 202 characters'],
  ['a path that is too deep', [file('1/2/3/4/5/6/7/8/9/10/11')], 'a path of 11 folders'],
  ['too much text in paths', Array.from({ length: 90 }, (_, n) => file(`${'long'.repeat(4)}${n}`)), 'more than 1000 characters'],
  ['a path that leaves the image', [file('a/../../b')], "holds '..'"],
  ['a package database that is no such thing', [file('lib/apk/db/installed', 'x'.repeat(1_001))], 'has 1001 bytes'],
  ['more packages than there are', [file('lib/apk/db/installed', 'P:a\nV:1\n\n'.repeat(11))], 'more than 10 packages'],
])('refuses %s', async (_, entries, words) => {
  const refusal = read([entries], { limits: LIMITS });
  await expect(refusal).rejects.toMatchObject({ code: 'LAYER_INVALID', message: expect.stringContaining(words) });
});

it('refuses the same entry sent over and over', async () => {
  async function* endless(): AsyncIterable<Uint8Array> {
    const parts: Uint8Array[] = [];
    for await (const part of tarOf([file('a')])) parts.push(part);
    const entry = Buffer.concat(parts).subarray(0, 512);
    for (;;) yield entry;
  }
  await expect(read([endless()], { limits: LIMITS })).rejects.toMatchObject({ code: 'LAYER_INVALID' });
});

/** The block before an entry, as POSIX has it: type at 156, size at 124, sum of all bytes at 148. */
function headerOf(type: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write('name', 0);
  block.write(`${size.toString(8).padStart(11, '0')} `, 124);
  block.write(`        ${type}`, 148);
  block.write('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

it('refuses a header of gigabytes without taking it into memory', async () => {
  let sent = 0;
  async function* hostile(): AsyncIterable<Uint8Array> {
    yield headerOf('x', 4 * 1024 ** 3);
    for (; sent < 1_000; sent += 1) yield Buffer.alloc(1024 * 1024);
  }
  await expect(read([hostile()])).rejects.toMatchObject({ code: 'LAYER_INVALID' });
  expect(sent).toBeLessThan(50);
});

it('refuses a layer that is cut off or no tar', async () => {
  async function* cut(): AsyncIterable<Uint8Array> {
    for await (const part of tarOf([file('a', 'x'.repeat(5_000))])) yield part.subarray(0, 1_024);
  }
  async function* noise(): AsyncIterable<Uint8Array> {
    yield Buffer.alloc(10_000, 'noise');
  }
  await expect(read([cut()])).rejects.toMatchObject({ code: 'LAYER_INVALID' });
  await expect(read([noise()])).rejects.toMatchObject({ code: 'LAYER_INVALID' });
});

it('passes on what opening a layer threw, and stops when it is told to', async () => {
  // biome-ignore lint/correctness/useYield: it ends before the first part.
  async function* broken(): AsyncIterable<Uint8Array> {
    throw new WherryError('DIGEST_MISMATCH', 'other bytes');
  }
  await expect(read([broken()])).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  const controller = new AbortController();
  const stopped = read([[file('a')], [file('b')]], { signal: controller.signal, onLayer: (_, index) => index === 1 && controller.abort() });
  await expect(stopped).rejects.toThrow();
});

it('tells of hostile names without following them (S4)', async () => {
  const lower = [raw.file('a/x'), raw.file('kept'), raw.symlink('etc/l', '/etc/passwd')];
  const upper = [
    raw.file('a/.wh...'),
    raw.file('.wh.'),
    raw.file('.wh..'),
    { name: 'd', type: '3' },
    raw.hardLink('h', '../../etc/passwd'),
  ];
  expect(await pathsOf([raw.rawLayer(lower), raw.rawLayer(upper)])).toEqual(['a/x@0', 'd@1', 'etc/l@0', 'h@1', 'kept@0']);
});

it('keeps names apart that are not UTF-8 (S4)', async () => {
  const layer = [Buffer.from([0x61, 0xfe]), Buffer.from([0x61, 0xff]), 'aü'].map((name) => raw.file(name));
  expect(await pathsOf([raw.rawLayer(layer)])).toEqual(['a\\xfe@0', 'a\\xff@0', 'aü@0']);
});

it.each([
  ['a pax path that leaves the image', [raw.file('a', '', { pax: { path: '../a' } })]],
  ['a sparse file', [raw.file('a', '', { pax: { 'GNU.sparse.realsize': '99999999999' } })]],
  ['a long name of GNU that leaves the image', [raw.file('a', '', { longName: 'b/../../a' })]],
])('refuses %s (S4)', async (_, entries) => {
  await expect(read([raw.rawLayer(entries)])).rejects.toMatchObject({ code: 'LAYER_INVALID' });
});
