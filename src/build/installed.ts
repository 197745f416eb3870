import { readFile } from 'node:fs/promises';
import type { TarEntry } from '../oci/tar.js';
import { type FoundFile, toEntry } from './files.js';

/** What installers leave that says where, when and by what a package was installed, not what it is. */
const TRACES = /\.dist-info\/(INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json)$|^\.lock$/;

/**
 * The entries of a directory of installed Python packages, the same wherever they were installed: traces of the installation are left
 * out, scripts begin with the Python of the image instead of this machine's, and RECORD (PEP 376) is as true as before.
 */
export async function describeInstalled(files: readonly FoundFile[], prefix: string): Promise<readonly TarEntry[]> {
  const kept = files.filter(({ path }) => !TRACES.test(path));
  return Promise.all(kept.map((file) => describeFile(file, prefix)));
}

async function describeFile(found: FoundFile, prefix: string): Promise<TarEntry> {
  const entry = toEntry(found, prefix);
  const rewrite = found.path.startsWith('bin/')
    ? withPortableShebang
    : found.path.endsWith('.dist-info/RECORD')
      ? withoutTraces
      : undefined;
  if (entry.type !== 'file' || rewrite === undefined) return entry;
  return { ...entry, content: { bytes: rewrite(await readFile(found.file)) } };
}

/** pip writes the path of its own Python; a long one, or one with spaces, goes by way of the shell. */
function withPortableShebang(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1');
  const rest = /^#!\/bin\/sh\n'''exec' [^\n]*\n' '''\n/.exec(text) ?? /^#![^\n]*python[^\n]*\n/.exec(text);
  return rest ? Buffer.from(`#!/usr/bin/env python3\n${text.slice(rest[0].length)}`, 'latin1') : bytes;
}

/** One line a file: path, hash, size. Scripts were written anew, so nothing is promised of their bytes. */
function withoutTraces(bytes: Buffer): Buffer {
  const lines = bytes
    .toString('utf8')
    .split(/\r?\n/)
    .filter((line) => line !== '');
  const kept = lines.flatMap((line) => {
    const path = line.split(',')[0] ?? '';
    if (TRACES.test(path) || path.endsWith('.pyc')) return [];
    return /(^|\/)bin\//.test(path) ? [`${path.replace(/^(\.\.\/)+bin\//, 'bin/')},,`] : [line];
  });
  return Buffer.from(`${kept.sort().join('\n')}\n`);
}
