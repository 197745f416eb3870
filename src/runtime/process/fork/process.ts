import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Cgroups, createCgroup, joinCommand, killGroups, membersOf, removeGroups } from '../cgroup.js';
import { raceTime } from '../deadline.js';
import type { Exit } from '../main-process.js';
import { endMembers, lifeOf, markedPids, signal } from '../members.js';
import { createJsonReader, type ForkPlan, MARKER } from '../protocol.js';

/** What one import may take. */
const IMPORT_MS = 120_000;
/** How long what it said last may take to arrive. */
const DRAIN_MS = 1_000;
/** How often a process is looked at whose parent died. */
const WATCH_MS = 200;
/** What is kept of what the server writes, to explain its end. */
const TAIL_CHARACTERS = 500;

export interface ForkProcessOptions {
  readonly plan: ForkPlan;
  /** Names its group and mark; no worker's. */
  readonly name: string;
  /** Packages that are left to the workers to import. */
  readonly except: readonly string[];
  /** Its private folder. */
  readonly dir: string;
  readonly instanceId: string;
  readonly cgroups: Cgroups | null;
}

/** Where a forked process goes: files to write its number to, and the tokens by which it connects. */
export interface ForkRequest {
  readonly groups: readonly string[];
  readonly socket: string;
  readonly out: string;
  readonly err: string;
}

/** A process that was forked. */
export interface Child {
  readonly pid: number;
  /** Both parts null when its parent died before it did. */
  readonly exited: Promise<Exit>;
  hasEnded(): boolean;
}

/** The Python process that imports and forks; see its `program/`. */
export interface ForkProcess {
  readonly pid: number;
  /** Resolves when all is imported; rejects with a {@link ForkRefusal} when it must not or cannot fork. */
  readonly ready: Promise<void>;
  /** Resolves when it and what its imports started is gone; what it forked may be left. */
  readonly ended: Promise<void>;
  /** Rejects when it ends first. */
  fork(request: ForkRequest): Promise<Child>;
  /** The number of a child that has ended may be used again. */
  reap(child: Child): void;
  kill(): void;
}

/** `culprit` is the package whose import is at fault, when it is one. */
export class ForkRefusal extends Error {
  readonly culprit: string | null;

  constructor(reason: string, culprit: string | null) {
    super(reason);
    this.culprit = culprit;
  }
}

type Told =
  | { readonly step: string }
  | { readonly refused: string; readonly name: string | null }
  | { readonly ready: number }
  | { readonly forked: number; readonly pid: number }
  | { readonly failed: number; readonly why: string }
  | { readonly ended: number; readonly code: number | null; readonly signal: number | null };

/** Starts it. Throws what the file system throws. */
export function startForkProcess(options: ForkProcessOptions): ForkProcess {
  const { plan, dir, name, instanceId, cgroups } = options;
  for (const folder of ['home', 'tmp']) mkdirSync(join(dir, folder), { recursive: true, mode: 0o700 });
  const cgroup = cgroups === null ? null : createCgroup(cgroups, name, plan.limits);
  const mark = `${instanceId}/${name}`;
  const argv = [...plan.command, plan.program];
  const [file = '', ...args] = cgroup === null ? argv : joinCommand(cgroup, argv);
  const env = { HOME: join(dir, 'home'), TMPDIR: join(dir, 'tmp'), ...plan.env, [MARKER]: mark };
  const child = spawn(file, args, { cwd: dir, env, detached: true, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  // Besides the waits below: a signal that could not be sent must not end the supervisor.
  child.on('error', () => {});
  const tail = keepTail([child.stdout, child.stderr]);
  const dirs = cgroup?.dirs ?? [];
  /** Where there are no groups, also the forked processes that are no workers yet. */
  const find = () => (cgroup === null ? markedPids(`${mark}\0`) : membersOf(dirs));
  const clean = async (): Promise<void> => {
    await endMembers(find, () => killGroups(dirs));
    removeGroups(dirs);
  };
  const exited = once(child, 'exit').catch(() => [null, null]) as Promise<Exit>;
  const kill = (): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) signal(-child.pid, 'SIGKILL');
  };
  const talk = talkWith(child.stdio[3] as Socket, { plan, except: options.except, kill });
  const ended = exited.then(async ([code, by]) => {
    await talk.drain();
    await clean();
    talk.end(`ends the process with ${by ?? code}${tail()}`);
  });
  return { pid: child.pid ?? 0, ready: talk.ready, ended, fork: talk.fork, reap: talk.reap, kill };
}

type TalkOptions = Pick<ForkProcessOptions, 'plan' | 'except'> & { readonly kill: () => void };

/** What is said over the control socket. */
function talkWith(control: Socket, { plan, except, kill }: TalkOptions) {
  const asked = new Map<number, { resolve(child: Child): void; reject(cause: Error): void }>();
  const children = new Map<number, ReturnType<typeof createChild>>();
  const imports = watchImports(kill);
  let last = 0;
  const tell = (message: object): void => {
    if (!control.destroyed) control.write(`${JSON.stringify(message)}\n`);
  };
  const hear = (message: Told): void => {
    if ('step' in message) imports.begin(message.step);
    else if ('refused' in message) imports.refuse(message.refused, message.name);
    else if ('ready' in message) imports.end();
    else if ('forked' in message) {
      const child = createChild(message.pid);
      children.set(child.pid, child);
      asked.get(message.forked)?.resolve(child);
      asked.delete(message.forked);
    } else if ('failed' in message) {
      asked.get(message.failed)?.reject(new Error(message.why));
      asked.delete(message.failed);
    } else children.get(message.ended)?.settle([message.code, message.signal === null ? null : signalName(message.signal)]);
  };
  const closed = once(control, 'close').catch(() => {});
  control.setEncoding('utf8').on(
    'data',
    createJsonReader((value) => hear(value as Told), kill),
  );
  control.on('error', () => control.destroy());
  const { handler, roots, own } = plan;
  tell({ plan: { handler, roots, own, except, mark: MARKER } });
  return {
    ready: imports.ready,
    fork(request: ForkRequest): Promise<Child> {
      last += 1;
      const id = last;
      return new Promise((resolve, reject) => {
        if (control.destroyed) throw new Error('the fork server ended');
        asked.set(id, { resolve, reject });
        tell({ fork: { id, ...request } });
      });
    },
    reap({ pid }: Child): void {
      if (children.delete(pid)) tell({ reap: pid });
    },
    /** The process is gone: hears what it still said, and looks after the children itself. */
    async drain(): Promise<void> {
      // An import may have left something that holds it open.
      await raceTime(closed, DRAIN_MS);
      control.destroy();
      for (const child of children.values()) if (!child.hasEnded()) void awaitEnd(child.pid).then(() => child.settle([null, null]));
    },
    /** Nothing of it is left: whoever waits for it learns that. */
    end(how: string): void {
      imports.refuse(how);
      for (const { reject } of asked.values()) reject(new Error('the fork server ended'));
    },
  };
}

/** Follows the imports one by one: each has its time, and the one under way is to blame for what happens. */
function watchImports(kill: () => void) {
  let step: string | null = null;
  let settle = { resolve: (): void => {}, reject: (_: Error): void => {} };
  const ready = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  ready.catch(() => {});
  const refuse = (reason: string, culprit = step): void => {
    clearTimeout(timer);
    settle.reject(new ForkRefusal(reason, culprit));
    kill();
  };
  const limit = () => setTimeout(() => refuse(`takes longer than ${IMPORT_MS / 1000} s`), IMPORT_MS);
  let timer = limit();
  return {
    ready,
    refuse,
    begin(name: string): void {
      clearTimeout(timer);
      timer = limit();
      step = name;
    },
    end(): void {
      clearTimeout(timer);
      settle.resolve();
    },
  };
}

function createChild(pid: number): Child & { settle(exit: Exit): void } {
  let hasEnded = false;
  let resolve: (exit: Exit) => void = () => {};
  const exited = new Promise<Exit>((settle) => {
    resolve = settle;
  });
  const settle = (exit: Exit): void => {
    hasEnded = true;
    resolve(exit);
  };
  return { pid, exited, hasEnded: () => hasEnded, settle };
}

/** The last line that streams say, as the end of a sentence. */
function keepTail(streams: readonly (NodeJS.ReadableStream | null)[]): () => string {
  let tail = '';
  for (const stream of streams) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      tail = (tail + text).slice(-TAIL_CHARACTERS);
    });
  }
  return () => (tail.trim() === '' ? '' : `: ${tail.trim().split('\n').at(-1)}`);
}

/** Looks at a process that is nobody's child until it is gone. */
async function awaitEnd(pid: number): Promise<void> {
  for (const life = lifeOf(pid); life !== undefined && lifeOf(pid) === life; ) await wait(WATCH_MS);
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `SIG${number}`;
}
