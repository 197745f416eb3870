import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../base/clock.js';
import { messageOf, WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Digest } from '../oci/digest.js';
import { makeVolumes } from './places.js';
import { detectCgroups, hasController, removeGroups } from './process/cgroup.js';
import { resolveInterpreter } from './process/interpreter.js';
import { joinSupervisor, type Link, type LinkOptions, openLink, placeSocket } from './process/link.js';
import { endLeftovers } from './process/members.js';
import { writeOrder } from './process/order.js';
import type { Frozen, Started, SupervisorEvent } from './process/protocol.js';
import { acceptImage, type PreparedImage, prepareImage, removeDrafts, removeRoots } from './process/root.js';
import { findChange } from './process/seal.js';
import type { ImageName, ImageSource, Runtime, RuntimeCapabilities, RuntimeEvents, StartedWorker, WorkerSpec } from './runtime.js';

const CONNECT_MS = 10_000;
const RETRY_MS = 1_000;
/** A supervisor that is stopped itself does not keep a server from ending. */
const LEAVE_MS = 2_000;

export interface ProcessRuntimeOptions {
  readonly dataDir: string;
  /** Of `[a-zA-Z0-9_-]`; the same for every server of the data directory. */
  readonly instanceId: string;
  readonly images: ImageSource;
  readonly log: Log;
  readonly clock: Clock;
  /** Path of the built `process/supervisor.ts`. */
  readonly supervisorEntry: string;
  /** The host's PATH: where interpreters are found, and the workers' own PATH. */
  readonly searchPath: string;
  /** Folder of the program that forks Python workers (`process/fork/program`); when absent all are spawned. */
  readonly forkServer?: string | undefined;
  /** How long workers live without a server; 120 000 ms when absent. */
  readonly orphanMs?: number;
}

/**
 * Runs workers as host processes under one supervisor per data directory. It runs images that wherry built for a
 * handler, with the host's interpreter. It is no sandbox: a worker may do what the user of the server may do.
 */
export function createProcessRuntime(options: ProcessRuntimeOptions): Runtime {
  return new ProcessRuntime(options);
}

class ProcessRuntime implements Runtime {
  readonly name = 'process';
  readonly capabilities: RuntimeCapabilities;
  readonly #options: ProcessRuntimeOptions;
  readonly #prepared = new Map<Digest, Promise<PreparedImage>>();
  readonly #interpreters = new Map<string, Promise<string>>();
  /** Workers whose exit has not been told yet. */
  readonly #known = new Set<string>();
  #events: RuntimeEvents | null = null;
  #link: Promise<Link> | null = null;
  /** Events are told one after the other. */
  #telling: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
    this.capabilities = detectCapabilities(options.instanceId);
  }

  async start(events: RuntimeEvents): Promise<void> {
    this.#events = events;
    this.#isStopped = false;
    if (this.#prepared.size === 0) removeDrafts(this.#options.dataDir);
    this.#link = openLink(this.#linkOptions());
    this.#adopt(await this.#link);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    const link = await this.#link?.catch(() => null);
    // One that does not answer finds out by itself.
    await link?.request({ verb: 'leave' }, LEAVE_MS).catch(() => {});
    link?.close();
    this.#link = null;
    await this.#telling;
  }

  async accept(image: ImageName): Promise<void> {
    await acceptImage(image, this.#options, (label) => this.#interpreter(label));
  }

  async prepare(image: ImageName): Promise<void> {
    await this.#prepare(image);
  }

  async forgetImages(except: ReadonlySet<Digest>): Promise<void> {
    await Promise.allSettled(this.#prepared.values());
    for (const digest of this.#prepared.keys()) if (!except.has(digest)) this.#prepared.delete(digest);
    await this.#keepForkServers(except);
    await removeRoots(this.#options.dataDir, new Set([...except, ...this.#prepared.keys()]));
  }

  async startWorker(spec: WorkerSpec): Promise<StartedWorker> {
    const before = await this.#prepared.get(spec.image.digest)?.catch(() => undefined);
    const image = await this.#prepare(spec.image);
    const isCached = image === before || image.unpackedBytes === 0;
    const preparedAt = this.#options.clock.now();
    const link = await this.#connected();
    if (this.#known.has(spec.workerId)) {
      throw new WherryError('RUNTIME_UNAVAILABLE', `start of worker '${spec.workerId}' refused: it exists already`, {
        hint: 'worker ids are never used twice; take a new one',
      });
    }
    this.#known.add(spec.workerId);
    try {
      await makeVolumes(spec, this.#options.dataDir);
      const order = writeOrder(spec, image, this.#options);
      const madeAt = this.#options.clock.now();
      const { pid, path } = (await link.request({ verb: 'spawn', order })) as Started;
      const bytes = isCached ? 0 : image.unpackedBytes;
      return { handle: { pid, startedAt: this.#options.clock.now() }, path, preparedAt, madeAt, bytes, isCached };
    } catch (cause) {
      this.#known.delete(spec.workerId);
      await this.#retract(spec.workerId);
      if (cause instanceof WherryError) throw cause;
      throw new WherryError('RUNTIME_UNAVAILABLE', `start of worker '${spec.workerId}' failed: ${messageOf(cause)}`, { cause });
    }
  }

  async stopWorker(workerId: string, graceMs: number): Promise<void> {
    const link = await this.#connected();
    await link.request({ verb: 'stop', workerId, graceMs }, graceMs + 2 * CONNECT_MS);
  }

  async freezeWorker(workerId: string): Promise<{ readonly memoryBytes: number }> {
    const link = await this.#connected();
    return (await link.request({ verb: 'freeze', workerId })) as Frozen;
  }

  async thawWorker(workerId: string): Promise<void> {
    const link = await this.#connected();
    await link.request({ verb: 'thaw', workerId });
  }

  async list(): Promise<readonly string[]> {
    const link = await this.#connected();
    return (await link.request({ verb: 'list' })) as readonly string[];
  }

  /** After a start that failed or had no answer: makes sure that nothing runs. */
  async #retract(workerId: string): Promise<void> {
    try {
      await this.stopWorker(workerId, 0);
    } catch (cause) {
      this.#options.log.warn({ workerId, reason: messageOf(cause) }, 'a worker that did not start could not be stopped');
    }
    rmSync(join(this.#options.dataDir, 'workers', workerId), { recursive: true, force: true });
  }

  /** Ready and unchanged: a worker starts from the bytes of the digest, whatever an earlier one did to the unpacked files. */
  async #prepare(image: ImageName): Promise<PreparedImage> {
    const known = this.#prepared.get(image.digest);
    if (known === undefined) return this.#prepareOnce(image);
    const { root, seal } = await known;
    if (findChange(root, seal) === undefined) return known;
    // Another start may have seen it too, and be at work already.
    if (this.#prepared.get(image.digest) === known) this.#prepared.delete(image.digest);
    return this.#prepareOnce(image);
  }

  #prepareOnce(image: ImageName): Promise<PreparedImage> {
    const known = this.#prepared.get(image.digest);
    if (known !== undefined) return known;
    const preparing = prepareImage(image, this.#options, (label) => this.#interpreter(label));
    this.#prepared.set(image.digest, preparing);
    // A failure is not kept: the interpreter may be installed, the registry may answer the next time.
    preparing.catch(() => this.#prepared.delete(image.digest));
    return preparing;
  }

  #interpreter(label: string): Promise<string> {
    const known = this.#interpreters.get(label);
    if (known !== undefined) return known;
    const resolving = resolveInterpreter(label, this.#options);
    this.#interpreters.set(label, resolving);
    resolving.catch(() => this.#interpreters.delete(label));
    return resolving;
  }

  /** Ends those that preloaded another image; without a supervisor there are none. */
  async #keepForkServers(images: ReadonlySet<Digest>): Promise<void> {
    if (this.#link === null) return;
    try {
      const link = await this.#connected();
      await link.request({ verb: 'keep', images: this.#options.forkServer === undefined ? [] : [...images] });
    } catch (cause) {
      this.#options.log.warn({ reason: messageOf(cause) }, 'fork servers of images out of use could not be ended');
    }
  }

  async #connected(): Promise<Link> {
    if (this.#link === null) throw unavailable('it was not started');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(unavailable(`no supervisor within ${CONNECT_MS} ms`)), CONNECT_MS);
    });
    try {
      return await Promise.race([this.#link, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #linkOptions(): LinkOptions {
    const { dataDir, instanceId, supervisorEntry, searchPath, orphanMs = 120_000 } = this.#options;
    mkdirSync(join(dataDir, 'run'), { recursive: true, mode: 0o700 });
    const socket = placeSocket(dataDir);
    return {
      entry: supervisorEntry,
      searchPath,
      logFile: join(dataDir, 'run', 'supervisor.log'),
      supervisor: {
        socket,
        instanceId,
        workersDir: join(dataDir, 'workers'),
        forksDir: join(dataDir, 'forks'),
        orphanMs,
        idleMs: 10_000,
      },
      now: () => this.#options.clock.now(),
      onEvent: (event, ack) => this.#tell(event, ack),
      onEnd: (isReplaced) => this.#lose(isReplaced),
    };
  }

  #adopt(link: Link): void {
    for (const workerId of link.welcome.workers) this.#known.add(workerId);
    // Stopped while it connected: let go at once.
    if (this.#isStopped) link.close();
  }

  /** Tells an event after those before it, then lets the supervisor forget it; one that was not taken is told again. */
  #tell(event: SupervisorEvent, ack: () => void): void {
    const step = async () => {
      if (event.event === 'output') await this.#events?.output(event);
      else if (event.event === 'exit') {
        this.#known.delete(event.workerId);
        this.#events?.exit(event);
      } else if (event.workerId === null) this.#options.log.debug({}, event.text);
      else this.#events?.note({ workerId: event.workerId, text: event.text });
      ack();
    };
    this.#enqueue(step, () => this.#tell(event, ack));
  }

  #enqueue(step: () => Promise<void>, again: () => void = () => {}): void {
    this.#telling = this.#telling.then(step).catch((cause: unknown) => {
      if (this.#isStopped) return;
      this.#options.log.warn({ reason: messageOf(cause) }, 'an event of the supervisor was not taken; it is told again');
      setTimeout(() => !this.#isStopped && again(), RETRY_MS).unref();
    });
  }

  /** The connection ended by itself. */
  #lose(isReplaced: boolean): void {
    if (this.#isStopped) return;
    if (isReplaced) {
      this.#options.log.error({}, 'another server took over the supervisor; this one lets go of its workers');
      this.#link = null;
      return;
    }
    this.#options.log.warn({}, 'the connection to the supervisor ended');
    this.#link = this.#recover();
    this.#link.catch((cause: unknown) => {
      if (!this.#isStopped) this.#options.log.error({ reason: messageOf(cause) }, 'the supervisor could not be replaced');
    });
  }

  /** Joins the supervisor again if it still lives; else ends what it left, tells the exits, and starts a new one. */
  async #recover(): Promise<Link> {
    const before = await this.#link?.catch(() => null);
    const options = this.#linkOptions();
    const alive = await joinSupervisor(options).catch(() => null);
    if (alive === null) await this.#buryWorkers(before?.welcome.cgroupBases ?? []);
    for (;;) {
      if (this.#isStopped) throw unavailable('it was stopped');
      try {
        const link = alive ?? (await openLink(options));
        this.#adopt(link);
        return link;
      } catch (cause) {
        this.#options.log.error({ reason: messageOf(cause) }, 'the supervisor did not start; another attempt follows');
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** The supervisor is dead: ends every process of this instance and tells each worker's exit. */
  async #buryWorkers(cgroupBases: readonly string[]): Promise<void> {
    const { dataDir, instanceId } = this.#options;
    const workers = [...this.#known];
    await endLeftovers(instanceId, cgroupBases);
    rmSync(join(dataDir, 'workers'), { recursive: true, force: true });
    for (const workerId of workers) {
      if (!this.#known.delete(workerId)) continue;
      this.#enqueue(async () => this.#events?.exit({ workerId, exitCode: null, signal: null }));
    }
  }
}

/** Probes under a name of its own, so that running workers' groups are not touched. */
function detectCapabilities(instanceId: string): RuntimeCapabilities {
  const probe = detectCgroups(`probe-${instanceId}`);
  removeGroups(probe?.bases.map(({ dir }) => dir) ?? []);
  const limitOf = (controller: 'memory' | 'cpu' | 'pids') => (hasController(probe, controller) ? 'cgroup' : 'absent');
  const limits = { memory: limitOf('memory'), cpu: limitOf('cpu'), processes: limitOf('pids'), disk: 'absent' } as const;
  return { freeze: true, gpu: 'host', hasMounts: false, limits };
}

function unavailable(why: string): WherryError {
  return new WherryError('RUNTIME_UNAVAILABLE', `process runtime is not connected: ${why}`, { hint: 'try again in a moment' });
}
