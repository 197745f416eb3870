import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createFreezer, type Freezer } from '../../src/runtime/process/freezer.js';
import { endMembers, markedPids } from '../../src/runtime/process/members.js';
import { measureByPs, measureMemory } from '../../src/runtime/process/memory.js';
import { MARKER } from '../../src/runtime/process/protocol.js';
import { until } from '../stage.js';

/** Where cgroup v2 is mounted, alone or beside v1. */
const UNIFIED = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find(
  (dir) => existsSync(join(dir, 'cgroup.procs')) && existsSync(join(dir, 'cgroup.controllers')),
);
const GROUP = `${UNIFIED}/wherry-test-${process.pid}`;
const hasGroups = UNIFIED !== undefined && canMake(GROUP);

function canMake(dir: string): boolean {
  try {
    mkdirSync(dir);
    rmdirSync(dir);
    return true;
  } catch {
    return false;
  }
}

const started: (() => readonly number[])[] = [];
afterEach(async () => {
  for (const find of started.splice(0)) expect(await endMembers(find)).toEqual([]);
});

/** A shell and its child, which leaves the process group and counts. */
async function start(owner: string): Promise<{ readonly pid: number; readonly find: () => readonly number[] }> {
  const child = spawn('sh', ['-c', "setsid sh -c 'while :; do :; done' & echo up; wait"], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, [MARKER]: owner },
  });
  child.unref();
  const find = () => markedPids(`${owner}\0`);
  started.push(find);
  await once(child.stdout, 'data');
  await until(() => find().length >= 2, 'its child');
  return { pid: child.pid ?? 0, find };
}

const cpuOf = (pids: readonly number[]) =>
  pids.flatMap((pid) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ').slice(11, 13).map(Number) ?? []);

/** Frozen, nothing is used while this process works for a while; thawed, something is. */
async function expectFreezing(freezer: Freezer, find: () => readonly number[]): Promise<void> {
  await freezer.freeze();
  // The kernel may still be adding up what was used before.
  let before = cpuOf(find());
  await until(() => {
    const last = before.join();
    before = cpuOf(find());
    return before.join() === last;
  }, 'the sums to be made');
  const { user } = process.cpuUsage();
  while (process.cpuUsage().user - user < 200_000);
  expect(cpuOf(find())).toEqual(before);
  freezer.thaw();
  await until(() => cpuOf(find()).join() !== before.join(), 'it to go on');
}

describe.runIf(existsSync('/proc/self'))('the processes of a worker', () => {
  it('are frozen by signals where they have no group, those too that left the process group', async () => {
    const { pid, find } = await start(`test-${process.pid}/w-1`);
    const freezer = createFreezer({ pid, dirs: [], find });
    for (let n = 0; n < 3; n++) await expectFreezing(freezer, find);
  });

  it.runIf(hasGroups)('are frozen by their group where it is one of cgroup v2, and can be killed then', async () => {
    const { pid, find } = await start(`test-${process.pid}/w-2`);
    mkdirSync(GROUP);
    try {
      for (const member of find()) writeFileSync(join(GROUP, 'cgroup.procs'), String(member));
      const freezer = createFreezer({ pid, dirs: [GROUP], find });
      for (let n = 0; n < 3; n++) await expectFreezing(freezer, find);
      await freezer.freeze();
      for (const member of find()) process.kill(member, 'SIGKILL');
      await until(() => readFileSync(join(GROUP, 'cgroup.events'), 'utf8').includes('populated 0'), 'the group to be empty');
      await until(() => canRemove(GROUP), 'the group to go');
    } finally {
      // Else what failed before would be hidden by a group that cannot go.
      await endMembers(find);
      canRemove(GROUP);
    }
    createFreezer({ pid, dirs: [GROUP], find }).thaw();
  });

  it('go on when they are thawed before they stood still', async () => {
    const { pid, find } = await start(`test-${process.pid}/w-3`);
    const freezer = createFreezer({ pid, dirs: [], find });
    const frozen = freezer.freeze().then(
      () => 'frozen',
      () => 'given up',
    );
    freezer.thaw();
    await frozen;
    const before = cpuOf(find()).join();
    await until(() => cpuOf(find()).join() !== before, 'it to go on');
  });

  it('are measured by what they hold, with and without /proc', async () => {
    const { pid, find } = await start(`test-${process.pid}/w-4`);
    const held = await measureMemory({ pid, dirs: [], members: find() });
    expect(held).toBeGreaterThan(50_000);
    expect(held).toBeLessThan(50_000_000);
    expect(await measureByPs(pid)).toBeGreaterThan(50_000);
  });
});

function canRemove(dir: string): boolean {
  try {
    rmdirSync(dir);
    return true;
  } catch {
    return false;
  }
}
