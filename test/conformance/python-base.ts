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

/** What the RUN lines of the tests need. */
const SHELL = ['sh', 'rm'];

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

/** RunPod's package is not on this machine: under its name comes one that hands out our SDK, as the entry of our own images does. */
const STAND_IN = {
  'pyproject.toml': `[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[project]
name = "runpod"
version = "1.7.0"
dependencies = ["wherry-worker"]
[tool.setuptools]
packages = ["runpod"]
`,
  'runpod/__init__.py': 'import sys\n\nimport wherry\n\nsys.modules[__name__] = wherry\n',
};

/** What a Dockerfile installs to have a Python is in the image already; whatever else it asks for is not to be had. */
const APT_GET = `#!/bin/sh
[ "$1" = update ] && exit 0
[ "$1" = install ] || exit 100
shift
for word; do
  case "$word" in
    -* | python3 | python3-pip) ;;
    *) echo "E: Unable to locate package $word" >&2; exit 100 ;;
  esac
done
`;

/**
 * Makes an image out of this machine's Python, its libraries and a shell, with our worker SDK as a wheel, and names it `reference`.
 * pip in it takes packages from that folder only: no network, no registry.
 */
export async function loadPythonBase({ dir, docker }: Engine, { python, reference }: { python: string; reference: string }): Promise<void> {
  const found = JSON.parse(execFileSync(python, ['-c', DESCRIBE], { encoding: 'utf8' })) as Installation;
  const root = join(dir, 'root');
  placePrograms(root, found.executable);
  cpSync(found.pip, join(root, 'pip/pip'), { recursive: true, dereference: true });
  cpSync(join(ROOT, 'sdk/python'), join(dir, 'sdk'), { recursive: true });
  for (const [path, text] of Object.entries(STAND_IN)) writeInto(join(dir, 'runpod'), path, text);
  for (const sources of ['sdk', 'runpod']) buildWheel(python, join(dir, sources), join(root, 'wheels'));
  const modules = readdirSync(found.modules).filter((name) => name.endsWith('.so'));
  const libraries = librariesOf([
    found.executable,
    ...SHELL.map((name) => join(root, 'bin', name)),
    ...modules.map((name) => join(found.modules, name)),
  ]);
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
  for (const name of SHELL) copyFileSync(realpathSync(`/bin/${name}`), join(root, 'bin', name));
  const programs = {
    python: `exec ${executable} "$@"`,
    python3: `exec ${executable} "$@"`,
    pip: `PYTHONPATH=/pip exec ${executable} -m pip "$@"`,
  };
  for (const [name, line] of Object.entries(programs))
    writeFileSync(join(root, 'usr/local/bin', name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  writeFileSync(join(root, 'usr/local/bin/apt-get'), APT_GET, { mode: 0o755 });
}

function writeInto(dir: string, path: string, text: string): void {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), text);
}

/** setuptools writes beside the sources, so they are a copy. */
function buildWheel(python: string, sources: string, target: string): void {
  const options = ['--quiet', '--no-deps', '--no-build-isolation', '--no-index', '--wheel-dir', target];
  execFileSync(python, ['-m', 'pip', 'wheel', ...options, sources], { stdio: 'pipe' });
}

function librariesOf(programs: readonly string[]): string[] {
  const { stdout } = spawnSync('ldd', programs, { encoding: 'utf8' });
  const paths = [...stdout.matchAll(/(\/[^\s:()]+\.so[^\s:()]*)/g)].flatMap(([, path = '']) => (existsSync(path) ? [path] : []));
  return [...new Set(paths)].filter((path) => !programs.includes(path) && dirname(path) !== '/');
}
