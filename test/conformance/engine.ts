import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { until } from '../stage.js';

const run = promisify(execFile);

export interface Engine {
  /** Own folder of this engine; goes with it. */
  readonly dir: string;
  /** `unix://…`, as DOCKER_HOST has it. */
  readonly address: string;
  /** The client on this engine; gives stdout, throws with stderr. */
  docker(...args: readonly string[]): Promise<string>;
  /** Ends the engine; its data stay. */
  halt(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Starts it again after {@link halt}. */
  resume(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts a Docker Engine of its own: own folders and socket, no default bridge, so that containers reach nothing but themselves unless they
 * are put into a network, and an address range of its own for networks, since engines of other tests may run.
 */
export async function openEngine(...flags: readonly string[]): Promise<Engine> {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-engine-'));
  mkdirSync(join(dir, 'config'));
  // An engine that finds this program takes requests for GPUs, and tells containers theirs in a variable; the program would bring the devices in.
  mkdirSync(join(dir, 'bin'));
  writeFileSync(join(dir, 'bin/nvidia-container-runtime-hook'), '#!/bin/sh\n', { mode: 0o755 });
  const address = `unix://${dir}/docker.sock`;
  const folders = ['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec'), '--pidfile', join(dir, 'pid')];
  const networks = ['--bridge', 'none', '--iptables=false', '--default-address-pool', `base=10.${randomInt(100, 250)}.0.0/16,size=24`];
  // The legacy builder: every engine has it, BuildKit is a plugin of the client.
  const env = { ...process.env, DOCKER_BUILDKIT: '0' };
  const docker = async (...args: readonly string[]) =>
    (await run('docker', ['-H', address, '--config', join(dir, 'config'), ...args], { env, maxBuffer: 16 * 1024 * 1024 })).stdout.trim();
  let child: ChildProcess;
  let ended: Promise<void>;
  const start = () => {
    const found = { ...process.env, PATH: `${join(dir, 'bin')}:${process.env['PATH']}` };
    child = spawn('dockerd', [...folders, '-H', address, ...networks, ...flags], { stdio: 'ignore', env: found });
    ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const answers = () =>
      docker('version').then(
        () => true,
        () => false,
      );
    return until(answers, 'the engine to answer', 60_000);
  };
  const halt = async (signal: 'SIGTERM' | 'SIGKILL') => {
    const containerd = Number(readFileSync(join(dir, 'exec/containerd/containerd.pid'), 'utf8'));
    child.kill(signal);
    await ended;
    // It dies a moment after its engine, and the next engine would take a dying one for one that runs.
    await until(() => !existsSync(`/proc/${containerd}`), 'containerd to end');
  };
  const close = async () => {
    child.kill('SIGTERM');
    await ended;
    // A killed engine leaves its mounts to the next, which takes them for somebody else's.
    for (const place of mountsBelow(dir)) await run('umount', ['--lazy', place]);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return { dir, address, docker, halt, resume: async () => void (await start()), close };
}

function mountsBelow(dir: string): readonly string[] {
  const places = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  return places.filter((place) => place.startsWith(`${dir}/`)).reverse();
}
