import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import type { Manifest } from '../../src/oci/manifest.js';
import { createRegistryClient } from '../../src/registry/client.js';
import { type Built, readBlob, readFiles } from '../built-files.js';
import { openRegistryServer } from '../contract/registry-server.js';
import { pushMade, tarOf } from '../made-image.js';
import { runCli } from '../stage.js';

let dir: string;
let data: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-dockerfile-'));
  data = mkdtempSync(join(tmpdir(), 'wherry-data-'));
});
afterEach(() => {
  for (const each of [dir, data]) rmSync(each, { recursive: true });
});

const write = (files: Readonly<Record<string, string>>) => {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
};
/** Nothing is found in its PATH, so no engine either. */
const alone = { PATH: '/nowhere' };
const build = (...args: readonly string[]) => runCli(['build', dir, '--data', data, ...args], { env: alone });

interface Inspected {
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly entrypoint: readonly string[];
  readonly largestFiles: readonly { readonly path: string }[];
}

async function inspect(digest: string): Promise<Inspected> {
  const { stdout, stderr } = await runCli(['image', 'inspect', digest, '--json', '--data', data]);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Inspected;
}

const DOCKERFILE = [
  'FROM scratch',
  'ENV HOME=/srv LEVEL="two words"',
  'ENV BOTH=$HOME/$LEVEL',
  'WORKDIR /srv',
  'WORKDIR app',
  'COPY src .',
  'COPY model*.bin weights/',
  'COPY notes.txt /etc/notes.txt',
  'EXPOSE 8000',
  'USER 1000',
  'LABEL kind=worker',
  'ENTRYPOINT ["/srv/app/run"]',
  'CMD ["-u", "handler.py"]',
].join('\n');

const FILES = {
  Dockerfile: DOCKERFILE,
  'src/handler.py': 'print(1)\n',
  'src/deep/er.py': '',
  'model-a.bin': 'a',
  'model-b.bin': 'b',
  'notes.txt': 'n',
};

describe('a Dockerfile in which nothing runs', () => {
  it('is built without any engine, into the config and files it says', async () => {
    write(FILES);
    const result = await build('--json');
    expect(result).toMatchObject({ code: 0 });
    const { digest } = JSON.parse(result.stdout) as { digest: string };
    const inspected = await inspect(digest);
    expect(inspected).toMatchObject({
      entrypoint: ['/srv/app/run'],
      cmd: ['-u', 'handler.py'],
      workingDir: '/srv/app',
      user: '1000',
    });
    expect(inspected.env).toContainEqual({ name: 'BOTH', value: '/srv/two words', isMasked: false });
    expect(inspected.largestFiles.map(({ path }) => path).sort()).toEqual([
      'etc/notes.txt',
      'srv/app/deep/er.py',
      'srv/app/handler.py',
      'srv/app/weights/model-a.bin',
      'srv/app/weights/model-b.bin',
    ]);
  });

  it('has the files where an engine puts them: into directories that are there, and not as the links that are named', async () => {
    write({
      Dockerfile: 'FROM scratch\nCOPY etc /conf.d\nCOPY conf.d /conf.d\nCOPY link folder* /l/\nCMD ["/x"]\n',
      'etc/a': 'a',
      'conf.d': 'a file',
      'src/b': 'b',
    });
    symlinkSync('conf.d', join(dir, 'link'));
    symlinkSync('src', join(dir, 'folder'));
    symlinkSync('../etc/a', join(dir, 'src/kept'));
    const files = await readFiles(data, JSON.parse((await build('--json')).stdout) as Built);
    expect(Object.fromEntries([...files].filter(([, text]) => text !== ''))).toEqual({
      'conf.d/a': 'a',
      'conf.d/conf.d': 'a file',
      'l/link': 'a file',
      'l/b': 'b',
      'l/kept': '-> ../etc/a',
    });
  });

  it('never takes secrets of the context along, and says so (S6)', async () => {
    write({ Dockerfile: 'FROM scratch\nCOPY . /app/\nCMD ["/app/run"]\n', run: '', '.env': 'TOKEN=hidden', 'deploy/id_rsa': 'hidden' });
    const { code, stderr, stdout } = await build('--output', join(data, 'out'));
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('.env, deploy/id_rsa') });
    const digest = /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? '';
    const { largestFiles } = await inspect(digest);
    expect(largestFiles.map(({ path }) => path).sort()).toEqual(['app/Dockerfile', 'app/run']);
  });

  it('does not leave what its file in the project names outside', async () => {
    write({ 'wherry.yaml': 'dockerfile: ../Dockerfile\n', 'handler.py': '' });
    expect(await build()).toMatchObject({ code: 2, stderr: expect.stringContaining('the path leaves the project') });
  });
});

describe('the linter, before a build', () => {
  it('ends it with line and fix for a source that is not there', async () => {
    write({ Dockerfile: 'FROM scratch\nCOPY handler.py /\nCMD ["x"]\n', 'src/handler.py': '' });
    write({ 'wherry.yaml': 'dockerfile: Dockerfile\n' });
    const { code, stderr } = await build();
    expect(code).toBe(2);
    expect(stderr).toContain("Dockerfile:2: 'handler.py' does not exist in the build context [missing-source]");
    expect(stderr).toContain("did you mean 'src/handler.py'?");
  });

  it('warns, and ends a strict build', async () => {
    write({ Dockerfile: 'FROM scratch\nADD run /\nCMD ["/run"]\n', run: '' });
    expect(await build()).toMatchObject({ code: 0, stderr: expect.stringContaining('[add-for-copy]') });
    expect(await build('--strict')).toMatchObject({ code: 2, stderr: expect.stringContaining('[add-for-copy]') });
  });
});

describe('a Dockerfile on a base with settings of its own', () => {
  const onBase = async (config: object, work: () => Promise<void>) => {
    const registry = await openRegistryServer();
    const client = createRegistryClient({ registry: registry.host, log: silentLog });
    try {
      await pushMade(client, ['base', '1'], { tars: [await tarOf([{ name: 'a' }])], config: { config } });
      write({ Dockerfile: `FROM ${registry.host}/base:1\nCMD echo $HOME\n` });
      await work();
    } finally {
      await client.close();
      await registry.close();
    }
  };

  it('runs commands that are no list in the shell of the base', () =>
    onBase({ Shell: ['/bin/ash', '-ec'] }, async () => {
      const { digest } = JSON.parse((await build('--json')).stdout) as Built;
      const { config } = JSON.parse(readBlob(data, digest).toString()) as Manifest;
      expect(JSON.parse(readBlob(data, config.digest).toString())).toMatchObject({ config: { Cmd: ['/bin/ash', '-ec', 'echo $HOME'] } });
    }));

  it('is refused where the base has something to run in it', () =>
    onBase({ OnBuild: ['COPY . /app'] }, async () => {
      expect(await build()).toMatchObject({ code: 2, stderr: expect.stringMatching(/ONBUILD[\s\S]*--engine docker/) });
    }));
});

describe('a Dockerfile that needs an engine where there is none', () => {
  it.each([
    ['RUN', 'RUN true', 'line 2: RUN'],
    ['a second stage', 'FROM scratch AS two', 'line 2: a second stage'],
    ['an owner', 'COPY --chown=1 run /run', 'line 2: COPY with --chown'],
    ['what may be a directory', 'COPY run /opt/tool', 'line 2: COPY to what may be a directory of the base'],
  ])('is refused with the line: %s', async (_, line, why) => {
    write({ Dockerfile: `FROM scratch\n${line}\nCMD ["/run"]\n`, run: '' });
    const { code, stderr } = await build();
    expect(code).toBe(2);
    expect(stderr).toContain(why);
    expect(stderr).toContain('tried docker, podman and buildah');
  });

  it('says so for an engine that is named, and refuses names of none', async () => {
    write({ Dockerfile: 'FROM scratch\nCOPY run /run\nCMD ["/run"]\n', run: '' });
    expect(await build('--engine', 'podman')).toMatchObject({ code: 2, stderr: expect.stringContaining('tried podman') });
    expect(await build('--engine', 'nerd')).toMatchObject({ code: 2, stderr: expect.stringContaining('docker, podman, buildah') });
  });
});

it('refuses an engine for a project that has a handler', async () => {
  write({ 'handler.py': 'def handler(job):\n    return 1\n' });
  expect(await build('--engine', 'docker')).toMatchObject({ code: 2, stderr: expect.stringContaining('this project has a handler') });
});

it('prefers a handler to a Dockerfile beside it, and says so', async () => {
  write({ 'handler.py': 'def handler(job):\n    return 1\n', Dockerfile: 'FROM scratch\nRUN true\n' });
  const { chosen } = JSON.parse((await build('--json')).stdout) as { chosen: string[] };
  expect(chosen).toContain("not used: Dockerfile ('dockerfile: Dockerfile' builds it)");
});
