import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { listen } from '../contract/registry-server.js';
import { MAIN, pidsWith, until } from '../stage.js';

const HANDLER = { 'handler.mjs': 'export const handler = () => 1;\n' };

/** A project, a place for temporary files and data, programs of our own in PATH, and a registry that never answers. */
async function setup({ onTestFinished }: TestContext, files: Readonly<Record<string, string>>) {
  const mark = `WHERRY_TEST_MARK=${randomUUID()}`;
  const dir = mkdtempSync(join(tmpdir(), 'wherry-interruption-'));
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  };
  const asked: (string | undefined)[] = [];
  const silent = await listen(({ url }) => void asked.push(url));
  onTestFinished(async () => {
    for (const pid of pidsWith(mark)) process.kill(pid, 'SIGKILL');
    await silent.close();
    rmSync(dir, { recursive: true, force: true });
  });
  for (const name of ['tmp', 'bin']) mkdirSync(join(dir, name));
  for (const [path, text] of Object.entries(files)) write(join('project', path), text.replaceAll('REGISTRY', silent.host));
  return {
    host: silent.host,
    isAsked: () => asked.length > 0,
    /** A program that starts another and waits for it for ever; gives whether it runs. */
    hang(name: string) {
      write(join('bin', name), `#!/bin/sh\n: > '${dir}/${name}'\nsleep 100000\n`);
      chmodSync(join(dir, 'bin', name), 0o755);
      return () => existsSync(join(dir, name));
    },
    /** Runs a command on the project, sends it the signal once the condition holds, and tells how it ended. */
    async interrupt(args: readonly string[], when: () => boolean, signal: NodeJS.Signals) {
      const [name = '', value] = mark.split('=');
      const child = spawn(process.execPath, [MAIN, ...args, '--data', join(dir, 'data')], {
        cwd: join(dir, 'project'),
        env: { ...process.env, TMPDIR: join(dir, 'tmp'), PATH: `${join(dir, 'bin')}${delimiter}${process.env['PATH']}`, [name]: value },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      const ended = new Promise<number | null>((done) => child.once('close', done));
      await until(() => when() || child.exitCode !== null, 'the command to wait');
      child.kill(signal);
      return { code: await ended, stderr };
    },
    left: () => ({ processes: pidsWith(mark), temporary: readdirSync(join(dir, 'tmp')), data: dataFiles(join(dir, 'data')) }),
  };
}

/** Directories for what is not finished are gone, or empty. */
function dataFiles(dataDir: string): readonly string[] {
  const places = ['cache/npm', 'cache/staging', 'images/blobs/sha256'].map((path) => join(dataDir, path));
  return places.flatMap((place) => (existsSync(place) ? readdirSync(place) : []));
}

const NOTHING = { processes: [], temporary: [], data: [] };

describe('an interrupted command', () => {
  it('asks a registry no longer, ends with 130 and says so: build', async (context) => {
    const scene = await setup(context, { ...HANDLER, 'wherry.yaml': 'name: echo\nbase: REGISTRY/base:1\n' });
    const ended = await scene.interrupt(['build'], scene.isAsked, 'SIGINT');
    expect(ended).toEqual({ code: 130, stderr: 'warning  wherry build was interrupted\n' });
    expect(scene.left()).toEqual(NOTHING);
  });

  it('asks a registry no longer, ends with 130 and says so: push, and the list of software with it', async (context) => {
    const scene = await setup(context, { ...HANDLER, 'wherry.yaml': 'name: echo\nbase: scratch\n' });
    const ended = await scene.interrupt(['push', '--to', `${scene.host}/a:1`], scene.isAsked, 'SIGTERM');
    expect(ended).toEqual({ code: 130, stderr: 'warning  wherry push was interrupted\n' });
    expect(scene.left()).toMatchObject({ processes: [], temporary: [] });
  });

  it.for([
    [
      'npm',
      {
        'handler.mjs': "import 'x';\nexport const handler = () => 1;\n",
        'package.json': '{"name":"a"}',
        'package-lock.json': '{"name":"a","lockfileVersion":3,"packages":{}}',
      },
    ],
    ['docker', { Dockerfile: 'FROM REGISTRY/base:1\nRUN true\n', 'wherry.yaml': 'name: echo\ndockerfile: Dockerfile\n' }],
  ] as const)('ends %s with what it started, and leaves nothing behind', async ([tool, files], context) => {
    const scene = await setup(context, { 'wherry.yaml': 'name: echo\nbase: scratch\n', ...files });
    const ended = await scene.interrupt(['build'], scene.hang(tool), 'SIGTERM');
    expect(ended).toEqual({ code: 130, stderr: 'warning  wherry build was interrupted\n' });
    expect(scene.left()).toEqual(NOTHING);
  });
});
