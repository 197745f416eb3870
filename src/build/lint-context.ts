import { lstat, readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { readContextIgnore } from './ignore.js';

/** What a Dockerfile is built from. */
export interface LintContext {
  /** Files below the root of the context, divided by `/`, without what .dockerignore keeps out. */
  readonly files: readonly string[];
  /** Does .dockerignore keep this path out? */
  readonly isIgnored: (path: string) => boolean;
  readonly bytes: number;
  readonly hasIgnoreFile: boolean;
  /** Texts of the files that run when the worker starts, by path. */
  readonly sources: ReadonlyMap<string, string>;
  readonly now: number;
}

/** A source file above this is not read for what it downloads. */
const SOURCE_BYTES = 512 * 1024;

/** Reads what the linter has to know of the directory that `dockerfile` (its path in it, and its text) is built in. */
export async function readLintContext(
  dir: string,
  dockerfile: { readonly path: string; readonly text: string },
  now: number,
): Promise<LintContext> {
  const ignored = await readContextIgnore(dir, dockerfile.path);
  const isIgnored = ignored ?? (() => false);
  const found = await listContext(dir, isIgnored);
  const readNamed = (texts: readonly string[]) => readSources(dir, found, texts);
  const scripts = await readNamed([dockerfile.text]);
  return {
    files: found.map(({ path }) => path),
    isIgnored,
    bytes: found.reduce((sum, { size }) => sum + size, 0),
    hasIgnoreFile: ignored !== undefined,
    // A start script names the program that it ends in.
    sources: await readNamed([dockerfile.text, ...scripts.values()]),
    now,
  };
}

const SOURCE_NAME = /[\w.-]+\.(?:py|sh|bash)\b/g;

/** Programs and scripts that are named in one of the texts, whatever directory they lie in. */
async function readSources(dir: string, found: readonly ContextFile[], texts: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const named = new Set(texts.flatMap((text) => text.match(SOURCE_NAME) ?? []));
  const sources = found.filter(({ path, size }) => named.has(posix.basename(path)) && size <= SOURCE_BYTES);
  return new Map(await Promise.all(sources.map(async ({ path }) => [path, await readFile(join(dir, path), 'utf8')] as const)));
}

interface ContextFile {
  readonly path: string;
  readonly size: number;
}

/** All files, links and empty directories that travel to the engine, sorted. */
async function listContext(root: string, isIgnored: (path: string) => boolean): Promise<readonly ContextFile[]> {
  const found: ContextFile[] = [];
  const visit = async (parent: string): Promise<void> => {
    for (const entry of await readdir(join(root, parent), { withFileTypes: true })) {
      const path = parent === '' ? entry.name : `${parent}/${entry.name}`;
      // A rule may take something back in below a directory that is left out.
      if (entry.isDirectory()) await visit(path);
      if (!isIgnored(path)) found.push({ path, size: entry.isFile() ? (await lstat(join(root, path))).size : 0 });
    }
  };
  await visit('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}
