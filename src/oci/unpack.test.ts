import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { file, folder, hardLink, type RawEntry, rawLayer, rawTar, symlink } from '../../test/raw-tar.js';
import { packTar } from './tar.js';
import { unpackLayers } from './unpack.js';

/** Holds the directory that is unpacked to, and beside it what must stay as it is. */
let yard: string;
let root: string;
let outside: string;
let before: readonly string[];

function openYard(): void {
  yard = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-unpack-')));
  root = join(yard, 'root');
  outside = join(yard, 'outside');
  mkdirSync(root);
  mkdirSync(join(outside, 'b'), { recursive: true });
  for (const path of ['a', 'b/a', 'secret']) writeFileSync(join(outside, path), 'sentinel');
  writeFileSync(join(yard, 'a'), 'sentinel');
  before = aroundRoot();
}
beforeEach(openYard);
afterEach(() => rmSync(yard, { recursive: true, force: true }));

/** Everything beside the root, with all that reading, writing, linking or a change of modes would leave. */
function aroundRoot(): readonly string[] {
  const visit = (path: string): string[] => {
    if (path === root) return [];
    const { mode, size, nlink, ino, ctimeNs } = lstatSync(path, { bigint: true });
    const isDirectory = lstatSync(path).isDirectory();
    const self = `${path} ${mode} ${size} ${nlink} ${ino} ${ctimeNs} ${isDirectory ? '' : readFileSync(path, 'utf8')}`;
    return [self, ...(isDirectory ? readdirSync(path).sort() : []).flatMap((name) => visit(join(path, name)))];
  };
  return visit(yard);
}

/** Files with their text, links with their target; folders that hold something are told by it. */
function unpacked(): Record<string, string> {
  const visit = (path: string): [string, string][] => {
    const place = join(root, path);
    const found = lstatSync(place);
    if (found.isSymbolicLink()) return [[path, `-> ${readlinkSync(place)}`]];
    if (found.isFile()) return [[path, readFileSync(place, 'utf8')]];
    const names = readdirSync(place);
    return names.length === 0 && path !== '' ? [[`${path}/`, '']] : names.flatMap((name) => visit(join(path, name)));
  };
  return Object.fromEntries(visit('').sort());
}

const unpack = (...layers: readonly (readonly RawEntry[])[]) => unpackLayers(layers.map(rawLayer), root);
const inRoot = (path: string) => join(outside, path).slice(1);

/** No way through a link of the unpacked tree ends outside of it. */
function expectLinksInside(): void {
  for (const [path, text] of Object.entries(unpacked())) {
    if (!text.startsWith('-> ')) continue;
    let real: string;
    try {
      real = realpathSync(join(root, path));
    } catch {
      continue;
    }
    expect(real === root || real.startsWith(root + sep), `${path} ${text}`).toBe(true);
  }
}

describe('unpackLayers', () => {
  it('restores files, modes and links, and later entries replace earlier ones', async () => {
    const text = (path: string, content: string, isExecutable: boolean) =>
      ({ path, type: 'file', isExecutable, content: { bytes: Buffer.from(content) } }) as const;
    const first = packTar([text('a/run', '1', true), { path: 'a/link', type: 'symlink', target: 'run' }]);
    await unpackLayers([first, packTar([text('a/run', '2', false)])], root);
    expect(unpacked()).toEqual({ 'a/link': '-> run', 'a/run': '2' });
    expect(readFileSync(join(root, 'a/link'), 'utf8')).toBe('2');
    expect(lstatSync(join(root, 'a/run')).mode & 0o7777).toBe(0o644);
  });

  it('refuses a damaged stream', async () => {
    async function* damaged() {
      yield Buffer.alloc(512, 7);
    }
    await expect(unpackLayers([damaged()], root)).rejects.toMatchObject({ code: 'LAYER_INVALID' });
  });

  it('follows links that were there before below the directory only', async () => {
    mkdirSync(join(root, 'a'));
    symlinkSync(outside, join(root, 'a/out'));
    symlinkSync('../../outside', join(root, 'a/up'));
    await unpack([file('a/out/secret'), file('a/up/b/a'), file('a/up/.wh.secret')]);
    expect(unpacked()).toMatchObject({ [inRoot('secret')]: 'content', 'outside/b/a': 'content' });
    expect(aroundRoot()).toEqual(before);
  });
});

const HOSTILE: readonly (readonly [string, string, readonly RawEntry[]])[] = [
  ['a path with ..', "holds '..'", [file('../evil')]],
  ['a path with .. in its middle', "holds '..'", [file('a/../../evil')]],
  ['a folder above', "holds '..'", [folder('../outside')]],
  ['a pax path with ..', "holds '..'", [file('fine', 'x', { pax: { path: '../../evil' } })]],
  ['a long name of GNU with ..', "holds '..'", [file('fine', 'x', { longName: `${'long/'.repeat(30)}../../../evil` })]],
  ['a pax path with a zero byte', 'zero byte', [file('fine', 'x', { pax: { path: 'a\0b' } })]],
  ['a path that is too long', '5003 characters', [file('fine', 'x', { longName: `${'long/'.repeat(1000)}end` })]],
  ['a path that is too deep', '301 folders', [file('fine', 'x', { longName: `${'d/'.repeat(300)}end` })]],
  ['a name that is not UTF-8', 'not UTF-8', [file(Buffer.from([0x61, 0xff]))]],
  ['a link target that is not UTF-8', 'not UTF-8', [{ name: 'l', type: '2', link: Buffer.from([0xe9]) }]],
  ['a link to nothing', 'link to nothing', [symlink('l', '')]],
  ['a way through a circle of links', 'circle', [symlink('a', 'b'), symlink('b', 'a'), file('a/x')]],
  ['a way through a file', 'in its way', [file('a'), file('a/x')]],
  ['a hard link to a file of this machine', 'no file of the image', [hardLink('h', '/etc/passwd')]],
  ['a hard link with ..', "holds '..'", [folder('a'), hardLink('h', 'a/../../etc/passwd')]],
  ['a hard link whose pax target has ..', "holds '..'", [{ ...hardLink('h', 'x'), pax: { linkpath: '../outside/secret' } }]],
  ['a hard link to a symbolic link', 'no file of the image', [symlink('a/b/l', '/etc/passwd'), hardLink('h', 'a/b/l')]],
  ['a hard link that would lead a link elsewhere', 'no file of the image', [symlink('a/b/l', '../..'), hardLink('h', 'a/b/l')]],
  ['a hard link through a symbolic link out', 'no file of the image', [symlink('l', '../outside'), hardLink('h', 'l/secret')]],
  ['a hard link to a folder', 'no file of the image', [folder('a'), hardLink('h', 'a')]],
  ['a whiteout of the folder above', 'hides no file', [file('.wh...')]],
  ['a whiteout of a folder above', 'hides no file', [file('a/.wh...')]],
  ['a whiteout of its own folder', 'hides no file', [file('.wh..')]],
  ['a whiteout of no name', 'hides no file', [file('a/.wh.')]],
  ['a character device', 'no file, folder or link', [{ name: 'd', type: '3' }]],
  ['a block device', 'no file, folder or link', [{ name: 'd', type: '4' }]],
  ['a pipe', 'no file, folder or link', [{ name: 'd', type: '6' }]],
  ["GNU's sparse file", 'no file, folder or link', [{ name: 's', type: 'S', text: 'x', size: 1 }]],
  ['a type nobody knows', 'no file, folder or link', [{ name: 'z', type: 'Z' }]],
  ['a sparse file in pax form', 'sparse', [file('GNUSparseFile.0/s', 'x', { pax: { 'GNU.sparse.major': '1', 'GNU.sparse.name': 's' } })]],
  ['a size of petabytes', 'more than 137438953472 bytes', [file('huge', 'x', { size: 2 ** 50 })]],
  ['a pax size of petabytes', 'more than 137438953472 bytes', [file('huge', 'x', { pax: { size: String(2 ** 50) } })]],
  ['a size below nothing', 'could not be read', [file('less', 'x', { pax: { size: '-1024' } })]],
  ['a size that is no number', 'could not be read', [file('less', 'x', { pax: { size: 'many' } })]],
];

describe('a hostile layer', () => {
  it.each(HOSTILE)('is refused with nothing outside changed: %s (S4)', async (_, words, entries) => {
    await expect(unpack(entries)).rejects.toMatchObject({ code: 'LAYER_INVALID', message: expect.stringContaining(words) });
    expect(aroundRoot()).toEqual(before);
    expectLinksInside();
  });

  it('is refused by a way that its lower layers laid (S4)', async () => {
    const lower = [folder('a/b'), symlink('a/b/l', '..'), file('kept')];
    await expect(unpack(lower, [hardLink('a/h', 'a/b/l')], [file('a/h/x')])).rejects.toMatchObject({ code: 'LAYER_INVALID' });
    expect(aroundRoot()).toEqual(before);
    expect(unpacked()).toMatchObject({ kept: 'content' });
  });

  it('writes below the directory when it tries to write through links out of it (S4)', async () => {
    await unpack([symlink('l', outside), file('l/secret', 'new'), symlink('up', '../../outside'), file('up/b/a', 'new')]);
    expect(unpacked()).toEqual({
      l: `-> ${inRoot('')}`.replace(/\/$/, ''),
      up: '-> outside',
      [inRoot('secret')]: 'new',
      'outside/b/a': 'new',
    });
    expect(aroundRoot()).toEqual(before);
  });

  it('gains nothing by links that go up from links, whenever those are laid (S4)', async () => {
    await unpack([symlink('d/l', '..'), symlink('first', 'd/l/../outside'), file('first/secret', 'new')]);
    await unpack([folder('e/f'), symlink('second', 'e/f/../..'), symlink('e/f', '/'), symlink('third', 'e/f/..'), file('third/outside/a')]);
    expect(aroundRoot()).toEqual(before);
    expectLinksInside();
    expect(unpacked()).toMatchObject({ 'outside/secret': 'new', 'outside/a': 'content', second: '-> .', third: '-> .' });
  });

  it('removes nothing outside by whiteouts through links (S4)', async () => {
    await unpack([symlink('l', outside), symlink('up', '../outside')], [file('l/.wh.secret'), file('up/.wh.a'), file('up/b/.wh..wh..opq')]);
    expect(aroundRoot()).toEqual(before);
  });

  it('is refused at the limit of entries before a million is read, and at that of bytes (S4)', async () => {
    let sent = 0;
    async function* million(): AsyncIterable<Uint8Array> {
      for (; sent < 1_000_000; sent += 100) {
        const entries = Array.from({ length: 100 }, (_, n) => file(`${sent + n}/x`, ''));
        for await (const part of rawLayer(entries)) yield part.subarray(0, -1024);
      }
    }
    const limits = { entries: 300, bytes: 1_000_000 };
    await expect(unpackLayers([million()], root, limits)).rejects.toMatchObject({
      message: expect.stringContaining('more than 300 files'),
    });
    expect(sent).toBeLessThan(2_000);
    const large = () => rawLayer([file('a', 'x'.repeat(600_000))]);
    await expect(unpackLayers([large(), large()], root, limits)).rejects.toMatchObject({
      message: expect.stringContaining('1000000 bytes'),
    });
  });

  it('ends at the limit of bytes also when it never comes to an entry (S4)', async () => {
    const header = rawTar([file('a', '', { longName: 'x'.repeat(200) })]).subarray(0, 1024);
    async function* endless(): AsyncIterable<Uint8Array> {
      for (;;) yield header;
    }
    const refusal = unpackLayers([endless()], root, { entries: 10, bytes: 1_000_000 });
    await expect(refusal).rejects.toMatchObject({ code: 'LAYER_INVALID', message: expect.stringContaining('1000000 bytes') });
  });
});

const LEGAL: readonly (readonly [string, readonly (readonly RawEntry[])[], Record<string, string>])[] = [
  ['absolute paths', [[file('/abs/file'), file('./b//c')]], { 'abs/file': 'content', 'b/c': 'content' }],
  [
    'absolute symbolic links',
    [[file('usr/bin/mawk'), symlink('etc/alternatives/awk', '/usr/bin/mawk'), symlink('usr/bin/awk', '/etc/alternatives/awk')]],
    { 'etc/alternatives/awk': '-> ../../usr/bin/mawk', 'usr/bin/awk': '-> ../../etc/alternatives/awk', 'usr/bin/mawk': 'content' },
  ],
  ['links that lead nowhere', [[symlink('a/l', 'absent'), symlink('m', '/a/b/c')]], { 'a/l': '-> absent', m: '-> a/b/c' }],
  [
    'links to folders, and files through them',
    [[folder('usr/lib'), symlink('lib', 'usr/lib')], [file('lib/x')]],
    { lib: '-> usr/lib', 'usr/lib/x': 'content' },
  ],
  [
    'files through a link to a folder that is not there yet',
    [[symlink('run', 'var/run'), file('run/x')]],
    { run: '-> var/run', 'var/run/x': 'content' },
  ],
  ['a symbolic link that becomes a file', [[symlink('a', '/etc/passwd')], [file('a')]], { a: 'content' }],
  [
    'a symbolic link that becomes a folder',
    [
      [folder('b'), symlink('a', 'b')],
      [folder('a'), file('a/x')],
    ],
    { 'a/x': 'content', 'b/': '' },
  ],
  ['a file that becomes a folder', [[file('a')], [folder('a'), file('a/x')]], { 'a/x': 'content' }],
  ['a folder that becomes a file', [[file('a/x'), file('a/y/z')], [file('a')]], { a: 'content' }],
  ['a folder that becomes a symbolic link', [[file('a/x')], [symlink('a', '/b')]], { a: '-> b' }],
  ['names that come twice', [[file('a', '1'), folder('b'), file('a', '2'), folder('b')]], { a: '2', 'b/': '' }],
  ['hard links', [[file('a', '1'), hardLink('b', './a'), hardLink('c/d', '/a')]], { a: '1', b: '1', 'c/d': '1' }],
  ['a name written over one of several hard links', [[file('a', '1'), hardLink('b', 'a')], [file('b', '2')]], { a: '1', b: '2' }],
  [
    'names of other alphabets',
    [[file('ünï'), file('x', 'y', { pax: { path: 'путь' } }), file('\ufffd')]],
    { путь: 'y', ünï: 'content', '\ufffd': 'content' },
  ],
  ['long names', [[file('x', 'y', { longName: `${'n'.repeat(120)}/f` }), symlink('l', 'f')]], { [`${'n'.repeat(120)}/f`]: 'y', l: '-> f' }],
  [
    'whiteouts',
    [
      [file('a/x'), file('a/y'), file('b/z')],
      [file('a/.wh.x'), file('b/.wh..wh..opq'), file('.wh.absent')],
    ],
    { 'a/y': 'content', 'b/': '' },
  ],
  [
    'whiteouts behind what their own layer brings',
    [
      [file('a/x', 'old'), file('a/y', 'old'), file('c/d', 'old')],
      [file('a/x', 'new'), file('a/z', 'new'), file('.wh.a'), file('c/e', 'new'), file('c/.wh..wh..opq')],
    ],
    { 'a/x': 'new', 'a/z': 'new', 'c/e': 'new' },
  ],
  ['the root itself', [[folder('./'), folder('/'), file('a')]], { a: 'content' }],
];

describe('a legal layer', () => {
  it.each(LEGAL)('is unpacked as a container sees it: %s (S4)', async (_, layers, expected) => {
    await unpack(...layers);
    expect(unpacked()).toEqual(Object.fromEntries(Object.entries(expected).sort()));
    expectLinksInside();
    expect(aroundRoot()).toEqual(before);
  });

  it('loses setuid, setgid and sticky bits, and its owner can read and remove it (S4)', async () => {
    await unpack([
      file('run', '', { mode: 0o6755 }),
      file('none', '', { mode: 0 }),
      folder('open', 0o7777),
      folder('shut', 0),
      file('shut/x'),
    ]);
    const modes = ['run', 'none', 'open', 'shut'].map((path) => (lstatSync(join(root, path)).mode & 0o7777).toString(8));
    expect(modes).toEqual(['755', '400', '777', '700']);
    chmodSync(root, 0o755);
  });
});

it('never makes, changes or removes anything outside the directory, whatever a layer holds (S4)', async () => {
  const name = fc.constantFrom(
    'a',
    'b',
    'l',
    'outside',
    'root',
    'secret',
    '..',
    '.',
    '',
    '.wh.a',
    '.wh.l',
    '.wh.',
    '.wh..',
    '.wh...',
    '.wh..wh..opq',
  );
  const path = fc.array(name, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'));
  const anywhere = fc.oneof(
    path,
    path.map((text) => `/${text}`),
    path.map((text) => `../${text}`),
    fc.constantFrom('..', '/', '.', '@outside', '@outside/b'),
  );
  const entry = fc.record({
    type: fc.constantFrom('0', '0', '1', '2', '2', '5', '5', '6'),
    name: anywhere,
    link: anywhere,
    isPax: fc.boolean(),
  });
  const layers = fc.array(fc.array(entry, { maxLength: 12 }), { maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(layers, async (made) => {
      rmSync(yard, { recursive: true, force: true });
      openYard();
      const place = (text: string) => text.replace('@outside', outside);
      for (const entries of made) {
        // One at a time: what is refused must not hide what the others would do.
        for (const { type, name: path, link, isPax } of entries) {
          const [at, to] = [place(path), place(link)];
          const raw: RawEntry = isPax ? { name: 'x', type, pax: { path: at, linkpath: to } } : { name: at, type, link: to };
          await unpack([raw]).catch((thrown: unknown) => expect(thrown).toMatchObject({ code: 'LAYER_INVALID' }));
        }
      }
      await unpack(
        ...made.map((entries) => entries.map(({ type, name: at, link }) => ({ name: place(at), type, link: place(link) }))),
      ).catch((thrown: unknown) => expect(thrown).toMatchObject({ code: 'LAYER_INVALID' }));
      expect(aroundRoot()).toEqual(before);
      expectLinksInside();
    }),
    { numRuns: 150 },
  );
});
