import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { expect, vi } from 'vitest';
import { openClock } from '../../src/base/clock.js';
import type { Log } from '../../src/base/log.js';
import { digestOf } from '../../src/oci/digest.js';
import { type ImageConfig, LABELS } from '../../src/oci/manifest.js';
import { packTar } from '../../src/oci/tar.js';
import { markedPids } from '../../src/runtime/process/members.js';
import { createProcessRuntime } from '../../src/runtime/process.js';
import type { ImageName, ImageSource, Runtime, WorkerSpec } from '../../src/runtime/runtime.js';
import { needsFork } from '../needs.js';
import { listen, specOf, type Told, within } from './runtime.js';

/** Python images in memory: the worker SDK of this tree, the project's files, and packages as if they were installed. */
interface PythonImages extends ImageSource {
  image(handler: string, more?: PythonFiles): ImageName;
}

export interface PythonFiles {
  /** Of the handler's file. */
  readonly path?: string;
  /** Below the application's folder. */
  readonly app?: Readonly<Record<string, string>>;
  /** Below the folder of installed packages. */
  readonly packages?: Readonly<Record<string, string>>;
  readonly env?: readonly string[];
}

const SDK = 'sdk/python/wherry';

function createPythonImages(): PythonImages {
  const images = new Map<string, { readonly config: ImageConfig; readonly files: Readonly<Record<string, string>> }>();
  const sdk = readdirSync(SDK).filter((name) => name.endsWith('.py'));
  return {
    image(handler, { path: place = 'handler.py', app = {}, packages = {}, env = [] } = {}) {
      const files = {
        ...Object.fromEntries(sdk.map((name) => [`wherry/sdk/python/wherry/${name}`, readFileSync(join(SDK, name), 'utf8')])),
        ...Object.fromEntries(Object.entries(packages).map(([path, text]) => [`wherry/python/${path}`, text])),
        [`wherry/app/${place}`]: handler,
        ...Object.fromEntries(Object.entries(app).map(([path, text]) => [`wherry/app/${path}`, text])),
      };
      const layer = digestOf(JSON.stringify(files));
      const digest = digestOf(JSON.stringify([files, env]));
      const config: ImageConfig = {
        architecture: 'amd64',
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: [layer] },
        config: {
          Entrypoint: ['python3', '-u', '-m', 'wherry', `/wherry/app/${place}:handler`],
          Env: ['PYTHONPATH=/wherry/sdk/python:/wherry/python:/wherry/app', ...env],
          Labels: {
            [LABELS.interpreter]: 'python@3',
            [LABELS.handler]: `${place}:handler`,
            [LABELS.layers]: JSON.stringify([layer]),
          },
        },
      };
      images.set(digest, { config, files });
      return { repository: 'test/image', digest };
    },
    async config({ digest }) {
      const found = images.get(digest);
      if (found === undefined) throw new Error(`no image ${digest}`);
      return found.config;
    },
    async layers({ digest }) {
      const files = images.get(digest)?.files ?? {};
      const open = () =>
        packTar(
          Object.entries(files).map(
            ([path, text]) => ({ type: 'file', path, isExecutable: false, content: { bytes: Buffer.from(text) } }) as const,
          ),
        );
      return [{ diffId: digestOf(JSON.stringify(files)), open }];
    },
  };
}

/** Process runtimes with fork servers over one data directory. */
export interface ForkStage {
  readonly runtime: Runtime;
  /** What the first runtime told. */
  readonly heard: Told;
  readonly dataDir: string;
  readonly instanceId: string;
  /** What the runtimes logged, down to debug. */
  readonly said: readonly string[];
  image: PythonImages['image'];
  /** A second server over the same data. */
  reopen(): Runtime;
  /** Starts a worker; gives the way. */
  start(workerId: string, image: ImageName, more?: Partial<WorkerSpec>): Promise<string>;
  /** Starts a worker and waits for its end; gives the way. */
  run(workerId: string, image: ImageName, more?: Partial<WorkerSpec>): Promise<string>;
  /** The lines of a worker when there is one at least. */
  linesOf(workerId: string): Promise<readonly string[]>;
  /** Processes of a worker, found by their mark. */
  membersOf(workerId: string): readonly number[];
  /** Spawns a worker, ends it, and waits for what the supervisor says of the fork server: `is ready`, `is given up`. */
  warm(image: ImageName, more?: Partial<WorkerSpec> & { readonly until?: string }): Promise<void>;
  supervisors(): readonly number[];
  /** Fork servers and their spares. */
  servers(): readonly number[];
  close(): Promise<void>;
}

/** Whether this host can fork workers; only Linux shows what that needs. */
export const canFork = needsFork();

/** A handler's file that runs what the worker's own variable DO says. */
export const OBEDIENT = 'import os\nexec(os.environ["DO"])\n';

/** What a worker of {@link OBEDIENT} is told to do, as variables of its own. */
export function told(...statements: readonly string[]): Pick<WorkerSpec, 'env' | 'ownEnv'> {
  return { env: { DO: statements.join('\n') }, ownEnv: ['DO'] };
}

/** A statement that never ends. */
export const WAIT = 'import signal\nwhile True: signal.pause()';

/** Builds the supervisor into `dir`; gives its file. */
export async function buildSupervisor(dir: string): Promise<string> {
  const outfile = join(dir, 'supervisor.mjs');
  const shared = { bundle: true, platform: 'node', format: 'esm', target: 'node20', logLevel: 'error' } as const;
  await build({ ...shared, entryPoints: ['src/runtime/process/supervisor.ts'], outfile });
  return outfile;
}

/** A runtime with fork servers on a fresh data directory, started. */
export async function openForkStage(supervisorEntry: string): Promise<ForkStage> {
  const dataDir = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-forks-')));
  const instanceId = `test-${process.pid}-${dataDir.slice(-6)}`;
  const images = createPythonImages();
  const runtimes: Runtime[] = [];
  const said: string[] = [];
  let warmed = 0;
  const note = (_fields: object, text: string) => said.push(text);
  const log: Log = { debug: note, info: note, warn: note, error: note };
  const searchPath = process.env['PATH'] ?? '';
  const forkServer = join(process.cwd(), 'src/runtime/process/fork/program');
  const reopen = (): Runtime => {
    const runtime = createProcessRuntime({
      ...{ dataDir, instanceId, images, log, supervisorEntry, searchPath, forkServer },
      clock: openClock(),
      orphanMs: 20_000,
    });
    runtimes.push(runtime);
    return runtime;
  };
  const runtime = reopen();
  const heard = listen();
  await runtime.start(heard.events);
  const start: ForkStage['start'] = async (workerId, image, more) => (await runtime.startWorker(specOf(workerId, image, more))).path;
  const supervisors = () => pidsWhose('cmdline', (text) => text.includes(supervisorEntry) && text.includes(dataDir));
  const servers = () => markedPids(`${instanceId}/fork-`);
  return {
    ...{ runtime, heard, dataDir, instanceId, said, reopen, start, supervisors, servers },
    image: images.image,
    async run(workerId, image, more) {
      const path = await start(workerId, image, more);
      await vi.waitFor(() => expect(heard.exit(workerId)).toBeDefined(), within);
      return path;
    },
    async linesOf(workerId) {
      await vi.waitFor(() => expect(heard.lines(workerId)).not.toEqual([]), within);
      return heard.lines(workerId);
    },
    membersOf: (workerId) => markedPids(`${instanceId}/${workerId}\0`),
    async warm(image, { until = 'is ready', ...more } = {}) {
      const before = said.length;
      const workerId = `w-warm-${warmed++}`;
      expect(await start(workerId, image, more)).toBe('spawn');
      await runtime.stopWorker(workerId, 0);
      const isSaid = (text: string) => text.includes(image.digest) && text.includes(until);
      await vi.waitFor(() => expect(said.slice(before).filter(isSaid)).not.toEqual([]), within);
    },
    async close() {
      for (const opened of runtimes) await opened.stop();
      for (const pid of supervisors()) process.kill(pid, 'SIGTERM');
      await vi.waitFor(() => expect([...supervisors(), ...markedPids(`${instanceId}/`)]).toEqual([]), within);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function pidsWhose(file: string, isMatch: (text: string) => boolean): readonly number[] {
  const names = existsSync('/proc/self') ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : [];
  return names.map(Number).filter((pid) => {
    try {
      return isMatch(readFileSync(`/proc/${pid}/${file}`, 'utf8'));
    } catch {
      return false;
    }
  });
}
