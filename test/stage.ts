import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** The real binary; `npm test` builds it first. */
export const MAIN = join(ROOT, 'dist/main.js');

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the real binary; never throws for an exit code. */
export function runCli(
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly input?: string } = {},
): Promise<CliResult> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...args],
      { cwd: options.cwd ?? ROOT, env: { ...process.env, ...options.env }, maxBuffer: 64 * 1024 * 1024, timeout: 60_000 },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr }),
    );
    child.stdin?.end(options.input ?? '');
  });
}

/** Waits for a condition, looking often; never longer than the limit. */
export async function until<T>(condition: () => T | Promise<T>, what: string, limitMs = 30_000): Promise<NonNullable<T>> {
  const end = performance.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value as NonNullable<T>;
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export interface JobAnswer {
  readonly id: string;
  readonly status: string;
  readonly output?: unknown;
  readonly error?: unknown;
  readonly delayTime?: number;
  readonly executionTime?: number;
  readonly workerId?: string;
}

export interface Stage {
  readonly dir: string;
  readonly dataDir: string;
  readonly url: string;
  readonly key: string;
  readonly pid: number;
  /** What the servers of this stage said on stderr so far. */
  readonly log: () => string;
  /** A project directory below the stage. */
  project(name: string, files: Readonly<Record<string, string>>): string;
  /** The CLI on this stage's data directory; fails the test on another exit code than 0. */
  cli(...args: readonly string[]): Promise<string>;
  tryCli(...args: readonly string[]): Promise<CliResult>;
  /** JSON call with the admin key. */
  call(
    path: string,
    init?: { readonly method?: string; readonly body?: unknown; readonly key?: string | null; readonly headers?: Record<string, string> },
  ): Promise<{
    readonly status: number;
    readonly json: unknown;
    readonly headers: Headers;
  }>;
  runsync(endpoint: string, input: unknown, more?: object): Promise<JobAnswer>;
  submit(endpoint: string, input: unknown, more?: object): Promise<JobAnswer>;
  status(endpoint: string, jobId: string): Promise<JobAnswer>;
  finished(endpoint: string, jobId: string): Promise<JobAnswer>;
  /** SIGKILL; the data directory stays. */
  kill(): Promise<void>;
  /** Waits for the process to end by itself (a fault point). */
  died(): Promise<void>;
  restart(env?: NodeJS.ProcessEnv): Promise<void>;
  close(): Promise<void>;
}

/** Below the range from which systems take ports for port 0 and for connections: while a server of a stage is down, nothing else gets its port. */
const PORTS = { from: 15_000, count: 15_000 };

/** A port that is free now, and stays free for its server's restarts. */
async function findPort(): Promise<number> {
  for (;;) {
    const port = PORTS.from + randomInt(PORTS.count);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
}

/** Starts the real server as its own process on a fresh data directory; `mount` may put a file system there before and gives what takes it off again. */
export async function openStage(env: NodeJS.ProcessEnv = {}, mount?: (dataDir: string) => () => void): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-stage-'));
  const dataDir = join(dir, 'data');
  if (mount) mkdirSync(dataDir);
  const unmount = mount?.(dataDir);
  const said: string[] = [];
  const log = () => said.join('');
  const start = (more: NodeJS.ProcessEnv, onPort: string) => startServer(dataDir, { env: more, port: onPort, said });
  let server = await start(env, String(await findPort()));
  const { port } = new URL(server.url);
  const key = readFileSync(join(dataDir, 'admin.key'), 'utf8').trim();
  const tryCli = (...args: readonly string[]) => runCli([...args, '--data', dataDir], { cwd: dir });
  const call: Stage['call'] = async (path, { method = 'GET', body, key: as = key, headers = {} } = {}) => {
    const answer = await fetch(`${server.url}${path}`, {
      method,
      headers: { ...(as !== null && { authorization: as }), ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, json: text === '' ? undefined : JSON.parse(text), headers: answer.headers };
  };
  const job = async (path: string, body?: unknown) =>
    (await call(path, body === undefined ? {} : { method: 'POST', body })).json as JobAnswer;
  const stage: Stage = {
    dir,
    dataDir,
    key,
    log,
    get url() {
      return server.url;
    },
    get pid() {
      return server.child.pid ?? 0;
    },
    project(name, files) {
      const project = join(dir, name);
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(project, path)), { recursive: true });
        writeFileSync(join(project, path), text);
      }
      return project;
    },
    tryCli,
    async cli(...args) {
      const result = await tryCli(...args);
      if (result.code !== 0) throw new Error(`wherry ${args.join(' ')} exited with ${result.code}: ${result.stderr}\n${result.stdout}`);
      return result.stdout;
    },
    call,
    runsync: (endpoint, input, more = {}) => job(`/v2/${endpoint}/runsync`, { input, ...more }),
    submit: (endpoint, input, more = {}) => job(`/v2/${endpoint}/run`, { input, ...more }),
    status: (endpoint, jobId) => job(`/v2/${endpoint}/status/${jobId}`),
    finished: (endpoint, jobId) =>
      until(async () => {
        const found = await job(`/v2/${endpoint}/status/${jobId}`);
        return ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT'].includes(found.status) ? found : undefined;
      }, `job ${jobId} to end`),
    async kill() {
      server.child.kill('SIGKILL');
      await server.ended;
    },
    died: () => server.ended,
    async restart(more = {}) {
      server = await start({ ...env, ...more }, port);
    },
    async close() {
      if (server.child.exitCode !== null || server.child.signalCode !== null) server = await start({}, port);
      const { items } = (await call('/api/v1/endpoints')).json as { items: { id: string }[] };
      await Promise.all(items.map(({ id }) => call(`/api/v1/endpoints/${id}`, { method: 'DELETE' })));
      server.child.kill('SIGTERM');
      await server.ended;
      unmount?.();
      // The supervisor stays for some seconds and may still clear up after its last worker.
      rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  return stage;
}

async function startServer(
  dataDir: string,
  { env, port, said }: { readonly env: NodeJS.ProcessEnv; readonly port: string; readonly said: string[] },
): Promise<{ child: ChildProcess; url: string; ended: Promise<void> }> {
  const file = join(dataDir, 'server.json');
  rmSync(file, { force: true });
  const child = spawn(process.execPath, [MAIN, 'serve', '--data', dataDir, '--port', port], {
    stdio: ['ignore', 'ignore', 'pipe'],
    // An engine that this machine may have is no part of a test that does not ask for one.
    env: { ...process.env, WHERRY_RUNTIME: 'process', ...env },
  });
  const before = said.length;
  child.stderr?.on('data', (part: Buffer) => {
    said.push(part.toString());
  });
  const ended = once(child, 'exit').then(() => {});
  await until(() => {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`the server ended with ${child.exitCode}: ${said.slice(before).join('')}`);
    return existsSync(file);
  }, 'the server to start');
  const { url } = JSON.parse(readFileSync(file, 'utf8')) as { url: string };
  return { child, url, ended };
}

/** Processes whose environment carries a marker of this data directory's workers, from /proc. */
export function pidsWith(needle: string): number[] {
  const found: number[] = [];
  for (const name of existsSync('/proc') ? readdirNumbers() : []) {
    try {
      if (readFileSync(`/proc/${name}/environ`, 'utf8').includes(needle)) found.push(Number(name));
    } catch {
      // Gone meanwhile, or not ours.
    }
  }
  return found;
}

function readdirNumbers(): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
}
