import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { WherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';

const PROBE_MS = 5_000;
const OLDEST_PYTHON = 9;
const run = promisify(execFile);

/** What an image's label asks for: `python@3.11`, `python@3`, `node@20`. */
interface Wanted {
  readonly kind: 'node' | 'python';
  readonly major: number;
  readonly minor: number | null;
}

interface Found {
  /** The interpreter itself, never a version manager's shim. */
  readonly path: string;
  readonly major: number;
  readonly minor: number;
}

const PROBES = {
  node: ['-p', 'JSON.stringify([process.execPath, process.versions.node.split(".").slice(0, 2).map(Number)])'],
  python: ['-c', 'import sys, json; print(json.dumps([sys.executable, list(sys.version_info[:2])]))'],
} as const;

/** Finds the host's interpreter for a label and gives its path. Throws RUNTIME_REFUSED when there is none that can run it. */
export async function resolveInterpreter(label: string, { searchPath, log }: { searchPath: string; log: Log }): Promise<string> {
  const wanted = parseLabel(label);
  const found = wanted.kind === 'node' ? await findNode(wanted, searchPath) : await findPython(wanted, searchPath);
  if (found === undefined) {
    throw new WherryError('RUNTIME_REFUSED', `image needs '${label}', and this machine's search path has no such interpreter`, {
      hint: `install ${wanted.kind} ${wanted.major}${wanted.minor === null ? '' : `.${wanted.minor}`}, or use the docker runtime with a base that holds it`,
    });
  }
  const isOther = found.major !== wanted.major || (wanted.minor !== null && found.minor !== wanted.minor);
  if (isOther)
    log.warn({ label, path: found.path, version: `${found.major}.${found.minor}` }, 'the image asks for another interpreter version');
  return found.path;
}

function parseLabel(label: string): Wanted {
  const [, kind, major, minor] = /^(node|python)@(\d+)(?:\.(\d+))?(?:\.\d+)?$/.exec(label) ?? [];
  if (kind === undefined || (kind === 'python' && major !== '3')) {
    throw new WherryError('RUNTIME_REFUSED', `interpreter label '${label}' is not known to the process runtime`, {
      hint: 'it runs node@MAJOR and python@3.MINOR; use the docker runtime for others',
    });
  }
  return { kind: kind === 'node' ? 'node' : 'python', major: Number(major), minor: minor === undefined ? null : Number(minor) };
}

/** The server's own Node when the major is the same, else one on the path, else the server's own when it is newer. */
async function findNode({ major }: Wanted, searchPath: string): Promise<Found | undefined> {
  const [ownMajor = 0, ownMinor = 0] = process.versions.node.split('.').map(Number);
  const own = { path: process.execPath, major: ownMajor, minor: ownMinor };
  // Only the major line decides for Node, so a minor in the label is not compared here.
  if (ownMajor === major) return own;
  for (const candidate of candidatesOf(['node'], searchPath)) {
    const found = await probe(candidate, 'node', searchPath);
    if (found?.major === major) return found;
  }
  return ownMajor > major ? own : undefined;
}

/** The exact minor when there is one, else the first 3.x that the worker SDK supports. */
async function findPython({ minor }: Wanted, searchPath: string): Promise<Found | undefined> {
  let fallback: Found | undefined;
  const names = minor === null ? ['python3', 'python'] : [`python3.${minor}`, 'python3', 'python'];
  for (const candidate of candidatesOf(names, searchPath)) {
    const found = await probe(candidate, 'python', searchPath);
    if (found === undefined || found.major !== 3 || found.minor < OLDEST_PYTHON) continue;
    if (minor === null || found.minor === minor) return found;
    fallback ??= found;
  }
  return fallback;
}

function candidatesOf(names: readonly string[], searchPath: string): readonly string[] {
  const dirs = searchPath.split(delimiter).filter((dir) => dir !== '');
  return names.flatMap((name) => dirs.map((dir) => join(dir, name))).filter((file) => existsSync(file));
}

/** Asks a candidate for its true path and version; undefined when it does not answer (a shim without a chosen version). */
async function probe(candidate: string, kind: Wanted['kind'], searchPath: string): Promise<Found | undefined> {
  try {
    const { stdout } = await run(candidate, [...PROBES[kind]], { timeout: PROBE_MS, env: { PATH: searchPath, HOME: homedir() } });
    const [path, [major, minor]] = JSON.parse(stdout) as [string, [number, number]];
    return path === '' ? undefined : { path, major, minor };
  } catch {
    return undefined;
  }
}
