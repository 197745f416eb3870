import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needsPython } from '../needs.js';
import { ROOT, until } from '../stage.js';

/** The worker side of the protocol, played to the SDKs by a real HTTP server that the test scripts. */
interface Post {
  readonly url: string;
  readonly body: Record<string, unknown>;
}

let server: Server;
let dir: string;
let worker: ChildProcess | undefined;
let jobs: object[];
let posts: Post[];
let pings: string[];
let refusals: number;
let stderr: string;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-sdk-'));
  const queue: object[] = [];
  jobs = queue;
  posts = [];
  pings = [];
  refusals = 0;
  stderr = '';
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const url = request.url ?? '';
      if (request.headers.authorization !== 'wk_token') return response.writeHead(401).end();
      if (url.includes('/ping/')) {
        pings.push(url);
        return response.end('{}');
      }
      if (url.includes('/job-done/')) {
        if (refusals-- > 0) return response.writeHead(500).end();
        posts.push({ url, body: JSON.parse(Buffer.concat(parts).toString()) as Post['body'] });
        return response.end('{}');
      }
      const job = queue.shift();
      if (job) return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(job));
      const held = setInterval(() => {
        if (response.destroyed || request.socket.destroyed) return clearInterval(held);
        const next = queue.shift();
        if (!next) return;
        clearInterval(held);
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(next));
      }, 10);
      response.on('close', () => clearInterval(held));
      return undefined;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  worker?.kill('SIGKILL');
  worker = undefined;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(dir, { recursive: true, force: true });
});

interface Kind {
  readonly name: string;
  readonly file: string;
  readonly source: string;
  readonly command: (file: string) => readonly string[];
  readonly env: Record<string, string>;
}

const NODE: Kind = {
  name: 'Node',
  file: 'handler.mjs',
  source: `
export function handler({ id, input }) {
  if (input === 'throw') throw new TypeError('wrong');
  if (input === 'nan') return { n: NaN };
  if (input === 'circle') { const a = {}; a.a = a; return a; }
  if (input === 'none') return undefined;
  if (input === 'empty') return {};
  if (input === 'error') return { error: { code: 1 }, more: 2 };
  if (input === 'refresh') return { refresh_worker: true, value: 1 };
  if (input === 'block') { const end = Date.now() + 2500; while (Date.now() < end); return 'blocked'; }
  return Promise.resolve({ id, input });
}
`,
  command: (file) => [process.execPath, join(ROOT, 'sdk/node/src/main.mjs'), `${file}:handler`],
  env: {},
};

const PYTHON: Kind = {
  name: 'Python',
  file: 'handler.py',
  source: `
import time
async def answer(job):
    return {"id": job["id"], "input": job["input"]}
def handler(job):
    value = job["input"]
    if value == "throw": raise TypeError("wrong")
    if value == "nan": return {"n": float("nan")}
    if value == "circle":
        a = {}
        a["a"] = a
        return a
    if value == "none": return None
    if value == "empty": return {}
    if value == "error": return {"error": {"code": 1}, "more": 2}
    if value == "refresh": return {"refresh_worker": True, "value": 1}
    if value == "block":
        end = time.monotonic() + 2.5
        while time.monotonic() < end: pass
        return "blocked"
    return answer(job)
`,
  command: (file) => ['python3', '-u', '-m', 'wherry', `${file}:handler`],
  env: { PYTHONPATH: join(ROOT, 'sdk/python') },
};

const hasPython = needsPython();

// Python is left out where there is no python3 of 3.9 or newer: the product does the same.
describe.each(hasPython ? [NODE, PYTHON] : [NODE])('the $name SDK', (kind) => {
  function start(more: Record<string, string> = {}, args: readonly string[] = []): ChildProcess {
    const file = join(dir, kind.file);
    writeFileSync(file, kind.source);
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/e`;
    const [command = '', ...rest] = kind.command(file);
    worker = spawn(command, [...rest, ...args], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        ...kind.env,
        RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=CPU`,
        RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=CPU`,
        RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=CPU`,
        RUNPOD_POD_ID: 'w-1',
        RUNPOD_AI_API_KEY: 'wk_token',
        RUNPOD_PING_INTERVAL: '1000',
        ...more,
      },
    });
    worker.stderr?.on('data', (part: Buffer) => {
      stderr += part.toString();
    });
    return worker;
  }

  async function answerTo(input: unknown): Promise<Post['body']> {
    const before = posts.length;
    jobs.push({ id: `job-${before}`, input });
    await until(() => posts.length > before, `an answer to ${JSON.stringify(input)}; ${stderr}`);
    const post = posts.at(-1);
    expect(post?.url).toContain(`/job-done/w-1/job-${before}?gpu=CPU&isStream=false`);
    return post?.body ?? {};
  }

  it('posts what the handler returns, sync or async, in the forms of the protocol (rows 24, 25)', async () => {
    start();
    expect(await answerTo({ n: 1 })).toEqual({ output: { id: 'job-0', input: { n: 1 } } });
    expect(await answerTo('none')).toEqual({ output: null });
    expect(await answerTo('empty')).toEqual({});
    expect(await answerTo('error')).toEqual({ output: { more: 2 }, error: { code: 1 } });
  });

  it('posts errors with type, message and trace, and goes on (row 25)', async () => {
    start();
    const { error } = await answerTo('throw');
    expect(JSON.parse(String(error))).toMatchObject({
      error_type: expect.stringContaining('TypeError'),
      error_message: 'wrong',
      error_traceback: expect.stringContaining('handler'),
      worker_id: 'w-1',
    });
    for (const input of ['nan', 'circle']) expect(await answerTo(input)).toEqual({ error: expect.stringContaining('JSON') });
    expect(await answerTo(1)).toMatchObject({ output: { input: 1 } });
  });

  it('posts again when the server fails, so that no result is lost', async () => {
    start();
    refusals = 3;
    expect(await answerTo(1)).toMatchObject({ output: { input: 1 } });
  });

  it('asks to be replaced and ends by itself after refresh_worker', async () => {
    const child = start();
    const ended = once(child, 'exit');
    expect(await answerTo('refresh')).toEqual({ output: { value: 1 }, stopPod: true });
    expect((await ended)[0]).toBe(0);
  });

  it('pings with the running job, also while the handler blocks (row 29)', async () => {
    start();
    await until(() => pings.length > 0, 'the first ping');
    const answered = answerTo('block');
    await until(() => pings.filter((url) => url.includes('job_id=job-0')).length >= 2, 'two pings with the job');
    expect(await answered).toEqual({ output: 'blocked' });
  });

  it('ends at once on SIGTERM when idle, and after its job when busy (row 33)', async () => {
    const idle = start();
    await until(() => pings.length > 0, 'the worker to be ready');
    const ended = once(idle, 'exit');
    idle.kill('SIGTERM');
    expect((await ended)[0]).toBe(0);

    const busy = start();
    jobs.push({ id: 'job-0', input: 'block' });
    await until(() => pings.some((url) => url.includes('job_id=job-0')), 'the job to run');
    const finished = once(busy, 'exit');
    busy.kill('SIGTERM');
    expect((await finished)[0]).toBe(0);
    expect(posts.at(-1)?.body).toEqual({ output: 'blocked' });
  });

  it('runs one test input without a server', async () => {
    const run = async (args: readonly string[], input?: string) => {
      if (input !== undefined) writeFileSync(join(dir, 'test_input.json'), input);
      const child = start({ RUNPOD_WEBHOOK_GET_JOB: '' }, args);
      let out = '';
      child.stdout?.on('data', (part: Buffer) => {
        out += part.toString();
      });
      const [code] = (await once(child, 'close')) as [number];
      return { code, out };
    };
    const good = await run(['--test_input', '{"input": 5}']);
    expect(good.code).toBe(0);
    expect(JSON.parse(good.out)).toEqual({ output: { id: 'local_test', input: 5 } });
    expect((await run([], '{"input": "throw"}')).code).toBe(1);
    expect((await run([], '{"other": 1}')).code).toBe(1);
  });
});

describe.skipIf(!hasPython)('import wherry', () => {
  it('loads nothing but itself until it is used', () => {
    const program =
      'import sys, wherry; assert "http.client" not in sys.modules and "wherry.serverless" not in sys.modules; wherry.serverless.start';
    const { status, stderr: said } = spawnSync('python3', ['-c', program], {
      env: { PATH: process.env['PATH'], PYTHONPATH: join(ROOT, 'sdk/python') },
      encoding: 'utf8',
    });
    expect(said).toBe('');
    expect(status).toBe(0);
  });
});
