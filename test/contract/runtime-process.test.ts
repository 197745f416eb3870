import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { openClock } from '../../src/base/clock.js';
import { silentLog } from '../../src/base/log.js';
import { digestOf } from '../../src/oci/digest.js';
import { type ImageConfig, LABELS } from '../../src/oci/manifest.js';
import { packTar } from '../../src/oci/tar.js';
import { endMembers, markedPids } from '../../src/runtime/process/members.js';
import { createProcessRuntime } from '../../src/runtime/process.js';
import type { ImageSource, Runtime, WorkerSpec } from '../../src/runtime/runtime.js';
import { describeRuntime, fakeDigest, listen, type OpenedRuntime, specOf, type Told, within } from './runtime.js';

const FOREVER = 'setInterval(() => {}, 1000);';
let buildDir: string;
let supervisorEntry: string;

beforeAll(async () => {
  buildDir = mkdtempSync(join(tmpdir(), 'wherry-supervisor-'));
  supervisorEntry = join(buildDir, 'supervisor.mjs');
  await build({
    entryPoints: ['src/runtime/process/supervisor.ts'],
    outfile: supervisorEntry,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
  });
});
afterAll(() => rmSync(buildDir, { recursive: true, force: true }));

interface ImageMore {
  readonly labels?: Record<string, string>;
  readonly env?: readonly string[];
  /** Besides the handler, below the application's folder. */
  readonly files?: Readonly<Record<string, string>>;
}

interface Source extends ImageSource {
  image(script: string, more?: ImageMore): WorkerSpec['image'];
  readonly opened: string[];
}

/** Images made in memory: one application layer with the script. */
function createSource(): Source {
  const configs = new Map<string, ImageConfig>();
  const scripts = new Map<string, Readonly<Record<string, string>>>();
  const opened: string[] = [];
  return {
    opened,
    image(script, { labels, env = [], files = {} } = {}) {
      const contents = { 'handler.mjs': script, ...files };
      const layer = digestOf(JSON.stringify(contents));
      const digest = digestOf(JSON.stringify([script, labels, env, files]));
      scripts.set(digest, contents);
      configs.set(digest, {
        architecture: 'amd64',
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: [layer] },
        config: {
          Entrypoint: ['node', '/wherry/app/handler.mjs'],
          Env: ['PATH=/image/bin', ...env],
          Labels: labels ?? {
            [LABELS.interpreter]: `node@${process.versions.node.split('.')[0]}`,
            [LABELS.handler]: 'handler.mjs:handler',
            [LABELS.layers]: JSON.stringify([layer]),
          },
        },
      });
      return { repository: 'test/image', digest };
    },
    async config({ digest }) {
      const config = configs.get(digest);
      if (config === undefined) throw new Error(`no image ${digest}`);
      return config;
    },
    async layers({ digest }) {
      const contents = scripts.get(digest) ?? {};
      const open = () => {
        opened.push(digest);
        return packTar([
          ...Object.entries(contents).map(
            ([path, text]) =>
              ({ type: 'file', path: `wherry/app/${path}`, isExecutable: false, content: { bytes: Buffer.from(text) } }) as const,
          ),
          { type: 'file', path: 'elsewhere', isExecutable: false, content: { bytes: Buffer.from('x') } },
        ]);
      };
      return [{ diffId: digestOf(JSON.stringify(contents)), open }];
    },
  };
}

interface Opened extends OpenedRuntime {
  readonly dataDir: string;
  readonly instanceId: string;
  readonly source: Source;
}

async function open({ orphanMs = 20_000, searchPath = process.env['PATH'] ?? '' } = {}): Promise<Opened> {
  const dataDir = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-runtime-')));
  const instanceId = `test-${process.pid}-${dataDir.slice(-6)}`;
  const source = createSource();
  const runtimes: Runtime[] = [];
  const reopen = (): Runtime => {
    const runtime = createProcessRuntime({
      dataDir,
      instanceId,
      images: source,
      log: silentLog,
      clock: openClock(),
      supervisorEntry,
      searchPath,
      orphanMs,
    });
    runtimes.push(runtime);
    return runtime;
  };
  return {
    runtime: reopen(),
    reopen,
    dataDir,
    instanceId,
    source,
    image: (script) => source.image(script),
    foreign: source.image('', { labels: { [LABELS.interpreter]: 'node@20' } }),
    isAlive,
    async close() {
      for (const runtime of runtimes) await runtime.stop();
      for (const pid of supervisorsOf(dataDir)) process.kill(pid, 'SIGTERM');
      await vi.waitFor(() => expect([...supervisorsOf(dataDir), ...markedPids(`${instanceId}/`)]).toEqual([]), within);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    // A zombie still takes signals; its command line is empty.
    return existsSync('/proc/self') ? readFileSync(`/proc/${pid}/cmdline`).length > 0 : process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Clock ticks of CPU that a process used so far. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

/** Whether a Node knows NODE_COMPILE_CACHE. */
function knowsCompileCache(node: string): boolean {
  return spawnSync(node, ['-p', 'require("module").enableCompileCache !== undefined'], { encoding: 'utf8' }).stdout.trim() === 'true';
}

function supervisorsOf(dataDir: string): readonly number[] {
  const names = existsSync('/proc/self') ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : [];
  return names.map(Number).filter((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return line.includes(supervisorEntry) && line.includes(dataDir);
    } catch {
      return false;
    }
  });
}

describeRuntime('process', open);

describe.skipIf(!existsSync('/proc/self'))('the process runtime on a host with /proc', () => {
  let opened: Opened;
  let runtime: Runtime;
  let told: Told;

  async function begin(options?: { orphanMs?: number; searchPath?: string }): Promise<void> {
    opened = await open(options);
    runtime = opened.runtime;
    told = listen();
    await runtime.start(told.events);
  }
  beforeEach(() => begin());
  afterEach(() => opened.close());

  async function startAndRead(workerId: string, script: string, more: Partial<WorkerSpec> = {}): Promise<string> {
    await runtime.startWorker(specOf(workerId, opened.image(script), more));
    await vi.waitFor(() => expect(told.lines(workerId).length).toBeGreaterThan(0), within);
    return told.lines(workerId)[0] ?? '';
  }

  it('gives a worker only its base variables, those of the image and those of the spec (S11)', async () => {
    const image = opened.source.image('console.log(JSON.stringify(process.env));', { env: ['FROM_IMAGE=/wherry/app:/x', 'BOTH=image'] });
    await runtime.startWorker(specOf('w-1', image, { env: { BOTH: 'spec' } }));
    await vi.waitFor(() => expect(told.lines('w-1')).toHaveLength(1), within);
    const env = JSON.parse(told.lines('w-1')[0] ?? '{}') as Record<string, string>;
    const dir = join(opened.dataDir, 'workers', 'w-1');
    const root = join(opened.dataDir, 'roots', image.digest.slice(7));
    // A shell that joins the cgroups may set these three.
    const { PWD: _pwd, SHLVL: _shlvl, _: __, ...rest } = env;
    expect(rest).toEqual({
      PATH: process.env['PATH'],
      HOME: join(dir, 'home'),
      TMPDIR: join(dir, 'tmp'),
      LANG: 'C.UTF-8',
      NODE_COMPILE_CACHE: expect.stringContaining(join(opened.dataDir, 'cache', 'compiled', image.digest.slice(7))),
      FROM_IMAGE: `${root}/wherry/app:/x`,
      BOTH: 'spec',
      WHERRY_WORKER: `${opened.instanceId}/w-1`,
    });
  });

  it('gives a worker a private working directory that shows the application and goes with it', async () => {
    const script =
      "import fs from 'node:fs'; fs.writeFileSync('out.txt', 'x'); console.log(fs.readdirSync('.').join()); console.log(process.cwd());";
    const image = opened.image(script);
    await runtime.startWorker(specOf('w-1', image));
    await vi.waitFor(() => expect(told.exit('w-1')?.exitCode).toBe(0), within);
    expect(told.lines('w-1')).toEqual(['handler.mjs,out.txt', join(opened.dataDir, 'workers', 'w-1', 'work')]);
    expect(existsSync(join(opened.dataDir, 'workers', 'w-1'))).toBe(false);
    const root = join(opened.dataDir, 'roots', image.digest.slice(7));
    expect(readdirSync(root)).toEqual(['seal.json', 'wherry']);
    expect(readdirSync(join(root, 'wherry', 'app'))).toEqual(['handler.mjs']);
  });

  it('keeps what a worker writes into its working directory from every later worker', async () => {
    const script = `import fs from 'node:fs';
      console.log(fs.readFileSync('data/cache.json', 'utf8'));
      fs.writeFileSync('data/cache.json', 'changed'); fs.writeFileSync('handler.mjs', 'broken');`;
    const image = opened.source.image(script, { files: { 'data/cache.json': 'original' } });
    for (const id of ['w-1', 'w-2']) {
      await runtime.startWorker(specOf(id, image));
      await vi.waitFor(() => expect(told.exit(id)?.exitCode).toBe(0), within);
      expect(told.lines(id)).toEqual(['original']);
    }
    expect(opened.source.opened).toEqual([image.digest]);
  });

  it.each([
    [
      'written over, with its size and times kept',
      'fs.chmodSync(file, 0o644); fs.writeFileSync(file, "CHANGED!"); fs.utimesSync(file, was.atime, was.mtime);',
    ],
    ['replaced', 'fs.rmSync(file); fs.writeFileSync(file, "CHANGED!");'],
    ['joined by another', "fs.writeFileSync(file + '.more', 'x');"],
    ['removed', 'fs.rmSync(file);'],
  ])('starts every worker from the bytes of the digest, also when a shared file was %s (decision 11)', async (_how, change) => {
    const script = `import fs from 'node:fs';
      const file = new URL('data/shared.txt', import.meta.url).pathname;
      const was = fs.statSync(file);
      console.log(fs.readFileSync(file, 'utf8') + ' ' + fs.readdirSync(new URL('data', import.meta.url)).length);
      ${change}`;
    const image = opened.source.image(script, { files: { 'data/shared.txt': 'original' } });
    const start = async (running: Runtime, heard: Told, id: string): Promise<void> => {
      await running.startWorker(specOf(id, image));
      await vi.waitFor(() => expect(heard.exit(id)?.exitCode).toBe(0), within);
      expect(heard.lines(id)).toEqual(['original 1']);
    };
    await start(runtime, told, 'w-1');
    await start(runtime, told, 'w-2');
    // The next server has nothing in memory but what the seal on disk says.
    await runtime.stop();
    const next = opened.reopen();
    const heard = listen();
    await next.start(heard.events);
    await start(next, heard, 'w-3');
    expect(opened.source.opened).toHaveLength(3);
    expect(readdirSync(join(opened.dataDir, 'roots'))).toEqual([image.digest.slice(7)]);
  });

  it('frees the unpacked roots of other images, and unpacks one of them again when it is needed', async () => {
    const [kept, other] = [opened.image('console.log(1)'), opened.image('console.log(2)')];
    for (const image of [kept, other]) await runtime.prepare(image);
    await runtime.forgetImages(new Set([kept.digest]));
    expect(readdirSync(join(opened.dataDir, 'roots'))).toEqual([kept.digest.slice(7)]);
    expect(await startAndRead('w-1', 'console.log(2)')).toBe('2');
    await runtime.prepare(kept);
    expect(opened.source.opened).toEqual([kept.digest, other.digest, other.digest]);
  });

  it('keeps what Node compiled of an image for the next worker, and frees it with the image', async (context) => {
    const lines = ['test/node-lines/node_modules/node-22/bin', dirname(process.execPath)];
    const bin = lines.find((dir) => existsSync(join(dir, 'node')) && knowsCompileCache(join(dir, 'node')));
    if (bin === undefined) return context.skip('no Node from 22.1 here: npm ci in test/node-lines brings one');
    await opened.close();
    await begin({ searchPath: `${resolve(bin)}:${process.env['PATH']}` });
    const labels = (digest: string) => ({
      [LABELS.interpreter]: 'node@22',
      [LABELS.handler]: 'h',
      [LABELS.layers]: JSON.stringify([digest]),
    });
    const script = "import { text } from './text.mjs'; console.log(text);";
    const files = { 'text.mjs': "export const text = 'up';" };
    const image = opened.source.image(script, { files, labels: labels(digestOf(JSON.stringify({ 'handler.mjs': script, ...files }))) });
    await runtime.startWorker(specOf('w-1', image));
    await vi.waitFor(() => expect(told.exit('w-1')?.exitCode).toBe(0), within);
    const compiled = join(opened.dataDir, 'cache', 'compiled', image.digest.slice(7));
    expect(readdirSync(compiled, { recursive: true }).length).toBeGreaterThan(2);
    await runtime.forgetImages(new Set());
    expect(existsSync(compiled)).toBe(false);
  });

  it('removes at its start what a crash left of a root', async () => {
    const next = opened.reopen();
    mkdirSync(join(opened.dataDir, 'roots', '.draft-x', 'wherry'), { recursive: true });
    await next.start(listen().events);
    expect(readdirSync(join(opened.dataDir, 'roots'))).toEqual([]);
  });

  it('makes unpacked files read-only, and unpacks a root again that was never finished', async () => {
    const image = opened.image('');
    const root = join(opened.dataDir, 'roots', image.digest.slice(7));
    mkdirSync(join(root, 'wherry', 'app'), { recursive: true });
    await runtime.prepare(image);
    const file = join(root, 'wherry', 'app', 'handler.mjs');
    expect(statSync(file).mode & 0o222).toBe(0);
  });

  it('unpacks an image once for concurrent prepares and starts', async () => {
    const image = opened.image('');
    await Promise.all([runtime.prepare(image), runtime.prepare(image), runtime.startWorker(specOf('w-1', image))]);
    const next = opened.reopen();
    await next.prepare(image);
    expect(opened.source.opened).toEqual([image.digest]);
  });

  const DAEMON = `import { spawn } from 'node:child_process';
    const child = spawn(process.execPath, ['-e', '${FOREVER}'], { detached: true, stdio: 'ignore' });
    console.log(child.pid); child.unref();`;

  it('leaves no process behind that changed its session, when the worker is stopped', async () => {
    const pid = Number(await startAndRead('w-1', `${DAEMON} ${FOREVER}`));
    expect(isAlive(pid)).toBe(true);
    await runtime.stopWorker('w-1', 1_000);
    expect(isAlive(pid)).toBe(false);
  });

  it('leaves no process behind that changed its session, when the worker ends by itself', async () => {
    const pid = Number(await startAndRead('w-1', DAEMON));
    await vi.waitFor(() => expect(told.exit('w-1')).toEqual({ exitCode: 0, signal: null }), within);
    expect(isAlive(pid)).toBe(false);
  });

  it('tells the exits, leaves no process and starts anew when the supervisor is killed', async () => {
    const pid = Number(await startAndRead('w-1', `${DAEMON} ${FOREVER}`));
    const worker = await runtime.startWorker(specOf('w-2', opened.image(FOREVER)));
    const [supervisor = 0] = supervisorsOf(opened.dataDir);
    process.kill(supervisor, 'SIGKILL');
    await vi.waitFor(() => expect([told.exit('w-1'), told.exit('w-2')]).toEqual(Array(2).fill({ exitCode: null, signal: null })), within);
    expect([isAlive(pid), isAlive(Number(worker.handle['pid']))]).toEqual([false, false]);
    expect(await runtime.list()).toEqual([]);
    expect(await startAndRead('w-3', "console.log('again');")).toBe('again');
  });

  it('ends leftovers before the first start when supervisor and server died together', async () => {
    const { handle } = await runtime.startWorker(specOf('w-1', opened.image(FOREVER)));
    await runtime.stop();
    const [supervisor = 0] = supervisorsOf(opened.dataDir);
    process.kill(supervisor, 'SIGKILL');
    const next = opened.reopen();
    await vi.waitFor(() => expect(isAlive(supervisor)).toBe(false), within);
    await next.start(listen().events);
    expect(isAlive(Number(handle['pid']))).toBe(false);
    expect(await next.list()).toEqual([]);
  });

  it('lets a newer server take the supervisor over without harm to its workers', async () => {
    await startAndRead('w-1', `console.log('up'); ${FOREVER}`);
    const next = opened.reopen();
    await next.start(listen().events);
    expect(await next.list()).toEqual(['w-1']);
    await vi.waitFor(() => expect(runtime.list()).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' }), within);
    expect(told.exit('w-1')).toBeUndefined();
  });

  it('removes what a server made of a worker that it did not come to start', async () => {
    const folder = (id: string) => join(opened.dataDir, 'workers', id, 'work');
    await startAndRead('w-1', `console.log('up'); ${FOREVER}`);
    mkdirSync(folder('w-2'), { recursive: true });
    await runtime.stop();
    await opened.reopen().start(listen().events);
    expect([existsSync(folder('w-1')), existsSync(folder('w-2'))]).toEqual([true, false]);
  });

  it('ends workers and supervisor when no server comes back', async () => {
    await opened.close();
    await begin({ orphanMs: 100 });
    const { handle } = await runtime.startWorker(specOf('w-1', opened.image(FOREVER)));
    await runtime.stop();
    await vi.waitFor(() => expect([isAlive(Number(handle['pid'])), supervisorsOf(opened.dataDir)]).toEqual([false, []]), within);
  });

  it('takes the supervisor along when it ends in good order and nothing runs', async () => {
    await runtime.startWorker(specOf('w-1', opened.image('')));
    await vi.waitFor(() => expect(told.exit('w-1')?.exitCode).toBe(0), within);
    expect(supervisorsOf(opened.dataDir)).toHaveLength(1);
    await runtime.stop();
    // Sooner than one leaves that waits for the next server.
    await vi.waitFor(() => expect(supervisorsOf(opened.dataDir)).toEqual([]), { timeout: 5_000 });
  });

  it('freezes processes that changed their session too: none uses any more CPU', async () => {
    const script = `import { spawn } from 'node:child_process';
      const child = spawn(process.execPath, ['-e', 'for (;;);'], { detached: true, stdio: 'ignore' });
      child.on('spawn', () => console.log(child.pid)); setTimeout(() => { for (;;); }, 100);`;
    const child = Number(await startAndRead('w-1', script));
    const { handle } = await runtime.startWorker(specOf('w-2', opened.image("console.log('up'); for (;;);")));
    await runtime.freezeWorker('w-1');
    const frozen = cpuOf(child);
    const running = cpuOf(Number(handle['pid']));
    await vi.waitFor(() => expect(cpuOf(Number(handle['pid']))).toBeGreaterThan(running + 20), within);
    expect(cpuOf(child)).toBe(frozen);
    await runtime.thawWorker('w-1');
    await vi.waitFor(() => expect(cpuOf(child)).toBeGreaterThan(frozen), within);
  });

  it('tells the exit of a frozen worker that is killed from outside, and leaves nothing of it', async () => {
    const pid = Number(await startAndRead('w-1', `${DAEMON} ${FOREVER}`));
    await runtime.freezeWorker('w-1');
    const [main] = markedPids(`${opened.instanceId}/w-1\0`).filter((each) => each !== pid);
    process.kill(Number(main), 'SIGKILL');
    await vi.waitFor(() => expect(told.exit('w-1')).toEqual({ exitCode: null, signal: 'SIGKILL' }), within);
    expect(isAlive(pid)).toBe(false);
    await expect(runtime.thawWorker('w-1')).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
  });

  it('ends a frozen worker too when no server comes back', async () => {
    await opened.close();
    await begin({ orphanMs: 100 });
    const { handle } = await runtime.startWorker(specOf('w-1', opened.image(FOREVER)));
    await runtime.freezeWorker('w-1');
    await runtime.stop();
    await vi.waitFor(() => expect([isAlive(Number(handle['pid'])), supervisorsOf(opened.dataDir)]).toEqual([false, []]), within);
  });

  it('refuses an image whose interpreter is not here', async () => {
    const labels = { [LABELS.interpreter]: 'node@999', [LABELS.handler]: 'h', [LABELS.layers]: JSON.stringify([fakeDigest('ab')]) };
    const hint = expect.stringContaining('install node 999');
    await expect(runtime.prepare(opened.source.image('', { labels }))).rejects.toMatchObject({ code: 'RUNTIME_REFUSED', hint });
  });

  it('refuses a second worker of the same id', async () => {
    const image = opened.image(FOREVER);
    await runtime.startWorker(specOf('w-1', image));
    await expect(runtime.startWorker(specOf('w-1', image))).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
    expect(await runtime.list()).toEqual(['w-1']);
  });

  it('names the pid of the worker itself, not that of a shell in between', async () => {
    const { handle } = await runtime.startWorker(specOf('w-1', opened.image('console.log(process.pid);')));
    await vi.waitFor(() => expect(told.lines('w-1')).toEqual([String(handle['pid'])]), within);
  });

  it('finds a marked process by its environment, and only by the whole name of its owner', async () => {
    const owner = `${opened.instanceId}-x/w-1`;
    const child = spawn(process.execPath, ['-e', FOREVER], { env: { WHERRY_WORKER: owner }, stdio: 'ignore' });
    await vi.waitFor(() => expect(markedPids(`${owner}\0`)).toEqual([child.pid]), within);
    expect(markedPids(`${opened.instanceId}/`)).toEqual([]);
    expect(await endMembers(() => markedPids(`${opened.instanceId}-x/`))).toEqual([]);
  });

  it('gives a worker no way to gain rights and a limit of open files, which its children keep (S11)', async () => {
    const script = `import { spawnSync } from 'node:child_process';
      const told = spawnSync('sh', ['-c', 'grep NoNewPrivs /proc/self/status; ulimit -Hn'], { encoding: 'utf8' }).stdout;
      console.log(JSON.stringify(told.split(/\\s+/)));`;
    const [, isTight, files] = JSON.parse(await startAndRead('w-1', script)) as string[];
    expect([isTight, Number(files)]).toEqual(['1', expect.any(Number)]);
    expect(Number(files)).toBeLessThanOrEqual(65_536);
  });

  it('holds the memory limit (S11, C2)', async (context) => {
    if (runtime.capabilities.limits.memory !== 'cgroup') return context.skip('no writable memory cgroup on this host');
    const script = 'const kept = []; for (let n = 0; n < 600; n += 1) kept.push(Buffer.alloc(1024 * 1024, 1)); console.log(kept.length);';
    await runtime.startWorker(specOf('w-1', opened.image(script), { resources: { memoryBytes: 128 * 1024 * 1024 } }));
    await vi.waitFor(() => expect(told.exit('w-1')).toEqual({ exitCode: null, signal: 'SIGKILL' }), within);
    expect(told.lines('w-1')).toEqual([]);
  });

  it('puts a worker into a group of its own that counts its processes (S11)', async (context) => {
    if (runtime.capabilities.limits.processes !== 'cgroup') return context.skip('no writable pids cgroup on this host');
    const script = `import { execSync } from 'node:child_process';
      const own = /^(?:\\d+:pids|0:):(.*)$/m.exec((await import('node:fs')).readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
      console.log(own);`;
    expect(await startAndRead('w-1', script)).toContain(`wherry-${opened.instanceId}/w-1`);
  });
});
