import type { GpuGrant } from '../domain/placement.js';
import type { ReleaseSpec } from '../domain/release.js';
import type { StartPath } from '../domain/worker.js';
import type { Digest } from '../oci/digest.js';
import type { ImageConfig } from '../oci/manifest.js';

/** An image of the embedded registry, by its digest. */
export interface ImageName {
  readonly repository: string;
  readonly digest: Digest;
}

/** Everything a runtime needs to start one worker. */
export interface WorkerSpec {
  readonly workerId: string;
  readonly endpointId: string;
  readonly release: number;
  readonly image: ImageName;
  /** Complete: protocol variables over release variables. The runtime adds the image's own below them. */
  readonly env: Readonly<Record<string, string>>;
  /** Names in `env` of what is this worker's alone, and of secrets: what is prepared before a worker must not know them. */
  readonly ownEnv: readonly string[];
  /** Replaces the image's Cmd when not null. */
  readonly args: readonly string[] | null;
  readonly resources: Omit<ReleaseSpec['resources'], 'gpu'>;
  /** Ids of the GPUs that are this worker's alone, as `NodeFacts` has them. */
  readonly gpus: readonly string[];
  /** `8000/http`: ports that the worker listens on. */
  readonly ports: readonly string[];
  /** `name:path`: what outlives the worker, and where it finds it. */
  readonly volumes: readonly string[];
  /** What is on this machine for the worker to read, and only to read. */
  readonly models: readonly ModelPlace[];
  /** No capabilities and a root that cannot be written to. */
  readonly isHardened: boolean;
}

/** A model in a cache as `huggingface_hub` lays it out. */
export interface ModelPlace {
  /** `models--acme--tiny`. */
  readonly folder: string;
  /** The directory with that folder in it. */
  readonly cacheDir: string;
}

/** Plain JSON, so that it survives a restart of the server. */
export type Handle = { readonly [key: string]: string | number | boolean | null };

/** What a runtime tells while it runs workers. Output is whole lines, already bounded in length. */
export interface RuntimeEvents {
  /** `dropped` lines before these were lost to the rate bound. */
  output(event: {
    readonly workerId: string;
    readonly lines: readonly { readonly at: number; readonly text: string }[];
    readonly dropped: number;
  }): void | Promise<void>;
  /**
   * Code and signal both null: the worker was lost, nobody saw how it ended. `cause` says what the runtime knows besides, for instance
   * that its memory ran out. Throws when it cannot be taken now; then it is told again, by the next server if need be.
   */
  exit(event: {
    readonly workerId: string;
    readonly exitCode: number | null;
    readonly signal: string | null;
    readonly cause?: string;
  }): void;
  /** A step of the runtime itself, such as a pull, as a line for the worker's log. */
  note(event: { readonly workerId: string; readonly text: string }): void;
}

export interface RuntimeCapabilities {
  readonly freeze: boolean;
  readonly gpu: GpuGrant;
  /** Volumes and models are where the release has them; else only variables tell workers where they are. */
  readonly hasMounts: boolean;
  /** It can take capabilities and the writable root from a worker; absent: it cannot. */
  readonly hardening?: boolean;
  /** How each limit is enforced here. */
  readonly limits: {
    readonly memory: 'cgroup' | 'engine' | 'absent';
    readonly cpu: 'cgroup' | 'engine' | 'absent';
    readonly processes: 'cgroup' | 'engine' | 'absent';
    readonly disk: 'engine' | 'absent';
  };
}

/** A worker that runs, and what it took to bring its image here. */
export interface StartedWorker {
  readonly handle: Handle;
  readonly path: Exclude<StartPath, 'thaw'>;
  /** When the image was ready. */
  readonly preparedAt: number;
  /** When the place of the worker (its directories, its container) was made. */
  readonly madeAt: number;
  /** Bytes that were fetched or unpacked; 0 when all was here. */
  readonly bytes: number;
  readonly isCached: boolean;
}

/** Runs workers. `list` is the truth after a restart; `startWorker` gives a running worker or throws; `stopWorker` is idempotent. */
export interface Runtime {
  readonly name: string;
  readonly capabilities: RuntimeCapabilities;
  /** Connects and begins to tell events; workers of a former server process are adopted. Throws RUNTIME_UNAVAILABLE. */
  start(events: RuntimeEvents): Promise<void>;
  /** Lets go without stopping workers; they are adopted by the next server. May be called twice or before start. */
  stop(): Promise<void>;
  /** Looks whether it can run the image, at the cost of reading its config. Throws RUNTIME_REFUSED with the runtime that could run it. */
  accept(image: ImageName): Promise<void>;
  /** Makes the image ready to start quickly (verify, pull, unpack), and tells how far it is. Throws as `accept` does, and RUNTIME_UNAVAILABLE. */
  prepare(image: ImageName, onProgress?: (text: string) => void): Promise<void>;
  /** Frees what `prepare` keeps for other images; a worker of one of those only starts more slowly. */
  forgetImages(except: ReadonlySet<Digest>): Promise<void>;
  /** Throws RUNTIME_UNAVAILABLE, and RUNTIME_REFUSED for what it can never start; then nothing runs. */
  startWorker(spec: WorkerSpec): Promise<StartedWorker>;
  /** SIGTERM to its main process, grace, SIGKILL to all; resolves when no process of the worker is left. `graceMs` 0 kills at once. */
  stopWorker(workerId: string, graceMs: number): Promise<void>;
  /**
   * Suspends every process of a worker, which keeps its memory; a stop ends a frozen worker too. Idempotent. Gives the memory it
   * holds. Throws RUNTIME_UNAVAILABLE, also when it is gone; only where `capabilities.freeze`.
   */
  freezeWorker(workerId: string): Promise<{ readonly memoryBytes: number }>;
  /** Lets a frozen worker go on. Idempotent. Throws RUNTIME_UNAVAILABLE, also when it is gone. */
  thawWorker(workerId: string): Promise<void>;
  /** Ids of the workers that run now. */
  list(): Promise<readonly string[]>;
}

/** How a runtime reads images: passed in by compose, so that no driver knows the registry. */
export interface ImageSource {
  /** The manifest's config, verified. */
  config(image: ImageName): Promise<ImageConfig>;
  /** Verifies and opens each layer's uncompressed tar by its diffID, in order. */
  layers(image: ImageName): Promise<readonly { readonly diffId: string; open(): AsyncIterable<Uint8Array> }[]>;
}
