import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { openStage, runCli, type Stage } from '../stage.js';
import { type Engine, openEngine } from './engine.js';
import { findPython, loadPythonBase } from './python-base.js';

const run = promisify(execFile);
const python = findPython();
const INPUT = JSON.stringify({ input: { name: 'Ada' } });

interface Pushed {
  readonly reference: string;
  readonly digest: string;
}

// Skipped where no Docker Engine, or no Python with pip, setuptools and wheel to make a base image of, is installed.
describe.skipIf(!needs('dockerd') || python === undefined)('images in engines', () => {
  let stage: Stage;
  let engine: Engine;
  let host: string;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    stage = await openStage();
    host = new URL(stage.url).host;
    engine = await openEngine();
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    writeFileSync(join(engine.dir, 'config/config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
    env = { DOCKER_CONFIG: join(engine.dir, 'config') };
    const base = `${host}/base/python:1`;
    await loadPythonBase(engine, { python: python ?? '', reference: base });
    await engine.docker('push', base);
  }, 120_000);
  afterAll(async () => {
    await engine?.close();
    await stage?.close();
  });

  /** A greeting of a project whose image has `base` below it. */
  async function pushGreeter(name: string, base: string): Promise<Pushed> {
    const version = (await run(python ?? '', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'])).stdout.trim();
    const project = stage.project(name, {
      'wherry.yaml': `name: ${name}\nhandler: handler.py:handler\nbase: ${base}\ninterpreter: python@${version}\n`,
      'handler.py': `import os\ndef handler(job):\n    return [job['input']['name'], os.path.exists('/made-by-docker')]\n`,
    });
    const pushed = await runCli(['push', project, '--to', `${host}/${name}:1`, '--json', '--data', stage.dataDir], { env });
    if (pushed.code !== 0) throw new Error(pushed.stderr);
    return JSON.parse(pushed.stdout) as Pushed;
  }

  it('run in Docker when they were built here', async () => {
    const { reference } = await pushGreeter('docker-greeter', `${host}/base/python:1`);
    const printed = await engine.docker('run', '--rm', '--network', 'none', reference, '--test_input', INPUT);
    expect(JSON.parse(printed)).toEqual({ output: ['Ada', false] });
  });

  it('are read here, and serve as a base, when Docker built and pushed them', async () => {
    const context = stage.project('theirs', {
      Dockerfile: `FROM ${host}/base/python:1\nRUN echo made > /made-by-docker\nLABEL made=by-docker\n`,
    });
    const theirs = `${host}/theirs:1`;
    await engine.docker('build', '--network', 'none', '--tag', theirs, context);
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(await engine.docker('push', theirs))?.[1];
    const inspected = await runCli(['image', 'inspect', theirs, '--json', '--data', stage.dataDir], { env });
    expect(inspected.code, inspected.stderr).toBe(0);
    expect(JSON.parse(inspected.stdout)).toMatchObject({ digest, labels: { made: 'by-docker' } });
    const { reference } = await pushGreeter('on-theirs', theirs);
    const printed = await engine.docker('run', '--rm', '--network', 'none', reference, '--test_input', INPUT);
    expect(JSON.parse(printed)).toEqual({ output: ['Ada', true] });
  });

  // Skipped where podman is not installed.
  it.skipIf(!needs('podman'))(
    'run in Podman when they were built here',
    async () => {
      const { reference, digest } = await pushGreeter('podman-greeter', `${host}/base/python:1`);
      const dir = mkdtempSync(join(tmpdir(), 'wherry-podman-'));
      mkdirSync(join(dir, 'run'));
      const folders = ['--root', join(dir, 'root'), '--runroot', join(dir, 'run'), '--tmpdir', join(dir, 'tmp'), '--storage-driver', 'vfs'];
      const podman = async (...args: string[]) =>
        (await run('podman', [...folders, '--runtime', 'runc', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none', ...args]))
          .stdout;
      try {
        await podman('pull', '--quiet', '--tls-verify=false', '--authfile', join(engine.dir, 'config/config.json'), reference);
        expect(await podman('image', 'inspect', '--format', '{{.Digest}}', reference)).toBe(`${digest}\n`);
        // Lower than podman's own, which a container in which these tests run may not be allowed to set.
        const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=4096:4096', '--network', 'none'];
        const printed = await podman('run', '--rm', ...limits, reference, '--test_input', INPUT);
        expect(JSON.parse(printed)).toEqual({ output: ['Ada', false] });
      } finally {
        await podman('system', 'reset', '--force').catch(() => {});
        rmSync(dir, { recursive: true, force: true });
      }
    },
    120_000,
  );
});
