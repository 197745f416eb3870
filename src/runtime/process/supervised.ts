import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { type Cgroup, type Cgroups, createCgroup, joinCommand, killGroups, membersOf, removeGroups } from './cgroup.js';
import { createFreezer, type FreezerOptions } from './freezer.js';
import { endMembers, markedPids, signal } from './members.js';
import { measureMemory } from './memory.js';
import { createLineCutter, createWorkerOutput, type Outbox, type WorkerOutput } from './output.js';
import { BOUNDS, MARKER, type SpawnOrder, type Started } from './protocol.js';

/** A running worker under the supervisor. */
export interface Supervised extends Started {
  readonly output: WorkerOutput;
  /** Resolves when no process of the worker is left and its exit is in the outbox. */
  readonly gone: Promise<void>;
  /** SIGTERM to the main process, grace, SIGKILL to all of them; resolves with `gone`. */
  stop(graceMs: number): Promise<void>;
  /** Suspends all its processes; gives the bytes of memory they hold. Rejects when it ends or is being stopped. */
  freeze(): Promise<number>;
  /** Lets them go on. */
  thaw(): void;
}

export interface SuperviseOptions {
  readonly cgroups: Cgroups | null;
  readonly outbox: Outbox;
  readonly now: () => number;
}

/** Starts a worker in its own process group and, where there are any, its own cgroups. Rejects when it could not start; then nothing runs. */
export async function superviseWorker(order: SpawnOrder, { cgroups, outbox, now }: SuperviseOptions): Promise<Supervised> {
  const cgroup = cgroups === null ? null : createCgroup(cgroups, order.workerId, order.limits);
  const output = createWorkerOutput({ workerId: order.workerId, outbox, now });
  const child = start(order, cgroup);
  // Besides the two waits below: a later error (a signal that could not be sent) must not end the supervisor.
  child.on('error', () => {});
  const exited = once(child, 'exit').catch(() => [null, null]);
  const closed = once(child, 'close').catch(() => []);
  for (const stream of [child.stdout, child.stderr]) if (stream !== null) readLines(stream, output);
  try {
    await once(child, 'spawn');
  } catch (cause) {
    removeGroups(cgroup?.dirs ?? []);
    throw cause;
  }
  const pid = child.pid ?? 0;
  const dirs = cgroup?.dirs ?? [];
  const find = memberFinder(order, cgroup);
  const gone = exited.then(async ([exitCode, signalName]) => {
    await endRest({ pid, dirs, find });
    await raceTime(closed, BOUNDS.drainMs);
    child.stdout?.destroy();
    child.stderr?.destroy();
    output.finish();
    await rm(order.dir, { recursive: true, force: true, maxRetries: 3 }).catch(() => {});
    outbox.add({ event: 'exit', workerId: order.workerId, exitCode, signal: signalName });
  });
  const freezer = createFreezer({ pid, dirs, find });
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  let isStopping = false;
  const freeze = async (): Promise<number> => {
    if (isStopping || hasEnded()) throw new Error('it ends');
    await freezer.freeze();
    const memoryBytes = await measureMemory({ pid, dirs, members: find() });
    if (isStopping || hasEnded()) throw new Error('it ends');
    return memoryBytes;
  };
  let isAsked = false;
  const stop = async (graceMs: number): Promise<void> => {
    isStopping = true;
    if (graceMs > 0) {
      // Only the main process: it may need its children (a pool, a tool it runs) to finish its job. What is left is killed.
      // Asked once: a server that restarts asks again, and many programs take a second SIGTERM for an order to end at once.
      if (!isAsked) signal(pid, 'SIGTERM');
      isAsked = true;
      // A frozen one would not see it.
      freezer.thaw();
      await raceTime(exited, graceMs);
    }
    if (!hasEnded()) signal(-pid, 'SIGKILL');
    await gone;
  };
  return { pid, output, gone, stop, freeze, thaw: freezer.thaw };
}

/** Waits for a promise at most so long, and leaves no timer behind. */
async function raceTime(promise: Promise<unknown>, timeMs: number): Promise<void> {
  const timer = new AbortController();
  await Promise.race([promise, wait(timeMs, undefined, { signal: timer.signal }).catch(() => {})]);
  timer.abort();
}

function start(order: SpawnOrder, cgroup: Cgroup | null): ChildProcess {
  const [file = '', ...args] = cgroup === null ? order.argv : joinCommand(cgroup, order.argv);
  return spawn(file, args, { cwd: order.cwd, env: order.env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** How the processes of a worker are found. */
function memberFinder(order: SpawnOrder, cgroup: Cgroup | null): () => readonly number[] {
  const marker = order.env[MARKER];
  return cgroup !== null || marker === undefined ? () => membersOf(cgroup?.dirs ?? []) : () => markedPids(`${marker}\0`);
}

/** Ends children that outlived the main process: those of its group first, then whoever left the group. */
async function endRest({ pid, dirs, find }: FreezerOptions): Promise<void> {
  signal(-pid, 'SIGKILL');
  await endMembers(find, () => killGroups(dirs));
  removeGroups(dirs);
}

function readLines(stream: Readable, output: WorkerOutput): void {
  const cutter = createLineCutter((text) => output.take(text));
  const flush = (): void => {
    cutter.flush();
    output.flush();
  };
  stream.on('data', (chunk: Buffer) => {
    cutter.push(chunk);
    output.flush();
  });
  stream.on('end', flush);
  // A worker may be gone before its pipe is read to the end.
  stream.on('error', flush);
}
