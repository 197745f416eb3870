import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BOUNDS } from './protocol.js';

const MOUNT = '/sys/fs/cgroup';
const CONTROLLERS = ['memory', 'cpu', 'pids'] as const;
type Controller = (typeof CONTROLLERS)[number];

/** The control groups of one wherry instance: v2 has one base folder for all controllers, v1 one for each. */
export interface Cgroups {
  readonly version: 1 | 2;
  readonly bases: readonly { readonly dir: string; readonly controllers: readonly Controller[] }[];
}

/** The groups of one worker. */
export interface Cgroup {
  readonly dirs: readonly string[];
}

/**
 * Finds a place where this process may make groups, and makes the instance's base there; null when there is none.
 * Limits hold only for the controllers found.
 */
export function detectCgroups(instanceId: string): Cgroups | null {
  try {
    const name = `wherry-${instanceId}`;
    return existsSync(join(MOUNT, 'cgroup.controllers')) ? detectUnified(name) : detectSplit(name);
  } catch {
    return null;
  }
}

/** Tells whether a controller limits workers here. */
export function hasController(cgroups: Cgroups | null, controller: Controller): boolean {
  return cgroups?.bases.some(({ controllers }) => controllers.includes(controller)) ?? false;
}

/** v2: a group with processes cannot give controllers to children, so ancestors are tried, nearest first. */
function detectUnified(name: string): Cgroups | null {
  let parent = join(MOUNT, ownPath('') ?? '/');
  while (parent.startsWith(MOUNT)) {
    const dir = join(parent, name);
    const controllers = attempt(() => {
      mkdirSync(dir, { recursive: true });
      attempt(() => enable(parent));
      enable(dir);
      return readWords(join(dir, 'cgroup.subtree_control')).filter(isController);
    });
    if (controllers?.includes('memory')) return { version: 2, bases: [{ dir, controllers }] };
    attempt(() => rmdirSync(dir));
    parent = dirname(parent);
  }
  return null;
}

function enable(dir: string): void {
  const available = readWords(join(dir, 'cgroup.controllers')).filter(isController);
  writeFileSync(join(dir, 'cgroup.subtree_control'), available.map((controller) => `+${controller}`).join(' '));
}

function detectSplit(name: string): Cgroups | null {
  const bases = CONTROLLERS.flatMap((controller) => {
    const mount = join(MOUNT, controller);
    const own = join(mount, ownPath(controller) ?? '/');
    // In a container the path may be the host's, which is not mounted here.
    const dir = join(existsSync(own) ? own : mount, name);
    const isMade = attempt(() => {
      mkdirSync(dir, { recursive: true });
      return existsSync(join(dir, 'cgroup.procs'));
    });
    return isMade ? [{ dir, controllers: [controller] }] : [];
  });
  return bases.length === 0 ? null : { version: 1, bases };
}

/** Makes a worker's groups with its limits. Memory in bytes, cpu in cores. Throws what the file system throws. */
export function createCgroup(cgroups: Cgroups, workerId: string, limits: { readonly cpu?: number; readonly memoryBytes?: number }): Cgroup {
  const dirs = cgroups.bases.map(({ dir, controllers }) => {
    const own = join(dir, workerId);
    mkdirSync(own, { recursive: true });
    for (const controller of controllers) {
      for (const [file, value] of settingsOf(controller, cgroups.version, limits)) {
        if (file.includes('memsw') && !existsSync(join(own, file))) continue;
        writeFileSync(join(own, file), value);
      }
    }
    return own;
  });
  return { dirs };
}

function settingsOf(
  controller: Controller,
  version: 1 | 2,
  { cpu, memoryBytes }: { cpu?: number; memoryBytes?: number },
): [string, string][] {
  if (controller === 'pids') return [['pids.max', String(BOUNDS.processes)]];
  if (controller === 'memory') {
    if (memoryBytes === undefined) return [];
    const bytes = String(memoryBytes);
    if (version === 2) return [['memory.max', bytes]];
    return [
      ['memory.limit_in_bytes', bytes],
      ['memory.memsw.limit_in_bytes', bytes],
    ];
  }
  if (cpu === undefined) return [];
  const quota = String(Math.max(1_000, Math.round(cpu * 100_000)));
  if (version === 2) return [['cpu.max', `${quota} 100000`]];
  return [
    ['cpu.cfs_period_us', '100000'],
    ['cpu.cfs_quota_us', quota],
  ];
}

/** The command that joins the groups and then becomes `argv`: no instruction of the worker runs outside of them. */
export function joinCommand({ dirs }: Cgroup, argv: readonly string[]): readonly string[] {
  const joins = dirs.map((dir) => `echo $$ > '${join(dir, 'cgroup.procs')}' || exit 126`);
  return ['/bin/sh', '-c', [...joins, 'exec "$@"'].join('\n'), 'sh', ...argv];
}

/** Process ids in the groups, without those that have ended. */
export function membersOf(dirs: readonly string[]): readonly number[] {
  const texts = dirs.flatMap((dir) => attempt(() => readWords(join(dir, 'cgroup.procs'))) ?? []);
  return [...new Set(texts.map(Number))].filter((pid) => pid > 0);
}

/** The workers' groups below the bases. */
export function workerDirs(bases: readonly string[]): readonly string[] {
  return bases.flatMap((base) =>
    (attempt(() => readdirSync(base, { withFileTypes: true })) ?? [])
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(base, entry.name)),
  );
}

/** Kills every member in one step where the kernel can (v2, Linux 5.14). */
export function killGroups(dirs: readonly string[]): void {
  for (const dir of dirs) if (existsSync(join(dir, 'cgroup.kill'))) attempt(() => writeFileSync(join(dir, 'cgroup.kill'), '1'));
}

/** Removes groups that hold nothing; others stay. */
export function removeGroups(dirs: readonly string[]): void {
  for (const dir of dirs) attempt(() => rmdirSync(dir));
}

/** This process's path in the hierarchy of a controller; `''` is the unified one. */
function ownPath(controller: string): string | undefined {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
  return lines.map((line) => line.split(':')).find(([, names]) => names?.split(',').includes(controller))?.[2];
}

function isController(word: string): word is Controller {
  return CONTROLLERS.some((controller) => controller === word);
}

function readWords(file: string): string[] {
  return readFileSync(file, 'utf8')
    .split(/\s+/)
    .filter((word) => word !== '');
}

function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}
