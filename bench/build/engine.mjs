// The peer of the build benchmark: a Docker Engine of its own with BuildKit, and base images made of what this machine has.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { until } from '../stage.mjs';

/** The client of the Debian package has BuildKit built in; others need a plugin for it. */
const CLIENT = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

const DESCRIBE = `
import json, os, pip, sys, sysconfig
print(json.dumps({"executable": os.path.realpath(sys.executable), "library": sysconfig.get_path("stdlib"),
  "pip": os.path.dirname(pip.__file__), "version": "%d.%d" % sys.version_info[:2]}))
`;
/** Networks of its own: another engine may run. */
const POOL = ['--default-address-pool', 'base=10.199.0.0/16,size=24'];
const LEFT_OUT = ['test', 'idlelib', 'tkinter', 'ensurepip', 'lib2to3', 'config-*', 'site-packages', 'dist-packages', 'EXTERNALLY-MANAGED'];

/** Starts an engine of its own; `logIn` lets its client push to a registry. */
export async function openEngine() {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-engine-'));
  const config = join(dir, 'config');
  mkdirSync(config);
  const logIn = ({ host, key }) => {
    const auth = Buffer.from(`anyone:${key}`).toString('base64');
    writeFileSync(join(config, 'config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
  };
  const socket = `unix://${dir}/docker.sock`;
  const folders = ['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec'), '--pidfile', join(dir, 'pid')];
  const child = spawn('dockerd', [...folders, '-H', socket, '--bridge', 'none', '--iptables=false', ...POOL], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const env = { ...process.env, DOCKER_BUILDKIT: '1', BUILDKIT_PROGRESS: 'plain' };
  const docker = (...args) =>
    execFileSync(CLIENT, ['-H', socket, '--config', config, ...args], { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const close = async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await until(() => spawnSync(CLIENT, ['-H', socket, 'version'], { stdio: 'ignore' }).status === 0, 60_000);
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return { dir, config, address: socket, docker, logIn, close, version: docker('version', '--format', '{{.Server.Version}}').trim() };
}

/** Pushes an image of this machine's Python with pip, and of `wheels` as the place where pip finds packages. Gives the version of Python. */
export function pushPythonBase({ dir, docker }, { reference, wheels }) {
  const found = JSON.parse(execFileSync(PYTHON, ['-c', DESCRIBE], { encoding: 'utf8' }));
  const root = join(dir, 'python');
  cpSync(found.pip, join(root, 'pip/pip'), { recursive: true, dereference: true });
  cpSync(wheels, join(root, 'wheels'), { recursive: true });
  placePrograms(root, {
    python: `exec ${found.executable} "$@"`,
    pip: `PYTHONPATH=/pip exec ${found.executable} -m pip "$@"`,
  });
  const modules = join(found.library, 'lib-dynload');
  const libraries = librariesOf([
    found.executable,
    join(root, 'bin/sh'),
    ...execFileSync('ls', [modules], { encoding: 'utf8' })
      .split('\n')
      .filter(Boolean)
      .map((name) => join(modules, name)),
  ]);
  const excludes = LEFT_OUT.map((name) => `--exclude=${found.library.slice(1)}/${name}`);
  const members = [found.executable, found.library, ...libraries].map((path) => path.slice(1));
  const settings = ['PIP_NO_INDEX=1', 'PIP_FIND_LINKS=/wheels', 'PIP_ROOT_USER_ACTION=ignore', 'PIP_DISABLE_PIP_VERSION_CHECK=1'];
  importRoot(docker, { root, members, excludes, settings, reference, tar: join(dir, 'python.tar') });
  return found.version;
}

/** Pushes an image of this machine's Node and npm. */
export function pushNodeBase({ dir, docker }, { reference }) {
  const root = join(dir, 'node');
  const node = realpathSync(process.execPath);
  const npm = dirname(dirname(realpathSync(execFileSync('sh', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim())));
  mkdirSync(join(root, 'usr/local/lib'), { recursive: true });
  cpSync(npm, join(root, 'usr/local/lib/npm'), { recursive: true, dereference: true });
  placePrograms(root, { npm: 'exec /usr/local/bin/node /usr/local/lib/npm/bin/npm-cli.js "$@"' });
  copyFileSync(node, join(root, 'usr/local/bin/node'));
  const members = librariesOf([node, join(root, 'bin/sh')]).map((path) => path.slice(1));
  importRoot(docker, { root, members, excludes: [], settings: [], reference, tar: join(dir, 'node.tar') });
}

function placePrograms(root, programs) {
  for (const name of ['bin', 'tmp', 'root', 'usr/local/bin']) mkdirSync(join(root, name), { recursive: true });
  chmodSync(join(root, 'tmp'), 0o1777);
  copyFileSync(realpathSync('/bin/sh'), join(root, 'bin/sh'));
  for (const [name, line] of Object.entries(programs))
    writeFileSync(join(root, 'usr/local/bin', name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
}

function importRoot(docker, { root, members, excludes, settings, reference, tar }) {
  execFileSync('tar', ['-chf', tar, '--owner=0', '--group=0', ...excludes, '-C', '/', ...members, '-C', root, '.'], { stdio: 'pipe' });
  const changes = ['PATH=/usr/local/bin:/usr/bin:/bin', ...settings].flatMap((setting) => ['--change', `ENV ${setting}`]);
  docker('import', ...changes, tar, reference);
  docker('push', '--quiet', reference);
}

function librariesOf(programs) {
  const { stdout } = spawnSync('ldd', programs, { encoding: 'utf8' });
  const paths = [...stdout.matchAll(/(\/[^\s:()]+\.so[^\s:()]*)/g)].flatMap(([, path]) => (existsSync(path) ? [path] : []));
  return [...new Set(paths)].filter((path) => !programs.includes(path) && dirname(path) !== '/');
}
