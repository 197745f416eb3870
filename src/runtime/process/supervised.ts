import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { createLineCutter } from '../lines.js';
import { type Cgroup, type Cgroups, killGroups, membersOf, removeGroups } from './cgroup.js';
import { raceTime } from './deadline.js';
import type { ForkServers } from './fork/servers.js';
import { createFreezer, type FreezerOptions } from './freezer.js';
import { spawnMain } from './main-process.js';
import { endMembers, markedPids, signal } from './members.js';
import { measureMemory } from './memory.js';
import { createWorkerOutput, type Outbox, type WorkerOutput } from './output.js';
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
  readonly forks: ForkServers;
  readonly now: () => number;
}

/** Forks or spawns a worker in its own process group and, where there are any, its own cgroups. Rejects when it could not start; then nothing runs. */
export async function superviseWorker(order: SpawnOrder, { cgroups, outbox, forks, now }: SuperviseOptions): Promise<Supervised> {
  const output = createWorkerOutput({ workerId: order.workerId, outbox, now });
  const main = (await forks.begin(order)) ?? (await spawnMain(order, cgroups));
  const { pid, path, cgroup, streams, exited, hasEnded } = main;
  const closed = Promise.all(streams.map((stream) => once(stream, 'close').catch(() => {})));
  for (const stream of streams) readLines(stream, output);
  const dirs = cgroup?.dirs ?? [];
  const find = memberFinder(order, cgroup);
  const gone = exited.then(async ([exitCode, signalName]) => {
    await endRest({ pid, dirs, find });
    main.release();
    await raceTime(closed, BOUNDS.drainMs);
    for (const stream of streams) stream.destroy();
    output.finish();
    await rm(order.dir, { recursive: true, force: true, maxRetries: 3 }).catch(() => {});
    outbox.add({ event: 'exit', workerId: order.workerId, exitCode, signal: signalName });
  });
  const freezer = createFreezer({ pid, dirs, find });
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
  if (order.fork !== undefined) {
    const text = forks.remark(order.fork, path);
    if (text !== null) outbox.add({ event: 'note', workerId: order.workerId, text });
    if (path === 'spawn') forks.prepare(order.fork, gone);
  }
  return { pid, path, output, gone, stop, freeze, thaw: freezer.thaw };
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
