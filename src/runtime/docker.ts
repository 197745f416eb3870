import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../base/clock.js';
import { messageOf, WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Digest } from '../oci/digest.js';
import { freezeContainer, lookAt, removeContainer, signalContainer, thawContainer } from './docker/container-calls.js';
import type { Engine } from './docker/engine.js';
import { type EngineApi, engineFailed, parseEngineAddress } from './docker/engine-api.js';
import { createImageStore, type ImageStore } from './docker/images.js';
import { createLauncher, type Launcher } from './docker/launcher.js';
import { containerNameOf, OWNER_LABELS } from './docker/names.js';
import { createNetworks, type Networks, type WorkerListener } from './docker/networks.js';
import type { PullCredentials } from './docker/pull.js';
import { type ContainerEvent, createSession, type Session } from './docker/session.js';
import { type FollowedWorker, type FollowOptions, followWorker } from './docker/worker.js';
import { openWorkerFiles, type WorkerFiles } from './docker/worker-files.js';
import type { ImageName, ImageSource, Runtime, RuntimeCapabilities, RuntimeEvents, StartedWorker, WorkerSpec } from './runtime.js';

export interface DockerRuntimeOptions {
  /** `unix:///var/run/docker.sock` or `tcp://host:port`. */
  readonly address: string;
  readonly dataDir: string;
  /** Tells the containers of this data directory from those of others on the same engine. */
  readonly instanceId: string;
  readonly images: ImageSource;
  /** Host and port under which the engine reaches the embedded registry. */
  readonly registry: () => string;
  /** What opens it for pulls; asked for at each pull, never stored. */
  readonly pullCredentials: () => PullCredentials;
  readonly listener: WorkerListener;
  readonly log: Log;
  readonly clock: Clock;
  /** Aborts when the server stops: pulls end then. */
  readonly stopping?: AbortSignal;
  /** How long an endpoint's network stays without workers; 60 000 ms when absent. */
  readonly networkLingerMs?: number;
}

export interface DockerRuntime extends Runtime {
  /** The server's URL for workers of an endpoint; makes their network. Throws RUNTIME_UNAVAILABLE. */
  urlFor(endpointId: string): Promise<string>;
}

/**
 * Runs workers as containers of an engine that speaks the API of Docker. The engine may be away when the server starts, and at any time
 * after: calls throw RUNTIME_UNAVAILABLE then, and what ran is taken over when it is back.
 */
export function createDockerRuntime(options: DockerRuntimeOptions): DockerRuntime {
  return new ContainerRuntime(options);
}

/** How long a start waits for the ends of workers that ended while no server was there. */
const ADOPT_MS = 10_000;
/** How long a killed container may take to be gone. */
const KILL_MS = 60_000;
/** How long a stop may wait for what is being removed. */
const LEAVE_MS = 5_000;

class ContainerRuntime implements DockerRuntime {
  readonly name = 'docker';
  readonly #options: DockerRuntimeOptions;
  readonly #session: Session;
  readonly #networks: Networks;
  readonly #images: ImageStore;
  readonly #launcher: Launcher;
  readonly #files: WorkerFiles;
  /** Workers whose end has not been told yet. */
  readonly #workers = new Map<string, FollowedWorker>();
  /** Workers that are being started, with their endpoints. */
  readonly #starting = new Map<string, string>();
  #events: RuntimeEvents | null = null;
  /** Containers that are unknown then are of a former server; later they are left of starts that failed. */
  #hasAdopted = false;
  /** What the engine has was taken over, and it was not away since. */
  #isSettled = false;

  constructor(options: DockerRuntimeOptions) {
    this.#options = options;
    const { instanceId, listener, log, clock } = options;
    const api = () => this.#session.engine().api;
    const isUsed = (endpointId: string) =>
      [...this.#workers.values()].some((worker) => worker.endpointId === endpointId) || [...this.#starting.values()].includes(endpointId);
    this.#files = openWorkerFiles(join(options.dataDir, 'docker'));
    this.#networks = createNetworks({ api, instanceId, listener, log, lingerMs: options.networkLingerMs ?? 60_000, isUsed });
    this.#images = createImageStore({ ...options, engine: () => this.#session.engine(), now: clock.now });
    this.#launcher = createLauncher({
      ...options,
      engine: () => this.#session.engine(),
      images: this.#images,
      networks: this.#networks,
      files: this.#files,
      onNote: (note) => this.#events?.note(note),
    });
    this.#session = createSession({
      address: parseEngineAddress(options.address),
      instanceId,
      log,
      now: clock.now,
      onConnect: () => this.#adopt(),
      onLose: () => {
        this.#isSettled = false;
      },
      onEvent: (event) => this.#note(event),
    });
  }

  get capabilities(): RuntimeCapabilities {
    return this.#engine()?.facts.capabilities ?? UNKNOWN;
  }

  async start(events: RuntimeEvents): Promise<void> {
    this.#events = events;
    this.#hasAdopted = false;
    // Workers go on while the engine is away, and they have to be heard.
    for (const workerId of this.#files.list()) {
      const { gateway } = this.#files.read(workerId);
      if (gateway !== null) await this.#networks.listenAt(gateway);
    }
    await this.#session.start();
  }

  async stop(): Promise<void> {
    const workers = [...this.#workers.values()];
    await within(LEAVE_MS, Promise.allSettled(workers.filter((worker) => worker.isOver()).map(({ gone }) => gone)));
    const left = workers.map((worker) => worker.leave());
    await within(LEAVE_MS, this.#networks.close());
    await this.#session.stop();
    await Promise.all(left);
    this.#workers.clear();
    this.#isSettled = false;
  }

  async accept(image: ImageName): Promise<void> {
    this.#session.engine();
    await this.#images.accept(image);
  }

  async prepare(image: ImageName, onProgress: (text: string) => void = () => {}): Promise<void> {
    await this.accept(image);
    await this.#images.prepare(image, onProgress);
  }

  async forgetImages(except: ReadonlySet<Digest>): Promise<void> {
    // While the engine is away nothing can be freed; the next time will do.
    if (this.#engine() === undefined) return;
    await this.#images
      .forget(except)
      .catch((cause: unknown) => this.#options.log.warn({ reason: messageOf(cause) }, 'images could not be removed from the engine'));
  }

  async startWorker(spec: WorkerSpec): Promise<StartedWorker> {
    const { workerId, endpointId } = spec;
    const { api } = this.#session.engine();
    if (this.#workers.has(workerId) || this.#starting.has(workerId)) {
      throw new WherryError('RUNTIME_UNAVAILABLE', `start of worker '${workerId}' refused: it exists already`, {
        hint: 'worker ids are never used twice; take a new one',
      });
    }
    this.#starting.set(workerId, endpointId);
    try {
      return await this.#start(spec);
    } catch (thrown) {
      this.#files.remove(workerId);
      // What cannot be removed now is found when the engine is back.
      await removeContainer(api, containerNameOf(workerId)).catch(() => {});
      throw thrown;
    } finally {
      this.#starting.delete(workerId);
      if (!this.#workers.has(workerId)) this.#networks.release(endpointId);
    }
  }

  async stopWorker(workerId: string, graceMs: number): Promise<void> {
    const { api } = this.#settled();
    const worker = this.#workers.get(workerId);
    if (worker === undefined) return removeContainer(api, containerNameOf(workerId));
    if (graceMs > 0) {
      // Only the main process: it may need its children to finish its job. What is left ends with it.
      if (worker.ask()) await signalContainer(api, worker.containerId, 'SIGTERM');
      if (await within(graceMs, worker.gone)) return;
    }
    worker.kill();
    await signalContainer(this.#session.engine().api, worker.containerId, 'SIGKILL');
    if (await within(KILL_MS, worker.gone)) return;
    throw new WherryError(
      'RUNTIME_UNAVAILABLE',
      `worker '${workerId}' was killed, and ${KILL_MS / 1000} s later its container is not gone`,
      {
        hint: 'look at the engine; the stop is tried again',
      },
    );
  }

  async freezeWorker(workerId: string): Promise<{ readonly memoryBytes: number }> {
    return { memoryBytes: await freezeContainer(this.#settled().api, this.#require(workerId).containerId) };
  }

  async thawWorker(workerId: string): Promise<void> {
    await thawContainer(this.#settled().api, this.#require(workerId).containerId);
  }

  async list(): Promise<readonly string[]> {
    const containers = await this.#listContainers(this.#settled().api);
    return containers.filter(isRunning).map(({ workerId }) => workerId);
  }

  async urlFor(endpointId: string): Promise<string> {
    const { listener } = this.#options;
    return listener.urlAt(listener.host ?? (await this.#networks.ensure(endpointId)).gateway);
  }

  #engine(): Engine | undefined {
    try {
      return this.#session.engine();
    } catch {
      return undefined;
    }
  }

  /** The engine, once it is known which workers it has. Throws RUNTIME_UNAVAILABLE. */
  #settled(): Engine {
    const engine = this.#session.engine();
    if (this.#isSettled) return engine;
    throw new WherryError('RUNTIME_UNAVAILABLE', 'the docker runtime is taking over what runs', { hint: 'try again in a moment' });
  }

  #require(workerId: string): FollowedWorker {
    const worker = this.#workers.get(workerId);
    if (worker !== undefined) return worker;
    throw new WherryError('RUNTIME_UNAVAILABLE', `worker '${workerId}' is gone`, { hint: 'another one is started when there is work' });
  }

  async #start(spec: WorkerSpec): Promise<StartedWorker> {
    const { workerId, endpointId } = spec;
    const { containerId, gateway, bytes, preparedAt, madeAt } = await this.#launcher.launch(spec);
    this.#follow({ workerId, endpointId, containerId, isRunning: true });
    await this.#networks.listenAt(gateway);
    const ports = spec.ports.length === 0 ? [] : ((await lookAt(this.#session.engine().api, containerId))?.ports ?? []);
    const handle = { containerId, ...Object.fromEntries([...ports].map(([port, hostPort]) => [`port ${port}`, hostPort])) };
    return { handle, path: bytes > 0 ? 'pull' : 'create', preparedAt, madeAt, bytes, isCached: bytes === 0 };
  }

  #follow(container: Pick<FollowOptions, 'workerId' | 'endpointId' | 'containerId' | 'isRunning'>): FollowedWorker {
    const { log, clock } = this.#options;
    const events = this.#events;
    if (events === null) throw new WherryError('RUNTIME_UNAVAILABLE', 'the docker runtime was not started');
    const worker = followWorker({ ...container, session: this.#session, files: this.#files, events, log, now: clock.now });
    this.#workers.set(worker.workerId, worker);
    const forget = () => {
      this.#workers.delete(worker.workerId);
      this.#networks.release(worker.endpointId);
    };
    worker.gone.then(forget, () => {});
    return worker;
  }

  /** Takes over the containers of a former server, at the first connection; removes what is left of starts that failed. */
  async #adopt(): Promise<void> {
    const { api } = this.#session.engine();
    const containers = await this.#listContainers(api);
    const ended: Promise<void>[] = [];
    for (const container of containers) {
      const { workerId, containerId, state } = container;
      if (this.#workers.has(workerId) || this.#starting.has(workerId)) continue;
      if (this.#hasAdopted || state === 'created') await removeContainer(api, containerId);
      else {
        const worker = this.#follow({ ...container, isRunning: isRunning(container) });
        if (!isRunning(container)) ended.push(worker.gone);
      }
    }
    const ids = new Set([...containers.map(({ workerId }) => workerId), ...this.#workers.keys(), ...this.#starting.keys()]);
    for (const workerId of this.#files.list()) if (!ids.has(workerId)) this.#files.remove(workerId);
    this.#hasAdopted = true;
    await this.#networks.adopt();
    // Their exits are told before anybody asks what runs.
    await within(ADOPT_MS, Promise.allSettled(ended));
    this.#isSettled = true;
  }

  #note({ workerId, action, signal }: ContainerEvent): void {
    const worker = this.#workers.get(workerId);
    if (action === 'kill' && !isHarmless(signal)) worker?.noteSignal();
    if (action === 'die' || action === 'died') worker?.noteDeath();
  }

  async #listContainers(api: EngineApi): Promise<readonly ListedContainer[]> {
    const filters = JSON.stringify({ label: [`${OWNER_LABELS.instance}=${this.#options.instanceId}`] });
    const answer = await api.call({ method: 'GET', path: '/containers/json', query: { all: 'true', filters } });
    if (answer.status !== 200) throw engineFailed('the list of containers', answer);
    return (answer.body as readonly ContainerAnswer[]).map(({ Id, State, Labels }) => ({
      containerId: Id,
      state: State,
      workerId: Labels[OWNER_LABELS.worker] ?? '',
      endpointId: Labels[OWNER_LABELS.endpoint] ?? '',
    }));
  }
}

interface ContainerAnswer {
  readonly Id: string;
  readonly State: string;
  readonly Labels: Readonly<Record<string, string>>;
}

interface ListedContainer {
  readonly workerId: string;
  readonly endpointId: string;
  readonly containerId: string;
  readonly state: string;
}

/** What is declared until the engine has answered. */
const UNKNOWN: RuntimeCapabilities = {
  freeze: true,
  hardening: true,
  gpu: 'engine',
  hasMounts: true,
  limits: { memory: 'absent', cpu: 'absent', processes: 'absent', disk: 'absent' },
};

function isRunning({ state }: ListedContainer): boolean {
  return ['running', 'paused', 'restarting', 'removing', 'stopping'].includes(state);
}

/** Signals by which people talk to a program rather than end it. Numbers, as engines tell them. */
function isHarmless(signal: string | undefined): boolean {
  const { SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGSTOP } = constants.signals;
  return [SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGSTOP].map(String).includes(signal ?? '');
}

/** Waits for work at most so long; false when the time was over first. Rejects as the work does. */
async function within(timeMs: number, work: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController();
  const late = delay(timeMs, false, { signal: timer.signal }).catch(() => false);
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    timer.abort();
  }
}
