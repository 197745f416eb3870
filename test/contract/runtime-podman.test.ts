import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe } from 'vitest';
import type { Engine } from '../conformance/engine.js';
import { needs } from '../needs.js';
import { until } from '../stage.js';
import { type ImageHouse, openImageHouse } from './docker-images.js';
import { openContainers } from './docker-runtime.js';
import { describeRuntime } from './runtime.js';

const run = promisify(execFile);

// Lower than podman's own, which a container in which these tests run may not be allowed to set.
const CONFIGURATION = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`;

/** Podman's own service of the API of Docker, with folders of its own. */
async function openPodman(): Promise<Pick<Engine, 'address' | 'docker' | 'close'>> {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-podman-'));
  for (const name of ['run', 'networks']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'containers.conf'), CONFIGURATION);
  const address = `unix://${dir}/podman.sock`;
  const folders = ['--root', join(dir, 'root'), '--runroot', join(dir, 'run'), '--tmpdir', join(dir, 'tmp')];
  const own = [...folders, '--network-config-dir', join(dir, 'networks')];
  const env = { ...process.env, CONTAINERS_CONF: join(dir, 'containers.conf') };
  const service = spawn('podman', [...own, 'system', 'service', '--time', '0', address], { stdio: 'ignore', env });
  const docker = async (...args: readonly string[]) => (await run('docker', ['-H', address, ...args])).stdout.trim();
  await until(() => docker('version').then(Boolean, () => false), 'podman to answer');
  return {
    address,
    docker,
    async close() {
      const ended = new Promise((resolve) => service.once('exit', resolve));
      service.kill('SIGTERM');
      await ended;
      await run('podman', [...own, 'system', 'reset', '--force'], { env }).catch(() => {});
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

// Skipped where podman is not installed; the client that asks it what is left comes with the Docker Engine.
describe.skipIf(!needs('podman') || !needs('dockerd'))('containers of podman', () => {
  let engine: Awaited<ReturnType<typeof openPodman>>;
  let house: ImageHouse;
  beforeAll(async () => {
    [engine, house] = await Promise.all([openPodman(), openImageHouse()]);
  }, 90_000);
  afterAll(async () => {
    await house?.close();
    await engine?.close();
  });

  describeRuntime('podman', () => openContainers({ engine, house }, {}));
});
