import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { openStage, runCli, type Stage } from '../stage.js';
import { type Engine, openEngine } from './engine.js';
import { findPython, loadPythonBase } from './python-base.js';

const python = findPython();

interface Built {
  readonly digest: string;
  readonly layers: readonly { readonly isCached: boolean; readonly diffId: string }[];
  readonly platforms: readonly { readonly platform: string; readonly digest: string }[];
  readonly warnings: readonly string[];
}

/** An ELF file for a processor that does not exist, so that no emulator takes it either. */
function programOfNoProcessor(): Buffer {
  const header = Buffer.alloc(128);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(0x9999, 18);
  header.writeUInt32LE(1, 20);
  return header;
}

// Skipped where no Docker Engine, or no Python with pip, setuptools and wheel to make a base image of, is installed.
describe.skipIf(!needs('dockerd') || python === undefined)('Dockerfile projects', () => {
  let engine: Engine;
  let stage: Stage;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    stage = await openStage();
    engine = await openEngine();
    await loadPythonBase(engine, { python: python ?? '', reference: 'python:3.11-slim' });
    const { host } = new URL(stage.url);
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    writeFileSync(join(engine.dir, 'config/config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
    env = { DOCKER_HOST: `unix://${engine.dir}/docker.sock`, DOCKER_CONFIG: join(engine.dir, 'config') };
  }, 120_000);
  afterAll(async () => {
    await engine?.close();
    await stage?.close();
  });

  const wherry = async (...args: readonly string[]) => {
    const result = await runCli([...args, '--data', stage.dataDir], { env });
    if (result.code !== 0) throw new Error(result.stderr);
    return result;
  };
  const build = async (...args: readonly string[]) => JSON.parse((await wherry('build', ...args, '--json')).stdout) as Built;

  const guide = (requirement: string) => ({
    'wherry.yaml': 'name: guide\ndockerfile: Dockerfile\n',
    Dockerfile: [
      'FROM python:3.11-slim',
      'ARG GREETING=none',
      'ENV GREETING=${GREETING}',
      'WORKDIR /',
      'COPY builder/requirements.txt .',
      'RUN pip install -r requirements.txt',
      'COPY src/handler.py /',
      'CMD ["python", "-u", "/handler.py"]',
    ].join('\n'),
    'builder/requirements.txt': `${requirement}\n`,
    'src/handler.py': 'import os\nprint(os.environ["GREETING"])\n',
  });

  it('are built by the engine, pushed, and run under the digest that is in the registry (row 4)', async () => {
    const project = stage.project('guide', guide('wherry-worker'));
    const pushed = JSON.parse((await wherry('push', project, '--build-arg', 'GREETING=hello', '--json')).stdout) as { reference: string };
    const { host } = new URL(stage.url);
    expect(pushed.reference).toMatch(/^guide:build-[0-9a-f]+@sha256:[0-9a-f]{64}$/);
    const reference = `${host}/${pushed.reference}`;
    expect(await engine.docker('pull', reference)).toContain(pushed.reference.split('@')[1]);
    expect(await engine.docker('run', '--rm', '--network', 'none', reference)).toBe('hello');
  });

  it('compress only the layers that changed', async () => {
    const project = stage.project('changed', { ...guide('wherry-worker'), 'wherry.yaml': 'name: changed\ndockerfile: Dockerfile\n' });
    await build(project);
    writeFileSync(join(project, 'src/handler.py'), 'print("another")\n');
    const { layers } = await build(project);
    expect(layers.length).toBeGreaterThan(2);
    expect(layers.filter(({ isCached }) => !isCached)).toHaveLength(1);
  });

  it("end with the engine's reason when a step fails", async () => {
    const project = stage.project('broken', { ...guide('no-such-package-anywhere'), 'wherry.yaml': 'dockerfile: Dockerfile\n' });
    const result = await runCli(['build', project, '--data', stage.dataDir], { env });
    expect(result.code).toBe(2);
    expect(result.stderr).toContain('BUILD_FAILED');
    expect(result.stderr).toContain('no-such-package-anywhere');
    expect(result.stderr).not.toContain('\u001b');
  });

  it('are built for each platform, and say what to do where the engine cannot run what is in one', async () => {
    const { host } = new URL(stage.url);
    const settings = (name: string) => `name: ${name}\nplatforms: [linux/amd64, linux/riscv64]\n`;
    const ground = { 'wherry.yaml': `${settings('ground')}base: scratch\n`, 'handler.py': 'def handler(job):\n    return 1\n' };
    await wherry('push', stage.project('ground', ground), '--to', `${host}/ground:1`);
    const files = { 'wherry.yaml': `${settings('both')}dockerfile: Dockerfile\n`, run: 'ran\n' };
    const both = stage.project('both', { ...files, Dockerfile: `FROM ${host}/ground:1\nCOPY run /run\nCMD ["/run"]\n` });
    const { digest, platforms } = await build(both, '--engine', 'docker');
    for (const platform of ['linux/amd64', 'linux/riscv64']) {
      const { stdout } = await wherry('image', 'inspect', digest, '--platform', platform, '--json');
      expect(JSON.parse(stdout), platform).toMatchObject({
        digest: platforms.find((each) => each.platform === platform)?.digest,
        platform,
      });
    }
    const foreign = stage.project('foreign', { ...files, Dockerfile: 'FROM scratch\nCOPY sh /bin/sh\nRUN true\n' });
    writeFileSync(join(foreign, 'sh'), programOfNoProcessor(), { mode: 0o755 });
    const refused = await runCli(['build', foreign, '--data', stage.dataDir], { env });
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('docker could not build Dockerfile for linux/amd64') });
    expect(refused.stderr).toMatch(/exec format error.*qemu-user-static/s);
  });

  it('give the same config and files without an engine as with it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'wherry-same-'));
    try {
      const project = stage.project('same', {
        'wherry.yaml': 'name: same\ndockerfile: Dockerfile\n',
        Dockerfile: [
          'FROM scratch',
          'ENV HOME=/srv LEVEL="two words" ESCAPED=a\\ b',
          'ENV BOTH=$HOME/$LEVEL',
          'WORKDIR /srv',
          'WORKDIR app',
          'COPY src .',
          'COPY model*.bin other weights/',
          'COPY notes.txt /etc/notes.txt',
          'EXPOSE 8000 9000/udp',
          'VOLUME /data',
          'USER 1000:1000',
          'STOPSIGNAL SIGINT',
          'LABEL kind="a worker" other=1',
          'ENTRYPOINT ["/srv/app/run"]',
          'CMD python -u handler.py',
        ].join('\n'),
        'src/handler.py': 'print(1)\n',
        'src/deep/er.py': '',
        'model-a.bin': 'a',
        'model-b.bin': 'b',
        'other/c': 'c',
        'notes.txt': 'n',
      });
      chmodSync(join(project, 'src/handler.py'), 0o755);
      const ours = await build(project);
      const theirs = await build(project, '--engine', 'docker');
      expect(ours.digest).not.toBe(theirs.digest);
      expect(await describeImage(theirs.digest, join(dir, 'theirs'))).toEqual(await describeImage(ours.digest, join(dir, 'ours')));
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('get build arguments as they are given, and a warning of what may be secrets in the context (S6)', async () => {
    const project = stage.project('odd-arguments', {
      'wherry.yaml': 'dockerfile: Dockerfile\n',
      Dockerfile: 'FROM scratch\nARG ODD\nENV ODD=$ODD\nCOPY run /run\nCMD ["/run"]\n',
      run: '',
      '.env': 'TOKEN=1',
      'keys/id_rsa': '',
    });
    const odd = '$(touch pwned) `touch pwned` ; "two" \'words\' --privileged\\';
    const { digest, warnings } = await build(
      project,
      '--build-arg',
      `ODD=${odd}`,
      '--build-arg',
      '--network=host',
      '--build-arg',
      '-v=/:/host',
    );
    const { env: found } = JSON.parse((await wherry('image', 'inspect', digest, '--json')).stdout) as {
      env: { name: string; value: string }[];
    };
    expect(found.find(({ name }) => name === 'ODD')?.value).toBe(odd);
    expect(warnings.join()).toContain('.env, keys/id_rsa');
    expect([project, '.', stage.dir].flatMap((dir) => readdirSync(dir)).filter((name) => name === 'pwned')).toEqual([]);
  });

  interface Config {
    readonly config: { readonly Labels: Readonly<Record<string, string>>; readonly [key: string]: unknown };
    readonly rootfs: { readonly diff_ids: readonly string[] };
  }

  /** The config's settings and, of each file in the layers, mode, owner, size and name. */
  async function describeImage(digest: string, dir: string) {
    const blob = (name: string) => join(stage.dataDir, 'images/blobs/sha256', name.slice(7));
    const manifest = JSON.parse(execFileSync('cat', [blob(digest)], { encoding: 'utf8' })) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    const { config } = JSON.parse(execFileSync('cat', [blob(manifest.config.digest)], { encoding: 'utf8' })) as Config;
    mkdirSync(dir);
    const files = manifest.layers.flatMap(({ digest: layer }, index) => {
      copyFileSync(blob(layer), join(dir, `${index}.tar.gz`));
      const lines = execFileSync('tar', ['--numeric-owner', '-tzvf', join(dir, `${index}.tar.gz`)], { encoding: 'utf8' }).split('\n');
      return lines.filter((line) => line.startsWith('-')).map((line) => line.replace(/\d{4}-\d\d-\d\d \d\d:\d\d/, ''));
    });
    const { Labels, Env, Entrypoint, Cmd, WorkingDir, User, ExposedPorts, Volumes, StopSignal } = config;
    const own = Object.fromEntries(Object.entries(Labels).filter(([name]) => !name.startsWith('org.opencontainers')));
    return { own, Env, Entrypoint, Cmd, WorkingDir, User, ExposedPorts, Volumes, StopSignal, files: files.map(normalise).sort() };
  }

  const normalise = (line: string) => line.replace(/\s+/g, ' ').trim();
});
