import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { killGroups, membersOf, removeGroups, workerDirs } from './cgroup.js';
import { BOUNDS, MARKER } from './protocol.js';

/** Process ids whose environment holds a marker that begins with `owner`; none where there is no /proc. */
export function markedPids(owner: string): readonly number[] {
  const entry = Buffer.from(`${MARKER}=${owner}`);
  return namesIn('/proc')
    .filter((name) => {
      const environment = /^\d+$/.test(name) ? readQuietly(`/proc/${name}/environ`) : undefined;
      return environment !== undefined && holdsEntry(environment, entry);
    })
    .map(Number);
}

function holdsEntry(environment: Buffer, entry: Buffer): boolean {
  for (let at = environment.indexOf(entry); at !== -1; at = environment.indexOf(entry, at + 1)) {
    if (at === 0 || environment[at - 1] === 0) return true;
  }
  return false;
}

/** Kills what `find` finds until nothing is left or the hunt's time is over. Gives the pids that remain. */
export async function endMembers(find: () => readonly number[], kill: () => void = () => {}): Promise<readonly number[]> {
  for (let waitedMs = 0, stepMs = 1; ; waitedMs += stepMs, stepMs = Math.min(50, stepMs * 2)) {
    const pids = find();
    const alive = pids.filter((pid) => !isDead(pid));
    if (alive.length === 0 || waitedMs > BOUNDS.huntMs) return alive;
    kill();
    for (const pid of pids) signal(pid, 'SIGKILL');
    await wait(stepMs);
  }
}

/** Dead already; what is left of it waits for a parent that may never ask, such as the first process of a container. */
function isDead(pid: number): boolean {
  // It tells of the first thread only: others may go on without it.
  return /[ZX]/.test(stateIn(`/proc/${pid}`)) && namesIn(`/proc/${pid}/task`).length <= 1;
}

/** Whether no thread of a process runs, because it is stopped or dead; true when it is gone. */
export function isStill(pid: number): boolean {
  return namesIn(`/proc/${pid}/task`).every((thread) => /^[TtZX]?$/.test(stateIn(`/proc/${pid}/task/${thread}`)));
}

/** The letter of a process or thread; empty when it is gone. */
function stateIn(dir: string): string {
  // It is the first field after the name, which stands in parentheses and may hold any character.
  const stat = readQuietly(`${dir}/stat`)?.toString('latin1') ?? '';
  return stat.slice(stat.lastIndexOf(')') + 2).slice(0, 1);
}

/** Tells one process from a later one of the same number: when it began. Undefined when it is gone, or dead and only not asked for. */
export function lifeOf(pid: number): string | undefined {
  const stat = readQuietly(`/proc/${pid}/stat`)?.toString('latin1') ?? '';
  const [state = 'X', ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return /[ZX]/.test(state) ? undefined : fields[18];
}

/** Bytes of memory that a process holds, shared ones too; 0 when it is gone. */
export function residentBytes(pid: number): number {
  const [, kib = 0] = /^VmRSS:\s+(\d+) kB/m.exec(readQuietly(`/proc/${pid}/status`)?.toString('latin1') ?? '') ?? [];
  return Number(kib) * 1024;
}

/** Ends every process of an instance that no supervisor knows, by its groups and by its marker. */
export async function endLeftovers(instanceId: string, cgroupBases: readonly string[]): Promise<void> {
  const dirs = workerDirs(cgroupBases);
  await endMembers(
    () => [...membersOf(dirs), ...markedPids(`${instanceId}/`)],
    () => killGroups(dirs),
  );
  removeGroups(dirs);
}

/** Sends a signal to a process, or with a negative id to a process group; nothing happens when it is gone. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already, or its number belongs to somebody else now.
  }
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function readQuietly(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
