import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import type { Built } from '../built-files.js';
import { needs, needsOtherUser, OTHER_USER } from '../needs.js';
import { MAIN } from '../stage.js';
import { makeWheels, type Wheel } from './wheels.js';

const made: string[] = [];
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});
function freshDir(parent: string): string {
  const dir = mkdtempSync(join(parent, 'wherry-same-'));
  chmodSync(dir, 0o755);
  made.push(dir);
  return dir;
}

interface Machine {
  /** Holds the project, what it needs beside it, a home and a data directory. */
  readonly dir: string;
  readonly user: number | undefined;
  readonly umask: string;
  readonly env: Readonly<Record<string, string>>;
}

/** The real binary as another user, with nothing of this process's environment. */
async function build({ dir, user, umask, env }: Machine): Promise<Built> {
  const home = join(dir, 'home');
  mkdirSync(home, { recursive: true });
  if (user !== undefined) chownSync(home, user, user);
  const args = [process.execPath, MAIN, 'build', join(dir, 'project'), '--json', '--data', join(home, 'data')];
  const child = spawn('sh', ['-c', `umask ${umask} && exec "$0" "$@"`, ...args], {
    cwd: home,
    env: {
      PATH: `${dirname(process.execPath)}:/usr/bin:/bin`,
      HOME: home,
      PIP_NO_INDEX: '1',
      PIP_FIND_LINKS: pathToFileURL(join(dir, 'wheels')).href,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(user !== undefined && { uid: user, gid: user }),
  });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  if (code !== 0) throw new Error(`exited with ${code}: ${err}`);
  return JSON.parse(out) as Built;
}

/** Writes, in the order that is given; text that begins like a script is one. */
function write(dir: string, files: readonly (readonly [string, string])[]): void {
  for (const [path, content] of files) {
    mkdirSync(join(dir, dirname(path)), { recursive: true });
    writeFileSync(join(dir, path), content, { mode: content.startsWith('#!') ? 0o755 : 0o644 });
  }
}

/** What was written, as another user would have it: by its own umask, at another time. */
function handOver(path: string, user: number | undefined): void {
  const found = lstatSync(path);
  if (found.isDirectory()) for (const name of readdirSync(path)) handOver(join(path, name), user);
  if (!found.isSymbolicLink()) chmodSync(path, found.mode & 0o700);
  lutimesSync(path, 1_000_000, 1_000_000);
  if (user !== undefined) chownSync(path, user, user);
}

const SETTINGS = 'base: scratch\n';
const COMMON = { 'data/z.txt': 'z', 'data/a.txt': 'a', 'data/İı.txt': 'i', tool: '#!/bin/sh\n', 'deep/er/file': '' };

const WHEELS: readonly Wheel[] = [
  { name: 'greeting', version: '2.0', requires: ['shared>=1'], scripts: ['greet = greeting:version'], files: { 'z.py': '', 'a.py': '' } },
  { name: 'shared', version: '1.5', files: { 'words.py': "hello = 'hello'\n" } },
];

function packNode(dir: string): void {
  for (const name of ['word', 'other']) {
    write(join(dir, 'packages', name), [
      ['package.json', JSON.stringify({ name, version: '1.0.0', main: 'index.js' })],
      ['index.js', 'module.exports = 1;\n'],
    ]);
    execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', dir], { cwd: join(dir, 'packages', name) });
  }
  execFileSync('npm', ['install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund', '--silent', '--offline'], {
    cwd: join(dir, 'project'),
  });
}

interface Kind {
  readonly title: string;
  readonly isThere: boolean;
  readonly files: Readonly<Record<string, string>>;
  /** Makes what the project needs beside it. */
  readonly prepare?: (dir: string) => void;
}

const KINDS: readonly Kind[] = [
  {
    title: 'a Python project with wheels',
    isThere: needs('pip3'),
    files: {
      'wherry.yaml': `name: same\nhandler: src/handler.py:handler\ninterpreter: python@3.12\ninclude: ['data/*']\n${SETTINGS}`,
      'src/handler.py': 'def handler(job):\n    return 1\n',
      'requirements.txt': 'greeting\n',
    },
    prepare: (dir) => makeWheels(join(dir, 'wheels'), WHEELS),
  },
  {
    title: 'a Node project with packages',
    isThere: true,
    files: {
      'wherry.yaml': `name: same\nhandler: handler.mjs:handler\n${SETTINGS}`,
      'handler.mjs': "import word from 'word';\nimport other from 'other';\nexport const handler = () => [word, other];\n",
      'package.json': JSON.stringify({ name: 'app', dependencies: { word: 'file:../word-1.0.0.tgz', other: 'file:../other-1.0.0.tgz' } }),
    },
    prepare: packNode,
  },
  {
    title: 'a Dockerfile without RUN',
    isThere: true,
    files: {
      'wherry.yaml': 'name: same\ndockerfile: Dockerfile\n',
      Dockerfile: 'FROM scratch\nWORKDIR /app\nCOPY . .\nCOPY data/* /data/\nENV TOOL=/app/tool\nCMD ["/app/tool"]\n',
    },
  },
];

describe.each(KINDS.filter(({ isThere }) => isThere))('$title', ({ files, prepare = () => {} }) => {
  it('has the same digest for another user, umask, time zone, locale, order of files, directory and time (D7, B6)', async () => {
    const first: Machine = { dir: freshDir(tmpdir()), user: undefined, umask: '022', env: { TZ: 'UTC', LC_ALL: 'C' } };
    const entries = Object.entries({ ...COMMON, ...files });
    write(join(first.dir, 'project'), entries);
    prepare(first.dir);
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', join(first.dir, 'project'), '-c', 'user.name=t', '-c', 'user.email=t@t', ...args]);
    git('init', '-q');
    git('add', '.');
    git('commit', '-qm', 'one');
    // A file system in memory lists files in another order.
    const dir = freshDir(existsSync('/dev/shm') ? '/dev/shm' : tmpdir());
    const second: Machine = {
      dir: join(dir, 'another place'),
      user: needsOtherUser() ? OTHER_USER : undefined,
      umask: '077',
      env: { TZ: 'Asia/Tokyo', LC_ALL: 'tr_TR.UTF-8', LANG: 'tr_TR.UTF-8', TMPDIR: join(dir, 'another place', 'home') },
    };
    write(join(second.dir, 'project'), [...entries].reverse());
    cpSync(first.dir, second.dir, { recursive: true, force: false });
    handOver(second.dir, second.user);
    const [one, other] = [await build(first), await build(second)];
    expect(other.layers.map(({ role, digest, diffId }) => ({ role, digest, diffId }))).toEqual(
      one.layers.map(({ role, digest, diffId }) => ({ role, digest, diffId })),
    );
    expect(other.digest).toBe(one.digest);
    expect([...one.layers, ...other.layers].filter(({ isCached }) => isCached)).toEqual([]);
  });
});
