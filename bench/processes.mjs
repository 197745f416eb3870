// CPU and memory of processes, read from /proc.
import { readdirSync, readFileSync } from 'node:fs';

/** CPU milliseconds a process has used, in steps of 10; 0 when it is gone or the system has no /proc. */
export function cpuMs(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return 0;
  }
}

/** CPU milliseconds of several processes. */
export function sumCpuMs(pids) {
  return pids.reduce((sum, pid) => sum + cpuMs(pid), 0);
}

/** Resident memory in MB (10^6 bytes). */
export function rssMb(pid) {
  const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return (Number(kib) * 1024) / 1e6;
}

/** Pids of every process whose command line names the text, with their children and children's children. */
export function findProcesses(text) {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap(readProcess);
  const found = new Set(all.filter(({ command }) => command.includes(text)).map(({ pid }) => pid));
  for (let size = -1; size !== found.size; ) {
    size = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  found.delete(process.pid);
  return [...found];
}

function readProcess(name) {
  try {
    const command = readFileSync(`/proc/${name}/cmdline`, 'utf8');
    const parent = Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1].split(' ')[1]);
    return [{ pid: Number(name), parent, command }];
  } catch {
    return [];
  }
}
