import { lstat, readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { isLeftOut, unreadable } from './files.js';
import { type IgnoreRules, readContextIgnore } from './ignore.js';

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

/** Reads what the linter has to know of the directory that `dockerfile` (its path in it, and its text) is built in. Throws BUILD_FAILED. */
export async function readLintContext(
  dir: string,
  dockerfile: { readonly path: string; readonly text: string },
  now: number,
): Promise<LintContext> {
  const ignored = await readContextIgnore(dir, dockerfile.path);
  const found = await listContext(dir, ignored);
  const readNamed = (texts: readonly string[]) => readSources(dir, found, texts);
  const scripts = await readNamed([dockerfile.text]);
  return {
    files: found.map(({ path }) => path),
    isIgnored: ignored ?? (() => false),
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
  const sources = found.filter(({ path, size, isFile }) => isFile && named.has(posix.basename(path)) && size <= SOURCE_BYTES);
  return new Map(await Promise.all(sources.map(async ({ path }) => [path, await readFile(join(dir, path), 'utf8')] as const)));
}

interface ContextFile {
  readonly path: string;
  readonly size: number;
  /** A regular one; what a link leads to may be gone, or of any size. */
  readonly isFile: boolean;
}

/** All files, links and empty directories that travel to the engine, sorted. */
async function listContext(root: string, rules: IgnoreRules | undefined): Promise<readonly ContextFile[]> {
  const found: ContextFile[] = [];
  const visit = async (parent: string): Promise<void> => {
    for (const entry of await readdir(join(root, parent), { withFileTypes: true }).catch(unreadable(parent === '' ? root : parent))) {
      const path = parent === '' ? entry.name : `${parent}/${entry.name}`;
      if (isLeftOut({ path, isDirectory: entry.isDirectory() }, rules)) continue;
      if (entry.isDirectory()) await visit(path);
      const isFile = entry.isFile();
      if (rules?.(path) !== true)
        found.push({ path, isFile, size: isFile ? (await lstat(join(root, path)).catch(unreadable(path))).size : 0 });
    }
  };
  await visit('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}
