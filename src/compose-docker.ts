import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from './base/clock.js';
import { WherryError } from './base/errors.js';
import type { Log } from './base/log.js';
import { type Environment, readList, readPort } from './compose-settings.js';
import type { WorkerListener } from './runtime/docker/networks.js';
import { createDockerRuntime, type DockerRuntime } from './runtime/docker.js';
import type { ImageSource } from './runtime/runtime.js';

const RUNTIMES = ['process', 'docker'] as const;
export type RuntimeName = (typeof RUNTIMES)[number];

/** Which runtimes a server has, in the order in which endpoints that choose none try them. */
export interface RuntimeSettings {
  readonly names: readonly RuntimeName[];
  /** The engine's address; undefined without the docker runtime. */
  readonly engine: string | undefined;
}

/**
 * WHERRY_RUNTIME: names in order, or `auto`, which is processes, and docker where an engine is named or its socket is there. Throws
 * CONFIG_INVALID.
 */
export function readRuntimeSettings(environment: Environment): RuntimeSettings {
  const text = environment['WHERRY_RUNTIME'] || 'auto';
  const found = findEngine(environment);
  if (text === 'auto') return { names: found === undefined ? ['process'] : RUNTIMES, engine: found };
  const names = readList(text).map((name) => {
    const known = RUNTIMES.find((each) => each === name);
    if (known !== undefined) return known;
    throw new WherryError('CONFIG_INVALID', `WHERRY_RUNTIME: '${name}' is no runtime`, {
      hint: `write auto, or one or more of ${RUNTIMES.join(', ')} with commas between them`,
    });
  });
  return { names, engine: names.includes('docker') ? (found ?? DEFAULT_ENGINE) : undefined };
}

const DEFAULT_ENGINE = 'unix:///var/run/docker.sock';

/** The engine that is named, else the first whose socket is there: Docker, rootless Docker, Docker Desktop, Podman. */
function findEngine(environment: Environment): string | undefined {
  const named = environment['WHERRY_DOCKER_HOST'] || environment['DOCKER_HOST'];
  if (named) return named;
  const user = environment['XDG_RUNTIME_DIR'];
  const home = environment['HOME'];
  const sockets = [
    '/var/run/docker.sock',
    ...(user ? [join(user, 'docker.sock')] : []),
    ...(home ? [join(home, '.docker/run/docker.sock')] : []),
    '/run/podman/podman.sock',
    ...(user ? [join(user, 'podman/podman.sock')] : []),
  ];
  const socket = sockets.find((path) => existsSync(path));
  return socket === undefined ? undefined : `unix://${socket}`;
}

/** Listens on an address for workers' requests; gives what ends that. Throws PORT_TAKEN. */
type ListenForWorkers = (address: { readonly host: string; readonly port: number }) => Promise<() => Promise<void>>;

export interface ListenerOptions {
  readonly environment: Environment;
  readonly listen: ListenForWorkers;
  /** The port of earlier servers of this data directory, which running workers know. */
  readonly port: { read(): Promise<number>; write(port: number): Promise<void> };
}

/** Where containers reach this server, on a port of its own that stays the same. */
export interface ChosenListener extends WorkerListener {
  /** Chooses the port, and holds it. Throws PORT_TAKEN, CONFIG_INVALID. */
  start(): Promise<void>;
}

const FIRST_PORT = 7170;
const PORTS = 100;

export function createWorkerListener({ environment, listen, port: kept }: ListenerOptions): ChosenListener {
  const host = environment['WHERRY_WORKER_HOST'] || null;
  // By a name, containers may come from anywhere; else each gateway gets a listener, and loopback only holds the port.
  const heldAt = host === null ? '127.0.0.1' : '0.0.0.0';
  let port = 0;
  return {
    host,
    urlAt: (name) => `http://${name.includes(':') ? `[${name}]` : name}:${port}`,
    open: (name) => listen({ host: name, port }),
    async start() {
      const wanted = readPort(environment, 'WHERRY_WORKER_PORT') || (await kept.read());
      port = wanted || FIRST_PORT;
      for (;;) {
        try {
          await listen({ host: heldAt, port });
          break;
        } catch (thrown) {
          if (wanted || !(thrown instanceof WherryError && thrown.code === 'PORT_TAKEN') || port >= FIRST_PORT + PORTS)
            throw portTaken(port, thrown);
          port += 1;
        }
      }
      await kept.write(port);
    },
  };
}

function portTaken(port: number, cause: unknown): WherryError {
  return new WherryError('PORT_TAKEN', `port ${port}, where containers reach this server, is taken by another program`, {
    hint: 'stop the other program, or choose a port with WHERRY_WORKER_PORT; containers that run know the old one',
    cause,
  });
}

export interface DockerParts {
  readonly environment: Environment;
  readonly engine: string;
  readonly dataDir: string;
  readonly instanceId: string;
  readonly images: ImageSource;
  readonly log: Log;
  readonly clock: Clock;
  readonly listener: WorkerListener;
  readonly pullToken: string;
  readonly stopping: AbortSignal;
  /** This server's URL. */
  readonly url: () => string;
}

/** The docker runtime over this server's registry. Throws CONFIG_INVALID. */
export function createDocker({ environment, engine, pullToken, url, ...parts }: DockerParts): DockerRuntime {
  return createDockerRuntime({
    ...parts,
    address: engine,
    registry: () => environment['WHERRY_DOCKER_REGISTRY'] || new URL(url()).host,
    pullCredentials: () => ({ username: 'wherry', password: pullToken }),
  });
}
