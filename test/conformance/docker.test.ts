import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { openStage, type Stage, until } from '../stage.js';

const run = promisify(execFile);

// Skipped where no Docker Engine is installed; WHERRY_TEST_REQUIRE=dockerd makes its absence a failure.
describe.skipIf(!needs('dockerd'))('Docker Engine', () => {
  let stage: Stage;
  let dir: string;
  let engine: ChildProcess;
  const docker = async (...args: string[]) =>
    (await run('docker', ['-H', `unix://${dir}/docker.sock`, '--config', join(dir, 'config'), ...args])).stdout.trim();

  beforeAll(async () => {
    stage = await openStage();
    dir = mkdtempSync(join(tmpdir(), 'wherry-docker-'));
    const { host } = new URL(stage.url);
    mkdirSync(join(dir, 'config'));
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    writeFileSync(join(dir, 'config/config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
    const own = [
      '--data-root',
      join(dir, 'data'),
      '--exec-root',
      join(dir, 'exec'),
      '--pidfile',
      join(dir, 'pid'),
      '-H',
      `unix://${dir}/docker.sock`,
    ];
    engine = spawn('dockerd', [...own, '--bridge', 'none', '--iptables=false'], { stdio: 'ignore' });
    await until(
      () =>
        docker('version')
          .then(() => true)
          .catch(() => false),
      'the engine to answer',
      60_000,
    );
  }, 90_000);
  afterAll(async () => {
    const ended = new Promise((resolve) => engine.once('exit', resolve));
    engine.kill('SIGTERM');
    await ended;
    await stage.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('pushes an image to the embedded registry and pulls it by digest', async () => {
    writeFileSync(join(dir, 'file'), 'content');
    await run('tar', ['-C', dir, '-cf', join(dir, 'layer.tar'), 'file']);
    const image = `${new URL(stage.url).host}/tools/docker:1.0`;
    await docker('import', join(dir, 'layer.tar'), image);
    const pushed = await docker('push', image);
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(pushed)?.[1] ?? '';
    await docker('rmi', image);
    await docker('pull', `${image.replace(':1.0', '')}@${digest}`);
    const { json } = await stage.call('/v2/tools/docker/tags/list');
    expect(json).toEqual({ name: 'tools/docker', tags: ['1.0'] });
  });

  it('pulls an image that wherry built, with its entrypoint and labels', async () => {
    const project = stage.project('app', {
      'wherry.yaml': 'name: app\nhandler: handler.mjs:handler\nbase: scratch\n',
      'handler.mjs': 'export const handler = () => 1;\n',
    });
    const { digest } = JSON.parse(await stage.cli('push', project, '--json')) as { digest: string };
    const image = `${new URL(stage.url).host}/app@${digest}`;
    await docker('pull', image);
    const [inspected] = JSON.parse(await docker('inspect', image)) as {
      Config: { Entrypoint: string[]; Labels: Record<string, string> };
    }[];
    expect(inspected?.Config.Entrypoint[0]).toBe('node');
    expect(inspected?.Config.Labels['org.opencontainers.image.title']).toBe('app');
  });

  it('is refused without a key', async () => {
    await expect(
      run('docker', ['-H', `unix://${dir}/docker.sock`, '--config', join(dir, 'none'), 'pull', `${new URL(stage.url).host}/app:x`]),
    ).rejects.toThrow(/unauthorized|no basic auth/i);
  });

  it('is told which runtime can run a foreign image when that is deployed', async () => {
    const result = await stage.tryCli('deploy', '--image', 'tools/docker:1.0', '-e', 'foreign');
    expect(result.code).toBe(2);
    expect(result.stderr).toContain('RUNTIME_REFUSED');
  });
});
