import { execFile, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { until } from '../stage.js';

const run = promisify(execFile);

export interface Engine {
  /** Own folder of this engine; goes with it. */
  readonly dir: string;
  /** The client on this engine; gives stdout, throws with stderr. */
  docker(...args: readonly string[]): Promise<string>;
  close(): Promise<void>;
}

/** Starts a Docker Engine of its own: own folders and socket, no bridge, so that containers reach nothing but themselves. */
export async function openEngine(): Promise<Engine> {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-engine-'));
  mkdirSync(join(dir, 'config'));
  const socket = `unix://${dir}/docker.sock`;
  const folders = ['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec'), '--pidfile', join(dir, 'pid')];
  const child = spawn('dockerd', [...folders, '-H', socket, '--bridge', 'none', '--iptables=false'], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  // The legacy builder: every engine has it, BuildKit is a plugin of the client.
  const env = { ...process.env, DOCKER_BUILDKIT: '0' };
  const docker = async (...args: readonly string[]) =>
    (await run('docker', ['-H', socket, '--config', join(dir, 'config'), ...args], { env, maxBuffer: 16 * 1024 * 1024 })).stdout.trim();
  const close = async () => {
    child.kill('SIGTERM');
    await ended;
    // A container in the network of the host leaves this behind; without one there is nothing to take off.
    spawnSync('umount', [join(dir, 'exec/netns/default')], { stdio: 'ignore' });
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const answers = () =>
      docker('version').then(
        () => true,
        () => false,
      );
    await until(answers, 'the engine to answer', 60_000);
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return { dir, docker, close };
}
