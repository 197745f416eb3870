import { expect, it } from 'vitest';
import { readPackages, sortPackages, tellsOfPackages } from './packages.js';

const read = (path: string, text: string) => {
  expect(tellsOfPackages(path)).toBe(true);
  return readPackages(path, Buffer.from(text)).packages.map(({ kind, name, version, architecture }) =>
    [kind, name, version, architecture ?? ''].join(' ').trim(),
  );
};

it('reads the status of dpkg without what was removed', () => {
  const status = `Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library
 Version: 9 is not a field, as this line goes on

Package: gone
Status: deinstall ok config-files
Version: 1

Package: held
Status: hold ok installed
Version: 3:1.0
Architecture: all
`;
  expect(read('var/lib/dpkg/status', status)).toEqual(['deb libc6 2.36-9+deb12u10 amd64', 'deb held 3:1.0 all']);
});

it('reads the files that stand for packages in images without dpkg', () => {
  expect(read('var/lib/dpkg/status.d/tzdata', 'Package: tzdata\nVersion: 2024a\nArchitecture: all\n')).toEqual(['deb tzdata 2024a all']);
  expect(tellsOfPackages('var/lib/dpkg/status.d/tzdata.md5sums')).toBe(false);
});

it('reads the database of apk, whose letters have a case', () => {
  const database = 'C:Q1x\nP:musl\nV:1.2.5-r9\nA:x86_64\np:so:libc.musl\nF:lib\nR:libc.so\n\nP:busybox\nV:1.37.0-r12\nA:x86_64\n';
  expect(read('lib/apk/db/installed', database)).toEqual(['apk musl 1.2.5-r9 x86_64', 'apk busybox 1.37.0-r12 x86_64']);
  expect(read('usr/lib/apk/db/installed', database)).toHaveLength(2);
});

it('reads metadata of Python packages up to the description', () => {
  const metadata = 'Metadata-Version: 2.1\r\nName: requests\r\nVersion: 2.32.3\r\n\r\nName: not this\r\n';
  expect(read('usr/lib/python3/dist-packages/requests-2.32.3.dist-info/METADATA', metadata)).toEqual(['pypi requests 2.32.3']);
  expect(read('a/six-1.egg-info/PKG-INFO', 'Name: six\nVersion: 1\n')).toEqual(['pypi six 1']);
  expect(read('a/six-1.egg-info', 'Name: six\nVersion: 1\n')).toEqual(['pypi six 1']);
});

it('reads the packages below node_modules, not the fixtures in them', () => {
  expect(read('app/node_modules/left-pad/package.json', '{"name":"left-pad","version":"1.3.0"}')).toEqual(['npm left-pad 1.3.0']);
  expect(read('node_modules/@acme/a/node_modules/@acme/b/package.json', '{"name":"@acme/b","version":"2.0.0"}')).toEqual([
    'npm @acme/b 2.0.0',
  ]);
  for (const path of [
    'app/package.json',
    'node_modules/a/test/package.json',
    'node_modules/@acme/package.json',
    'node_modules/.bin/package.json',
  ])
    expect(tellsOfPackages(path), path).toBe(false);
});

it('takes nothing out of files that are no such thing', () => {
  expect(read('node_modules/a/package.json', '{')).toEqual([]);
  expect(read('node_modules/a/package.json', 'null')).toEqual([]);
  expect(read('node_modules/a/package.json', '{"name":"a","version":1}')).toEqual([]);
  expect(read('lib/apk/db/installed', 'P:only-a-name\n')).toEqual([]);
  expect(read('a.dist-info/METADATA', `Name: ${'x'.repeat(300)}\nVersion: 1\n`)).toEqual([]);
});

it('reads which distribution it is', () => {
  const text = 'PRETTY_NAME="Debian GNU/Linux 12"\nVERSION_ID="12"\nID=debian\n';
  expect(readPackages('usr/lib/os-release', Buffer.from(text)).distribution).toEqual({ id: 'debian', version: '12' });
  expect(readPackages('etc/os-release', Buffer.from('')).distribution).toBeUndefined();
});

it('names each package once, in order', () => {
  const found = (name: string, version: string, path: string) => ({ kind: 'npm', name, version, architecture: undefined, path }) as const;
  const sorted = sortPackages([found('b', '1', 'x'), found('a', '2', 'x'), found('a', '1', 'y'), found('a', '2', 'z')]);
  expect(sorted).toEqual([found('a', '1', 'y'), found('a', '2', 'x'), found('b', '1', 'x')]);
});
