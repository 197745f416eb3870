import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, posix } from 'node:path';
import { parse } from 'smol-toml';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import { markerEnvironment, type PythonTarget } from './python-target.js';
import { readUvLock } from './uv-lock.js';

/** What a Python project needs, as pip takes it. */
export interface Requirements {
  /** The file that says it, relative to the project. */
  readonly file: string;
  /** Of a requirements file that stands in the project's directory. */
  readonly lines: readonly string[];
  /** Nothing but what is listed is installed, each with a known hash. */
  readonly isLocked: boolean;
  /** Changes with everything that decides what is installed. */
  readonly key: string;
  /** The worker SDK is asked for: the image has wherry's own, which answers to the same name. */
  readonly asksForSdk: boolean;
}

/** Packages that wherry's own worker SDK stands in for. */
const SDK_PACKAGES: readonly string[] = ['runpod', 'wherry-worker'];

/** In order of preference: a lock says most. */
const FILES = ['uv.lock', 'requirements.txt', 'builder/requirements.txt', 'pyproject.toml'] as const;

/** The file that says what a project needs. */
export interface RequirementsFile {
  /** The project's directory. */
  readonly dir: string;
  readonly file: (typeof FILES)[number];
  readonly text: string;
}

/** The first file of the project in `dir` that asks for packages, or undefined. Throws BUILD_FAILED for a pyproject.toml that cannot be read. */
export async function findRequirements(dir: string): Promise<RequirementsFile | undefined> {
  for (const file of FILES) {
    const text = await readText(join(dir, file));
    if (text !== undefined && asksForPackages(file, text)) return { dir, file, text };
  }
  return undefined;
}

function asksForPackages(file: string, text: string): boolean {
  if (file === 'uv.lock') return true;
  return file === 'pyproject.toml' ? dependenciesOf(text).length > 0 : hasRequirement(text);
}

/** What the file asks for, for one Python. Throws BUILD_FAILED for a file that cannot be read. */
export async function readRequirements({ dir, file, text }: RequirementsFile, target: PythonTarget): Promise<Requirements> {
  if (file === 'uv.lock') {
    const { lines, indexes, links, asksForSdk } = readUvLock(text, { environment: markerEnvironment(target), without: SDK_PACKAGES });
    const places = [...indexes.map((index) => `--extra-index-url ${index}`), ...links.map((link) => `--find-links ${link}`)];
    const all = [...places, ...lines];
    refuseLines(file, all);
    return { file, lines: all, isLocked: true, key: all.join('\n'), asksForSdk };
  }
  const all = file === 'pyproject.toml' ? dependenciesOf(text) : await flatten(dir, file, new Set());
  refuseLines(file, all);
  const lines = all.filter((line) => !isSdk(line));
  const stamps = await Promise.all(lines.flatMap(localPathOf).map((path) => stampsOf(isAbsolute(path) ? path : join(dir, path))));
  return { file, lines, isLocked: false, key: [...lines, ...stamps.flat()].join('\n'), asksForSdk: lines.length < all.length };
}

/** As Python divides lines, and pip with it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for.
const LINE_ENDS = /[\0\n\v\f\r\x1c-\x1e\x85\u2028\u2029]/;

/** What is one value in TOML must not become more lines, or an option, for pip. Throws BUILD_FAILED. */
function refuseLines(file: string, lines: readonly string[]): void {
  const wrong = lines.find((line) => LINE_ENDS.test(line) || (file === 'pyproject.toml' && /^\s*-/.test(line)));
  if (wrong === undefined) return;
  throw new WherryError('BUILD_FAILED', `${file} asks for ${JSON.stringify(wrong)}, which is no requirement`, {
    hint: 'a requirement is one line, a name with its version',
  });
}

function isSdk(line: string): boolean {
  const [name = ''] = /^[\w.-]+/.exec(line) ?? [];
  return SDK_PACKAGES.includes(name.toLowerCase().replace(/[-_.]+/g, '-'));
}

/** `project.dependencies` of a pyproject.toml (PEP 621). */
function dependenciesOf(text: string): readonly string[] {
  const { project, tool } = parseProject(text);
  const { dependencies } = (project ?? {}) as { readonly dependencies?: unknown };
  if (Array.isArray(dependencies)) return dependencies.map(String);
  if (project !== undefined || (tool as Record<string, unknown> | undefined)?.['poetry'] === undefined) return [];
  throw new WherryError('BUILD_FAILED', "pyproject.toml lists its dependencies under 'tool.poetry', which is not read", {
    hint: 'run `poetry export -o requirements.txt`, or list them under project.dependencies',
  });
}

function parseProject(text: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text);
  } catch (cause) {
    throw new WherryError('BUILD_FAILED', `pyproject.toml is not TOML: ${messageOf(cause).split('\n')[0] ?? ''}`, {
      hint: 'correct the line that is named',
      cause,
    });
  }
}

function linesOf(text: string): readonly string[] {
  const whole = text.replace(/\\\r?\n/g, ' ').split(/\r?\n/);
  return whole.map((line) => line.replace(/(^|\s)#.*$/, '').trim()).filter((line) => line !== '');
}

function hasRequirement(text: string): boolean {
  return linesOf(text).some((line) => isRequirement(line) || /^(-r|--requirement)/.test(line));
}

/** An option alone asks for nothing, but for that of an editable directory. */
export function isRequirement(line: string): boolean {
  return !line.startsWith('-') || /(^|\s)(-e|--ed)/.test(line);
}

/** The lines of a requirements file with those of the files it names in their place, and its paths from the project on. */
async function flatten(dir: string, file: string, seen: Set<string>): Promise<readonly string[]> {
  if (seen.has(file)) return [];
  seen.add(file);
  const text = await readText(join(dir, file));
  if (text === undefined)
    throw new WherryError('BUILD_FAILED', `'${file}' is named in the project's requirements and does not exist`, { hint: 'create it' });
  const lines: string[] = [];
  for (const line of linesOf(text)) {
    const [, short, long, path = ''] = /^(?:(-[rcf])[\s=]*|(--requirement|--constraint|--find-links)[\s=]+)(\S+)$/.exec(line) ?? [];
    const flag = short ?? long ?? '';
    const place = posix.join(dirname(file), path);
    if (/^(-r|--requirement)$/.test(flag)) lines.push(...(await flatten(dir, place, seen)));
    else if (flag === '' || /^\w+:|^\//.test(path)) lines.push(line);
    else lines.push(`${/^-c|^--c/.test(flag) ? '--constraint' : '--find-links'} ${place}`);
  }
  return lines;
}

/** The file or directory of this machine that a line names, in a list of at most one. */
function localPathOf(line: string): readonly string[] {
  const [, path] =
    /^(?:--constraint |--find-links )?([^\s:]*\/[^\s:]*|\S+\.whl)$/.exec(line) ??
    /^--(?:constraint|find-links) ([^\s:]+)$/.exec(line) ??
    [];
  return path === undefined ? [] : [path];
}

async function stampsOf(path: string): Promise<readonly string[]> {
  const names = await readdir(path).catch(() => undefined);
  const files = names === undefined ? [path] : names.sort().map((name) => join(path, name));
  return Promise.all(files.map((file) => stampOf(file)));
}

/** What is not there is pip's to say. */
async function stampOf(file: string): Promise<string> {
  const found = await stat(file, { bigint: true }).catch(() => undefined);
  return `${file} ${found ? `${found.size} ${found.mtimeNs}` : ''}`;
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    const code = systemCodeOf(thrown) ?? '';
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(code)) return undefined;
    throw thrown;
  }
}
