/**
 * The supervisor: parent of all process workers of one data directory (docs/adr/0002). It outlives the server and is
 * adopted by the next. An entry of its own, kept small because a start from zero may wait for it.
 *
 * Without a server it ends its workers after `orphanMs`; without server, workers and events it leaves after `idleMs`, or at once when
 * the server said that it ends.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { openClock } from '../../base/clock.js';
import { type Cgroups, detectCgroups, removeGroups } from './cgroup.js';
import { ForkServers } from './fork/servers.js';
import { endLeftovers } from './members.js';
import { createOutbox } from './output.js';
import {
  type Answer,
  createJsonReader,
  type Frozen,
  PROTOCOL,
  type Replaced,
  type Request,
  type Started,
  type SupervisorEvent,
  type SupervisorOptions,
} from './protocol.js';
import { type Supervised, superviseWorker } from './supervised.js';

const GRACE_MS = 5_000;
/** The part of the machine's memory that fork servers may hold. */
const FORKS_SHARE = 1 / 8;

class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #cgroups: Cgroups | null;
  readonly #clock = openClock();
  readonly #workers = new Map<string, Supervised>();
  /** Ids whose start is under way. */
  readonly #starting = new Map<string, Promise<Supervised>>();
  readonly #outbox = createOutbox((event) => this.#send(event));
  readonly #forks: ForkServers;
  #listener: Server | null = null;
  #server: Socket | null = null;
  #aloneSince: number | null = null;
  #timer: NodeJS.Timeout | undefined;
  #isLeaving = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#cgroups = detectCgroups(options.instanceId);
    this.#forks = new ForkServers({
      dir: options.forksDir,
      instanceId: options.instanceId,
      cgroups: this.#cgroups,
      socket: join(dirname(options.socket), 'forks.sock'),
      mostBytes: (process.constrainedMemory() || totalmem()) * FORKS_SHARE,
      note: (text) => void this.#outbox.add({ event: 'note', workerId: null, text }),
      now: () => this.#clock.now(),
    });
  }

  async start(): Promise<void> {
    const { instanceId, workersDir, forksDir, socket } = this.#options;
    if (await isAnswering(socket)) return;
    await endLeftovers(instanceId, this.#bases);
    for (const dir of [workersDir, forksDir]) rmSync(dir, { recursive: true, force: true });
    rmSync(socket, { force: true });
    this.#listener = createServer((peer) => this.#accept(peer));
    this.#listener.listen(socket);
    this.#watchLoneliness();
  }

  /** Ends all workers and lets the process run out. */
  async stop(): Promise<void> {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    clearTimeout(this.#timer);
    this.#listener?.close();
    await Promise.allSettled(this.#starting.values());
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop(GRACE_MS)));
    await this.#forks.stop();
    this.#server?.destroy();
    removeGroups(this.#bases);
  }

  get #bases(): readonly string[] {
    return this.#cgroups?.bases.map(({ dir }) => dir) ?? [];
  }

  get #isEmpty(): boolean {
    return this.#workers.size === 0 && this.#starting.size === 0;
  }

  get #isUnused(): boolean {
    return this.#isEmpty && this.#outbox.size === 0;
  }

  #accept(peer: Socket): void {
    const forget = (): void => {
      peer.destroy();
      if (this.#server !== peer) return;
      this.#server = null;
      this.#watchLoneliness();
    };
    const read = createJsonReader(
      (value) => {
        const request = value as Request;
        this.#answer(peer, request).then(
          (answer) => answer !== null && write(peer, { id: request.id, ok: true, ...answer }),
          (cause: unknown) => write(peer, { id: request.id, ok: false, error: String(cause) }),
        );
      },
      () => peer.destroy(),
    );
    peer.setEncoding('utf8').on('data', read).on('error', forget).on('close', forget);
  }

  /** Null when no answer is due, or it was written already. */
  async #answer(peer: Socket, request: Request): Promise<Partial<Answer> | null> {
    if (request.verb === 'hello') return this.#welcome(peer, request);
    if (peer !== this.#server) throw new Error('say hello first');
    switch (request.verb) {
      case 'spawn': {
        const { pid, path } = await this.#spawn(request.order);
        return { value: { pid, path } satisfies Started };
      }
      case 'stop':
        await this.#starting.get(request.workerId)?.catch(() => {});
        await this.#workers.get(request.workerId)?.stop(request.graceMs);
        return {};
      case 'freeze':
        return { value: { memoryBytes: await this.#worker(request.workerId).freeze() } satisfies Frozen };
      case 'thaw':
        this.#worker(request.workerId).thaw();
        return {};
      case 'keep':
        this.#forks.keep(request.images);
        return {};
      case 'list':
        return { value: [...this.#workers.keys()] };
      case 'leave':
        if (this.#isUnused) setImmediate(() => void this.stop().catch(() => {}));
        return {};
      case 'ack': {
        const event = this.#outbox.ack(request.seq);
        if (event?.event === 'output') this.#workers.get(event.workerId)?.output.acked(request.seq);
        return null;
      }
    }
  }

  #worker(workerId: string): Supervised {
    const worker = this.#workers.get(workerId);
    if (worker === undefined) throw new Error('it does not run');
    return worker;
  }

  #welcome(peer: Socket, { id, protocol, instanceId }: Extract<Request, { verb: 'hello' }>): Partial<Answer> | null {
    if (instanceId !== this.#options.instanceId)
      return { ok: false, error: `this supervisor belongs to instance ${this.#options.instanceId}` };
    if (protocol !== PROTOCOL) {
      const isLeaving = this.#isEmpty;
      if (isLeaving) setImmediate(() => void this.stop().catch(() => {}));
      return { ok: false, isLeaving, error: `the supervisor speaks protocol ${PROTOCOL}, not ${protocol}` };
    }
    if (this.#isLeaving) return { ok: false, isLeaving: true, error: 'the supervisor is leaving' };
    if (this.#server !== null && this.#server !== peer) {
      write(this.#server, { event: 'replaced' });
      this.#server.end();
    }
    this.#server = peer;
    this.#removeUnbegun();
    this.#aloneSince = null;
    clearTimeout(this.#timer);
    write(peer, {
      id,
      ok: true,
      value: { now: this.#clock.now(), pid: process.pid, workers: [...this.#workers.keys()], cgroupBases: this.#bases },
    });
    for (const event of this.#outbox.list()) this.#send(event);
    return null;
  }

  /** A server that died may have made the folders of a worker that it did not come to order. */
  #removeUnbegun(): void {
    const { workersDir } = this.#options;
    for (const name of existsSync(workersDir) ? readdirSync(workersDir) : []) {
      if (!this.#workers.has(name) && !this.#starting.has(name)) rmSync(join(workersDir, name), { recursive: true, force: true });
    }
  }

  async #spawn(order: Extract<Request, { verb: 'spawn' }>['order']): Promise<Supervised> {
    const { workerId } = order;
    if (this.#isLeaving) throw new Error('the supervisor is leaving');
    if (this.#workers.has(workerId) || this.#starting.has(workerId)) throw new Error(`worker ${workerId} exists already`);
    const starting = superviseWorker(order, {
      cgroups: this.#cgroups,
      outbox: this.#outbox,
      forks: this.#forks,
      now: () => this.#clock.now(),
    });
    this.#starting.set(workerId, starting);
    try {
      const worker = await starting;
      this.#workers.set(workerId, worker);
      const forget = (): void => {
        this.#workers.delete(workerId);
        if (this.#server === null) this.#watchLoneliness();
      };
      worker.gone.then(forget, forget);
      return worker;
    } finally {
      this.#starting.delete(workerId);
    }
  }

  #send(event: SupervisorEvent): void {
    if (this.#server !== null) write(this.#server, event);
  }

  /** Sets the one timer that runs while no server is there; the workers' time counts from the moment the server left. */
  #watchLoneliness(): void {
    if (this.#isLeaving) return;
    clearTimeout(this.#timer);
    const now = this.#clock.now();
    this.#aloneSince ??= now;
    const orphanedInMs = this.#aloneSince + this.#options.orphanMs - now;
    const delayMs = this.#isUnused ? Math.min(this.#options.idleMs, orphanedInMs) : orphanedInMs;
    this.#timer = setTimeout(() => void this.stop().catch(() => {}), Math.max(0, delayMs));
  }
}

function write(peer: Socket, message: Answer | SupervisorEvent | Replaced): void {
  if (!peer.destroyed && !peer.writableEnded) peer.write(`${JSON.stringify(message)}\n`);
}

/** Tells whether another supervisor listens already. */
function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });
}

const supervisor = new Supervisor(JSON.parse(process.argv[2] ?? '{}') as SupervisorOptions);
const leave = (): void => void supervisor.stop().catch(() => {});
process.on('SIGTERM', leave).on('SIGINT', leave);
process.on('SIGHUP', () => {});
supervisor.start().catch((cause: unknown) => {
  console.error(cause);
  process.exitCode = 70;
});
