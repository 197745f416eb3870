import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { type Cgroup, type Cgroups, createCgroup, joinCommand, removeGroups } from './cgroup.js';
import type { SpawnOrder, Started } from './protocol.js';

/** Exit code and signal; both null when nobody saw the end. */
export type Exit = readonly [exitCode: number | null, signal: string | null];

/** The first process of a worker, whoever its parent is. */
export interface MainProcess extends Pick<Started, 'pid' | 'path'> {
  /** Null where there are no cgroups. */
  readonly cgroup: Cgroup | null;
  /** What it writes. */
  readonly streams: readonly Readable[];
  readonly exited: Promise<Exit>;
  hasEnded(): boolean;
  /** Call when nothing of the worker is left: its number may be given to another process from now on. */
  release(): void;
}

/** Spawns it in its own process group and, where there are any, its own cgroups. Rejects when it could not start; then nothing runs. */
export async function spawnMain(order: SpawnOrder, cgroups: Cgroups | null): Promise<MainProcess> {
  const cgroup = cgroups === null ? null : createCgroup(cgroups, order.workerId, order.limits);
  const child = start(order, cgroup);
  // Besides the two waits below: a later error (a signal that could not be sent) must not end the supervisor.
  child.on('error', () => {});
  const exited = once(child, 'exit').then(
    ([code, signal]): Exit => [code, signal],
    (): Exit => [null, null],
  );
  try {
    await once(child, 'spawn');
  } catch (cause) {
    removeGroups(cgroup?.dirs ?? []);
    throw cause;
  }
  return {
    pid: child.pid ?? 0,
    path: 'spawn',
    cgroup,
    streams: [child.stdout, child.stderr],
    exited,
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    release: () => {},
  };
}

function start(order: SpawnOrder, cgroup: Cgroup | null) {
  const [file = '', ...args] = cgroup === null ? order.argv : joinCommand(cgroup, order.argv);
  try {
    return spawn(file, args, { cwd: order.cwd, env: order.env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (cause) {
    // A zero byte in a variable of the image, for instance.
    removeGroups(cgroup?.dirs ?? []);
    throw cause;
  }
}
