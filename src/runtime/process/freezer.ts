import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { isStill, signal } from './members.js';

/** How long the processes of a worker may take to stand still: one that waits for a disk does that first. */
const FREEZE_MS = 2_000;

/** Suspends all processes of a worker and lets them go on. */
export interface Freezer {
  /** Resolves when none of them runs. Idempotent. Rejects, and lets all go on, when they do not stand still in time or are thawed meanwhile. */
  freeze(): Promise<void>;
  /** At once. Idempotent. */
  thaw(): void;
}

export interface FreezerOptions {
  /** The leader of the worker's process group. */
  readonly pid: number;
  /** The worker's groups. */
  readonly dirs: readonly string[];
  /** Its processes, those too that left the process group. */
  readonly find: () => readonly number[];
}

/** One way to hold processes; each step may be repeated. */
interface Means {
  stop(): void;
  isStill(): boolean;
  go(): void;
}

/**
 * By the kernel's freezer where the worker has a group of cgroup v2, else by signals. The freezer of v1 is left alone: a process that it
 * holds cannot be killed (ADR 17).
 */
export function createFreezer({ pid, dirs, find }: FreezerOptions): Freezer {
  const group = dirs.find((dir) => existsSync(join(dir, 'cgroup.freeze')));
  const means = group === undefined ? bySignals(pid, find) : byGroup(group);
  let isWanted = false;
  const thaw = (): void => {
    isWanted = false;
    means.go();
  };
  return {
    thaw,
    async freeze() {
      isWanted = true;
      for (let waitedMs = 0, stepMs = 1; waitedMs <= FREEZE_MS; waitedMs += stepMs, stepMs = Math.min(50, stepMs * 2)) {
        means.stop();
        if (means.isStill()) return;
        await wait(stepMs);
        if (!isWanted) throw new Error('it was thawed meanwhile');
      }
      thaw();
      throw new Error(`its processes did not stand still within ${FREEZE_MS} ms`);
    },
  };
}

function byGroup(dir: string): Means {
  const write = (text: string) => writeFileSync(join(dir, 'cgroup.freeze'), text);
  return {
    stop: () => write('1'),
    isStill: () => readFileSync(join(dir, 'cgroup.events'), 'utf8').includes('frozen 1'),
    go: () => {
      // The group goes with its last process.
      if (existsSync(dir)) write('0');
    },
  };
}

function bySignals(pid: number, find: () => readonly number[]): Means {
  /** Those outside of the process group; none of them can make others while it is stopped, so that it is known whom to wake. */
  const stopped = new Set<number>();
  return {
    stop() {
      signal(-pid, 'SIGSTOP');
      for (const member of find().filter((each) => !isStill(each))) {
        stopped.add(member);
        signal(member, 'SIGSTOP');
      }
    },
    isStill: () => find().every(isStill),
    go() {
      signal(-pid, 'SIGCONT');
      for (const member of stopped) signal(member, 'SIGCONT');
      stopped.clear();
    },
  };
}
