import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Stage } from '../stage.js';
import type { Observation } from './history.js';
import type { Blow } from './plan.js';

export interface WorkerProcess {
  readonly pid: number;
  readonly worker: string;
  readonly endpoint: string;
}

/** Processes of this data directory's workers. */
export function workerProcesses(dataDir: string): WorkerProcess[] {
  return startedProcesses(dataDir).filter(({ worker }) => worker.startsWith('w-'));
}

/** Those of workers and of fork servers, from their environment: of a forked one it shows its server's, with its own mark. */
export function startedProcesses(dataDir: string): WorkerProcess[] {
  return readProcesses('environ').flatMap(({ pid, text }) => {
    if (!text.includes(dataDir)) return [];
    const variables = new Map(text.split('\0').map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]));
    const worker = variables.get('WHERRY_WORKER')?.split('/')[1];
    return worker === undefined ? [] : [{ pid, worker, endpoint: variables.get('RUNPOD_ENDPOINT_ID') ?? '' }];
  });
}

/** Process ids of the supervisors of a data directory. */
export function supervisorPids(dataDir: string): number[] {
  return readProcesses('cmdline')
    .filter(({ text }) => text.includes('supervisor.js') && text.includes(dataDir))
    .map(({ pid }) => pid);
}

function readProcesses(file: 'environ' | 'cmdline'): { readonly pid: number; readonly text: string }[] {
  const names = existsSync('/proc') ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : [];
  return names.flatMap((name) => {
    try {
      return [{ pid: Number(name), text: readFileSync(`/proc/${name}/${file}`, 'utf8') }];
    } catch {
      return []; // Gone meanwhile, or not ours.
    }
  });
}

export interface Striker {
  readonly stage: Stage;
  readonly note: (observation: Observation) => void;
  readonly now: () => number;
  /** Deploys the next code of an endpoint; may fail when something is killed meanwhile. */
  readonly deploy: (pick: number) => Promise<void>;
  readonly count: (act: Blow['act']) => void;
}

/** Deals the blows at their times; resolves after the last, with the server up. Rejects when the server does not come back. */
export async function strike(striker: Striker, blows: readonly Blow[]): Promise<void> {
  const began = striker.now();
  for (const blow of blows) {
    await delay(Math.max(0, began + blow.atMs - striker.now()));
    await deal(striker, blow);
    striker.count(blow.act);
  }
}

async function deal(striker: Striker, blow: Blow): Promise<void> {
  const { stage, note, now, deploy } = striker;
  switch (blow.act) {
    case 'kill-server':
      return killServer(striker, blow.forMs);
    case 'deploy':
      // Not waited for: the blows after it shall meet it.
      deploy(blow.pick).catch(() => {});
      return;
    case 'kill-supervisor':
      for (const pid of supervisorPids(stage.dataDir)) {
        note({ kind: 'killed', at: now(), target: 'supervisor' });
        signal(pid, 'SIGKILL');
      }
      return;
    case 'kill-worker':
    case 'pause-worker': {
      // A fork server's end ends no worker; a pause would only hold back what it tells.
      const processes = blow.act === 'kill-worker' ? startedProcesses(stage.dataDir) : workerProcesses(stage.dataDir);
      const ids = [...new Set(processes.map(({ worker }) => worker))].sort();
      const worker = ids[Math.floor(blow.pick * ids.length)];
      if (worker === undefined) return;
      const pids = processes.filter((one) => one.worker === worker).map(({ pid }) => pid);
      if (blow.act === 'pause-worker') return pause(striker, { worker, pids, forMs: blow.forMs });
      note({ kind: 'killed', at: now(), target: 'worker', worker });
      for (const pid of pids) signal(pid, 'SIGKILL');
    }
  }
}

async function killServer({ stage, note, now }: Striker, awayMs: number): Promise<void> {
  const at = now();
  note({ kind: 'killed', at, target: 'server' });
  await stage.kill();
  await delay(awayMs);
  const restartedAt = now();
  await stage.restart();
  note({ kind: 'restarted', at: now(), tookMs: now() - restartedAt });
}

async function pause({ note, now }: Striker, { worker, pids, forMs }: { worker: string; pids: readonly number[]; forMs: number }) {
  note({ kind: 'paused', at: now(), worker, forMs });
  for (const pid of pids) signal(pid, 'SIGSTOP');
  await delay(forMs);
  for (const pid of pids) signal(pid, 'SIGCONT');
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone meanwhile.
  }
}
