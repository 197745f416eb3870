import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { type Cgroup, createCgroup, killGroups, membersOf, removeGroups } from '../cgroup.js';
import { raceTime } from '../deadline.js';
import type { MainProcess } from '../main-process.js';
import { endMembers, lifeOf } from '../members.js';
import { MARKER, type SpawnOrder } from '../protocol.js';
import { type Child, type ForkProcess, type ForkProcessOptions, startForkProcess } from './process.js';
import type { ForkStreams } from './streams.js';

/** What a fork may take until the child waits for its order. */
const FORK_MS = 5_000;
/** How long the end of a process may go untold. */
const EXIT_MS = 1_500;
/** The next spare is forked so long after the last was used: not beside the start of that worker. */
const REFILL_MS = 200;

/** A forked process that waits for the worker that it shall be. */
interface Spare {
  readonly child: Child;
  readonly cgroup: Cgroup | null;
  readonly out: Socket;
  readonly err: Socket;
}

/**
 * A process with a handler's imports, one spare fork of it, and the workers that its spares became (docs/adr/0019). A spare
 * has joined its groups already, which may take longer than the fork.
 */
export class ForkServer {
  readonly #options: ForkProcessOptions;
  readonly #streams: ForkStreams;
  readonly #process: ForkProcess;
  #spare: Promise<Spare> | null = null;
  #timer: NodeJS.Timeout | undefined;
  #workers = 0;
  #isRetired = false;

  /** Starts the process. Throws what the file system throws. */
  constructor(options: ForkProcessOptions, streams: ForkStreams) {
    this.#options = options;
    this.#streams = streams;
    this.#process = startForkProcess(options);
  }

  /** Resolves when workers can be forked. Rejects with a ForkRefusal when they cannot; then nothing is left of it. */
  async start(): Promise<void> {
    try {
      await this.#process.ready;
      this.#refill();
    } catch (cause) {
      await this.stop();
      throw cause;
    }
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** How many workers were begun and not released. */
  get workers(): number {
    return this.#workers;
  }

  /** Resolves when the process is gone. */
  get ended(): Promise<void> {
    return this.#process.ended;
  }

  /** Makes a spare into the worker. Rejects when there is none to be had; then nothing of the worker runs. */
  async begin(order: SpawnOrder): Promise<MainProcess> {
    this.#workers += 1;
    try {
      const spare = await this.#takeSpare();
      const { child, cgroup, out, err } = spare;
      out.write(`${JSON.stringify(this.#orderOf(order))}\n`);
      out.once('close', () => this.#watchExit(child));
      this.#timer = setTimeout(() => this.#refill(), REFILL_MS);
      const { pid, exited, hasEnded } = child;
      return { pid, path: 'fork', cgroup, streams: [out, err], exited, hasEnded, release: () => this.#release(child) };
    } catch (cause) {
      this.#workers -= 1;
      throw cause;
    }
  }

  /** No more workers; it ends with the last of those it has, whose exit it is to tell. */
  async retire(): Promise<void> {
    this.#isRetired = true;
    clearTimeout(this.#timer);
    if (this.#workers === 0) await this.stop();
    else await this.#discard();
  }

  /** Ends it now: how workers that still run end will not be known. May be called twice. */
  async stop(): Promise<void> {
    this.#isRetired = true;
    clearTimeout(this.#timer);
    await this.#discard();
    this.#process.kill();
    await this.#process.ended;
  }

  #orderOf({ argv, env, cwd }: SpawnOrder): object {
    const { command } = this.#options.plan;
    return { command, args: argv.slice(command.length + 2), env, cwd, mark: `${MARKER}=${env[MARKER]}` };
  }

  /** Its output is closed. A process that does not tell the end of a dead child is of no use: without it, the end is looked for. */
  #watchExit(child: Child): void {
    const look = (): void => {
      if (!child.hasEnded() && lifeOf(child.pid) === undefined) this.#process.kill();
    };
    const timer = setTimeout(look, EXIT_MS);
    child.exited.then(
      () => clearTimeout(timer),
      () => {},
    );
  }

  #release(child: Child): void {
    this.#process.reap(child);
    this.#workers -= 1;
    if (this.#isRetired && this.#workers === 0) void this.stop();
  }

  #refill(): void {
    if (this.#isRetired || this.#spare !== null) return;
    this.#spare = this.#fork();
    this.#spare.catch(() => {});
  }

  async #takeSpare(): Promise<Spare> {
    clearTimeout(this.#timer);
    const prepared = this.#spare;
    this.#spare = null;
    const spare = await prepared;
    if (spare === null) return this.#fork();
    if (!spare.child.hasEnded()) return spare;
    await this.#clear(spare);
    return this.#fork();
  }

  async #discard(): Promise<void> {
    const spare = await this.#spare?.catch(() => null);
    this.#spare = null;
    if (spare) await this.#clear(spare);
  }

  /** Ends a spare: it reads the end of its connection. */
  async #clear({ child, cgroup, out, err }: Spare): Promise<void> {
    for (const socket of [out, err]) socket.destroy();
    await raceTime(child.exited, EXIT_MS);
    this.#process.reap(child);
    removeGroups(cgroup?.dirs ?? []);
  }

  /** When it fails nothing of it is left; a process that does not answer is ended. */
  async #fork(): Promise<Spare> {
    const { cgroups, plan } = this.#options;
    const cgroup = cgroups === null ? null : createCgroup(cgroups, `fork-${randomBytes(8).toString('hex')}`, plan.limits);
    const dirs = cgroup?.dirs ?? [];
    const [out, err] = [this.#streams.expect(), this.#streams.expect()];
    const timer = setTimeout(() => this.#process.kill(), FORK_MS);
    try {
      const groups = dirs.map((dir) => join(dir, 'cgroup.procs'));
      const child = await this.#process.fork({ socket: this.#streams.path, groups, out: out.token, err: err.token });
      const died = child.exited.then(() => Promise.reject(new Error('a forked process could not start')));
      const [outSocket, errSocket] = await Promise.race([Promise.all([out.socket, err.socket]), died]);
      return { child, cgroup, out: outSocket, err: errSocket };
    } catch (cause) {
      for (const { forget } of [out, err]) forget();
      await endMembers(
        () => membersOf(dirs),
        () => killGroups(dirs),
      );
      removeGroups(dirs);
      throw cause;
    } finally {
      clearTimeout(timer);
    }
  }
}
