import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT } from '../stage.js';
import type { Engine } from './engine.js';

/** The system's own interpreter comes second: the first in PATH may lack the packages. */
const CANDIDATES = ['python3', '/usr/bin/python3'];

/** A Python of this machine with pip, setuptools and wheel, or undefined. Throws when WHERRY_TEST_REQUIRE lists pip3 and there is none. */
export function findPython(): string | undefined {
  // In this order: setuptools refuses to come after pip.
  const found = CANDIDATES.find((python) => spawnSync(python, ['-c', 'import setuptools, wheel, pip'], { stdio: 'ignore' }).status === 0);
  const isRequired = (process.env['WHERRY_TEST_REQUIRE'] ?? '').split(',').includes('pip3');
  if (found === undefined && isRequired) throw new Error("'pip3' is required by WHERRY_TEST_REQUIRE, but no python3 has pip and wheel");
  return found;
}

interface Installation {
  readonly executable: string;
  readonly library: string;
  readonly modules: string;
  readonly pip: string;
}

const DESCRIBE = `
import json, os, pip, sys, sysconfig
library = sysconfig.get_path("stdlib")
print(json.dumps({"executable": os.path.realpath(sys.executable), "library": library,
  "modules": os.path.join(library, "lib-dynload"), "pip": os.path.dirname(pip.__file__)}))
`;

/** Not needed by pip and handlers; the marker file refuses pip, which images of Python do not do. */
const LEFT_OUT = ['test', 'idlelib', 'tkinter', 'ensurepip', 'lib2to3', 'config-*', 'site-packages', 'EXTERNALLY-MANAGED'];

/**
 * Makes an image out of this machine's Python, its libraries and a shell, with our worker SDK as a wheel, and names it `reference`.
 * pip in it takes packages from that folder only: no network, no registry.
 */
export async function loadPythonBase({ dir, docker }: Engine, { python, reference }: { python: string; reference: string }): Promise<void> {
  const found = JSON.parse(execFileSync(python, ['-c', DESCRIBE], { encoding: 'utf8' })) as Installation;
  const root = join(dir, 'root');
  placePrograms(root, found.executable);
  cpSync(found.pip, join(root, 'pip/pip'), { recursive: true, dereference: true });
  buildWheel(python, join(dir, 'sdk'), join(root, 'wheels'));
  const modules = readdirSync(found.modules).filter((name) => name.endsWith('.so'));
  const libraries = librariesOf([found.executable, join(root, 'bin/sh'), ...modules.map((name) => join(found.modules, name))]);
  const members = [found.executable, found.library, ...libraries].map((path) => path.slice(1));
  const excludes = LEFT_OUT.map((name) => `--exclude=${found.library.slice(1)}/${name}`);
  const tar = join(dir, 'base.tar');
  execFileSync('tar', ['-chf', tar, '--owner=0', '--group=0', ...excludes, '-C', '/', ...members, '-C', root, '.']);
  const settings = ['PIP_NO_INDEX=1', 'PIP_FIND_LINKS=/wheels', 'PIP_ROOT_USER_ACTION=ignore', 'PIP_DISABLE_PIP_VERSION_CHECK=1'];
  await docker('import', ...settings.flatMap((setting) => ['--change', `ENV ${setting}`]), tar, reference);
}

/** A shell, and `python` and `pip` by the names that a Dockerfile uses. */
function placePrograms(root: string, executable: string): void {
  for (const name of ['bin', 'tmp', 'usr/local/bin']) mkdirSync(join(root, name), { recursive: true });
  chmodSync(join(root, 'tmp'), 0o1777);
  copyFileSync(realpathSync('/bin/sh'), join(root, 'bin/sh'));
  const programs = {
    python: `exec ${executable} "$@"`,
    python3: `exec ${executable} "$@"`,
    pip: `PYTHONPATH=/pip exec ${executable} -m pip "$@"`,
  };
  for (const [name, line] of Object.entries(programs))
    writeFileSync(join(root, 'usr/local/bin', name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
}

/** setuptools writes beside its sources, so it gets a copy. */
function buildWheel(python: string, copy: string, target: string): void {
  cpSync(join(ROOT, 'sdk/python'), copy, { recursive: true });
  execFileSync(python, ['-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--no-index', '--wheel-dir', target, copy], {
    stdio: 'pipe',
  });
}

function librariesOf(programs: readonly string[]): string[] {
  const { stdout } = spawnSync('ldd', programs, { encoding: 'utf8' });
  const paths = [...stdout.matchAll(/(\/[^\s:()]+\.so[^\s:()]*)/g)].flatMap(([, path = '']) => (existsSync(path) ? [path] : []));
  return [...new Set(paths)].filter((path) => !programs.includes(path) && dirname(path) !== '/');
}
