import { LINE_BOUNDS } from '../lines.js';

/** What a server and the supervisor of its data directory say to each other: JSON lines over a unix socket. */

/** Raised by every change that an older supervisor would misread, also of what it says to a fork server's program. */
export const PROTOCOL = 3;

/** Bounds of what the supervisor keeps and forwards. Bytes, lines, milliseconds. */
export const BOUNDS = {
  ...LINE_BOUNDS,
  unackedBytes: 1024 * 1024,
  processes: 1_024,
  /** How long members of a worker are hunted after its end. */
  huntMs: 5_000,
  /** How long a dead worker's pipes may still deliver. */
  drainMs: 1_000,
} as const;

/** The supervisor's only argument, as JSON. */
export interface SupervisorOptions {
  readonly socket: string;
  readonly instanceId: string;
  readonly workersDir: string;
  /** Private folders of fork servers. */
  readonly forksDir: string;
  /** Without a server, workers are ended after this time. */
  readonly orphanMs: number;
  /** Without a server, workers and events, the supervisor leaves after this time. */
  readonly idleMs: number;
}

/** One process to start; everything is resolved already. */
export interface SpawnOrder {
  readonly workerId: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Removed with everything in it when the worker is gone. */
  readonly dir: string;
  readonly limits: { readonly cpu?: number; readonly memoryBytes?: number };
  /** Absent when it must be spawned. */
  readonly fork?: ForkPlan;
}

/** What a fork server needs to prepare workers ahead of their orders (docs/adr/0019). */
export interface ForkPlan {
  /** Orders with equal keys may be forked from one server. */
  readonly key: string;
  /** Digest of their image. */
  readonly image: string;
  /** What its files were when they were last looked at: what a server loaded of others serves nobody. */
  readonly sealId: string;
  /** The interpreter with its flags. */
  readonly command: readonly string[];
  /** Folder of the server's program. */
  readonly program: string;
  /** The handler's file. */
  readonly handler: string;
  /** Folders of the project's own modules. */
  readonly roots: readonly string[];
  /** What all workers have in common; none of their tokens. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of the variables that each worker has for itself. */
  readonly own: readonly string[];
  readonly limits: SpawnOrder['limits'];
}

export type Request =
  | { readonly id: number; readonly verb: 'hello'; readonly protocol: number; readonly instanceId: string }
  | { readonly id: number; readonly verb: 'spawn'; readonly order: SpawnOrder }
  | { readonly id: number; readonly verb: 'stop'; readonly workerId: string; readonly graceMs: number }
  | { readonly id: number; readonly verb: 'freeze' | 'thaw'; readonly workerId: string }
  | { readonly id: number; readonly verb: 'list' }
  /** The server ends in good order: without workers and events there is nothing to wait for. */
  | { readonly id: number; readonly verb: 'leave' }
  /** Fork servers of other images end when their workers have. */
  | { readonly id: number; readonly verb: 'keep'; readonly images: readonly string[] }
  /** Has no answer. */
  | { readonly id: number; readonly verb: 'ack'; readonly seq: number };

export interface Answer {
  readonly id: number;
  readonly ok: boolean;
  readonly value?: unknown;
  readonly error?: string;
  /** The supervisor speaks another protocol, has no workers, and leaves so that it can be replaced. */
  readonly isLeaving?: boolean;
}

/** The answer to hello. */
export interface Welcome {
  /** The supervisor's clock, by which it stamps lines. */
  readonly now: number;
  readonly pid: number;
  readonly workers: readonly string[];
  /** Folders whose subgroups hold the workers; empty without cgroups. */
  readonly cgroupBases: readonly string[];
}

/** The answer to spawn. */
export interface Started {
  readonly pid: number;
  readonly path: 'spawn' | 'fork';
}

/** The answer to freeze. */
export interface Frozen {
  readonly memoryBytes: number;
}

export interface Line {
  readonly at: number;
  readonly text: string;
}

/** Kept by the supervisor until acknowledged, and told again to the next server. */
export type SupervisorEvent =
  | {
      readonly event: 'output';
      readonly seq: number;
      readonly workerId: string;
      readonly lines: readonly Line[];
      readonly dropped: number;
    }
  | {
      readonly event: 'exit';
      readonly seq: number;
      readonly workerId: string;
      readonly exitCode: number | null;
      readonly signal: string | null;
    }
  /** A step of the supervisor itself; of no worker when `workerId` is null. */
  | { readonly event: 'note'; readonly seq: number; readonly workerId: string | null; readonly text: string };

/** Another server took over; the socket ends and nobody died. */
export interface Replaced {
  readonly event: 'replaced';
}

/** Reads JSON lines from text chunks; gives each value to `onValue`. A line that is not JSON goes to `onError`. */
export function createJsonReader(onValue: (value: unknown) => void, onError: (cause: unknown) => void): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      let value: unknown;
      try {
        value = JSON.parse(line);
      } catch (cause) {
        onError(cause);
        continue;
      }
      onValue(value);
    }
  };
}

/** The environment variable by which processes of a worker are found where there are no cgroups. */
export const MARKER = 'WHERRY_WORKER';
