import type { Digest } from '../oci/digest.js';
import type { ImageConfig } from '../oci/manifest.js';

/** Everything a runtime needs to start one worker. */
export interface WorkerSpec {
  readonly workerId: string;
  readonly endpointId: string;
  readonly release: number;
  readonly image: { readonly repository: string; readonly digest: Digest };
  /** Complete: protocol variables over release variables. The runtime adds the image's own below them. */
  readonly env: Readonly<Record<string, string>>;
  /** Replaces the image's Cmd when not null. */
  readonly args: readonly string[] | null;
  readonly resources: { readonly cpu?: number; readonly memoryBytes?: number };
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
  /** Code and signal both null: the worker was lost, nobody saw how it ended. */
  exit(event: { readonly workerId: string; readonly exitCode: number | null; readonly signal: string | null }): void;
}

export interface RuntimeCapabilities {
  readonly freeze: boolean;
  readonly gpu: boolean;
  /** How each limit is enforced here. */
  readonly limits: {
    readonly memory: 'cgroup' | 'engine' | 'absent';
    readonly cpu: 'cgroup' | 'engine' | 'absent';
    readonly processes: 'cgroup' | 'engine' | 'absent';
  };
}

/** Runs workers. `list` is the truth after a restart; `startWorker` gives a handle or throws; `stopWorker` is idempotent. */
export interface Runtime {
  readonly name: string;
  readonly capabilities: RuntimeCapabilities;
  /** Connects and begins to tell events; workers of a former server process are adopted. Throws RUNTIME_UNAVAILABLE. */
  start(events: RuntimeEvents): Promise<void>;
  /** Lets go without stopping workers; they are adopted by the next server. May be called twice or before start. */
  stop(): Promise<void>;
  /** Makes the image ready to start quickly (verify, unpack). Throws RUNTIME_REFUSED with the runtime that could run it. */
  prepare(image: { readonly repository: string; readonly digest: Digest }): Promise<void>;
  /** Frees what `prepare` keeps for other images; a worker of one of those only starts more slowly. */
  forgetImages(except: ReadonlySet<Digest>): Promise<void>;
  /** Throws RUNTIME_UNAVAILABLE; then nothing runs. */
  startWorker(spec: WorkerSpec): Promise<Handle>;
  /** SIGTERM to its main process, grace, SIGKILL to all; resolves when no process of the worker is left. `graceMs` 0 kills at once. */
  stopWorker(workerId: string, graceMs: number): Promise<void>;
  /** Ids of the workers that run now. */
  list(): Promise<readonly string[]>;
}

/** How a runtime reads images: passed in by compose, so that no driver knows the registry. */
export interface ImageSource {
  /** The manifest's config, verified. */
  config(image: { readonly repository: string; readonly digest: Digest }): Promise<ImageConfig>;
  /** Verifies and opens each layer's uncompressed tar by its diffID, in order. */
  layers(image: {
    readonly repository: string;
    readonly digest: Digest;
  }): Promise<readonly { readonly diffId: string; open(): AsyncIterable<Uint8Array> }[]>;
}
