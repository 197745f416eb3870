import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { createLineCutter } from '../lines.js';
import { type Cgroup, type Cgroups, createCgroup, joinCommand, killGroups, membersOf, removeGroups } from './cgroup.js';
import { endMembers, markedPids, signal } from './members.js';
import { createWorkerOutput, type Outbox, type WorkerOutput } from './output.js';
import { BOUNDS, MARKER, type SpawnOrder, type Started } from './protocol.js';

/** A running worker under the supervisor. */
export interface Supervised extends Started {
  readonly output: WorkerOutput;
  /** Resolves when no process of the worker is left and its exit is in the outbox. */
  readonly gone: Promise<void>;
  /** SIGTERM to the main process, grace, SIGKILL to all of them; resolves with `gone`. */
  stop(graceMs: number): Promise<void>;
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
  const gone = exited.then(async ([exitCode, signalName]) => {
    await endRest(order, pid, cgroup);
    await raceTime(closed, BOUNDS.drainMs);
    child.stdout?.destroy();
    child.stderr?.destroy();
    output.finish();
    await rm(order.dir, { recursive: true, force: true, maxRetries: 3 }).catch(() => {});
    outbox.add({ event: 'exit', workerId: order.workerId, exitCode, signal: signalName });
  });
  let isAsked = false;
  const stop = async (graceMs: number): Promise<void> => {
    if (graceMs > 0) {
      // Only the main process: it may need its children (a pool, a tool it runs) to finish its job. What is left is killed.
      // Asked once: a server that restarts asks again, and many programs take a second SIGTERM for an order to end at once.
      if (!isAsked) signal(pid, 'SIGTERM');
      isAsked = true;
      await raceTime(exited, graceMs);
    }
    if (child.exitCode === null && child.signalCode === null) signal(-pid, 'SIGKILL');
    await gone;
  };
  return { pid, output, gone, stop };
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

/** Ends children that outlived the main process: those of its group first, then whoever left the group. */
async function endRest(order: SpawnOrder, pid: number, cgroup: Cgroup | null): Promise<void> {
  signal(-pid, 'SIGKILL');
  const dirs = cgroup?.dirs ?? [];
  const marker = order.env[MARKER];
  const find = cgroup !== null || marker === undefined ? () => membersOf(dirs) : () => markedPids(`${marker}\0`);
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
