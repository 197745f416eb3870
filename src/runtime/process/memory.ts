import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What a group uses, and what of it are cached files that nobody used lately: v2, v1. */
const GROUP_FILES = [
  ['memory.current', 'inactive_file'],
  ['memory.usage_in_bytes', 'total_inactive_file'],
] as const;

export interface Measured {
  /** The leader of the process group. */
  readonly pid: number;
  readonly dirs: readonly string[];
  readonly members: readonly number[];
}

/** Bytes of memory that a worker holds: what its groups use without files that can be dropped, else the sum over its processes, shared pages by parts. */
export async function measureMemory({ pid, dirs, members }: Measured): Promise<number> {
  for (const dir of dirs) {
    for (const [file, cache] of GROUP_FILES) {
      const used = Number(await readQuietly(join(dir, file)));
      if (used > 0) return Math.max(0, used - readField(await readQuietly(join(dir, 'memory.stat')), `${cache} `));
    }
  }
  if (!existsSync('/proc/self')) return measureByPs(pid);
  const parts = await Promise.all(members.map(measureProcess));
  return parts.reduce((sum, bytes) => sum + bytes, 0);
}

/** The process's part of all pages; where that cannot be read, every page it has. */
async function measureProcess(pid: number): Promise<number> {
  const parts = await readQuietly(`/proc/${pid}/smaps_rollup`);
  const kib = parts === '' ? readField(await readQuietly(`/proc/${pid}/status`), 'VmRSS:') : readField(parts, 'Pss:');
  return kib * 1024;
}

/** Where there is no /proc: all pages of the processes in the group. */
export async function measureByPs(pid: number): Promise<number> {
  const { stdout } = await run('ps', ['-axo', 'pgid=,rss=']);
  const rows = stdout.split('\n').map((line) => line.trim().split(/\s+/).map(Number));
  return rows.reduce((sum, [group, kib = 0]) => (group === pid ? sum + kib * 1024 : sum), 0);
}

/** The number behind a name at the beginning of a line; 0 when there is none. */
function readField(text: string, name: string): number {
  const line = text.split('\n').find((each) => each.startsWith(name));
  return Number.parseInt(line?.slice(name.length) ?? '0', 10);
}

async function readQuietly(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}
