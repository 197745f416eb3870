import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';

/** What handlers of both languages can do, on the real server with real worker processes. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const NODE = (start: string) => `
import { progressUpdate, registerFitnessCheck, start } from '@wherry/worker';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let running = 0;
export async function* stream({ input: { count, failAt, errorAt, sleepMs = 0 } }) {
  for (let n = 1; n <= count; n++) {
    if (n === failAt) throw new RangeError('broke at ' + n);
    yield n === errorAt ? { error: 'stopped at ' + n } : { n };
    await sleep(sleepMs);
  }
}
export async function stoppable({ input: { sleepMs = 0 } }, { signal }) {
  const end = Date.now() + sleepMs;
  while (Date.now() < end && !signal.aborted) await sleep(20);
  return { aborted: signal.aborted, pid: process.pid };
}
export async function blocking({ input: { sleepMs = 0 } }) {
  await sleep(sleepMs);
  return process.pid;
}
export async function many({ input: { sleepMs = 0 } }) {
  running++;
  await sleep(sleepMs);
  return running--;
}
export async function tell(job) {
  for (let step = 1; step <= 3; step++) { progressUpdate(job, { step }); await sleep(300); }
  return 'told';
}
export const pid = () => process.pid;
${start}
`;

const PYTHON = (start: string) => `
import asyncio, os, time
import wherry as runpod
running = 0
def stream_sync(job):
    i = job["input"]
    for n in range(1, i["count"] + 1):
        if n == i.get("failAt"): raise ValueError(f"broke at {n}")
        yield {"error": f"stopped at {n}"} if n == i.get("errorAt") else {"n": n}
        time.sleep(i.get("sleepMs", 0) / 1000)
async def stream(job):
    i = job["input"]
    for n in range(1, i["count"] + 1):
        if n == i.get("failAt"): raise ValueError(f"broke at {n}")
        yield {"error": f"stopped at {n}"} if n == i.get("errorAt") else {"n": n}
        await asyncio.sleep(i.get("sleepMs", 0) / 1000)
async def stoppable(job):
    await asyncio.sleep(job["input"].get("sleepMs", 0) / 1000)
    return {"pid": os.getpid()}
def blocking(job):
    time.sleep(job["input"].get("sleepMs", 0) / 1000)
    return os.getpid()
async def many(job):
    global running
    running += 1
    await asyncio.sleep(job["input"].get("sleepMs", 0) / 1000)
    running -= 1
    return running + 1
def tell(job):
    for step in range(1, 4):
        runpod.serverless.progress_update(job, {"step": step})
        time.sleep(0.3)
    return "told"
def pid(job): return os.getpid()
${start}
`;

interface Kind {
  readonly name: string;
  readonly file: string;
  readonly source: (start: string) => string;
  /** The call of start with options, in the file itself, as RunPod's handlers do it. */
  readonly start: (handler: string, options?: Readonly<Record<string, string>>) => string;
  readonly isThere: boolean;
}

const KINDS: readonly Kind[] = [
  {
    name: 'Node',
    file: 'handler.mjs',
    source: NODE,
    start: (handler, options = {}) =>
      `await start({ handler: ${handler}, ${Object.entries(options)
        .map(([key, value]) => `${key}: ${value}`)
        .join(', ')} });`,
    isThere: true,
  },
  {
    name: 'Python',
    file: 'handler.py',
    source: PYTHON,
    start: (handler, options = {}) =>
      `runpod.serverless.start({"handler": ${handler}, ${Object.entries(options)
        .map(([key, value]) => `"${key}": ${value === 'true' ? 'True' : value}`)
        .join(', ')}})`,
    isThere: spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))']).status === 0,
  },
];

for (const kind of KINDS) {
  describe.skipIf(!kind.isThere)(`a ${kind.name} handler`, () => {
    const deploy = async (endpoint: string, start: string, scale = 'min: 0, max: 1, idle: 2s') => {
      const name = `${endpoint}-${kind.name.toLowerCase()}`;
      const files = {
        'wherry.yaml': `name: ${name}\nhandler: ${kind.file}:pid\nbase: scratch\nscale: { ${scale} }\n`,
        [kind.file]: kind.source(start),
      };
      await stage.cli('deploy', stage.project(name, files));
      return name;
    };
    const streamed = async (endpoint: string, id: string) => {
      const chunks: unknown[] = [];
      for (;;) {
        const { json } = await stage.call(`/v2/${endpoint}/stream/${id}`);
        const part = json as { status: string; stream: { output: unknown }[] };
        chunks.push(...part.stream.map(({ output }) => output));
        if (!['IN_QUEUE', 'IN_PROGRESS'].includes(part.status)) return { chunks, status: part.status };
      }
    };

    it('streams what an async generator yields, in order, and ends with [] (rows 26, 27)', async () => {
      const endpoint = await deploy('stream', kind.start('stream'));
      const { id } = await stage.submit(endpoint, { count: 4, sleepMs: 30 });
      expect(await streamed(endpoint, id)).toEqual({ chunks: [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }], status: 'COMPLETED' });
      expect((await stage.finished(endpoint, id)).output).toEqual([]);
      const broken = await stage.submit(endpoint, { count: 4, failAt: 3 });
      expect(await streamed(endpoint, broken.id)).toEqual({ chunks: [{ n: 1 }, { n: 2 }], status: 'FAILED' });
      expect(String((await stage.finished(endpoint, broken.id)).error)).toMatch(/^handler: broke at 3 \ntraceback: /);
      const yielded = await stage.submit(endpoint, { count: 4, errorAt: 2 });
      expect(await streamed(endpoint, yielded.id)).toEqual({ chunks: [{ n: 1 }], status: 'FAILED' });
      expect((await stage.finished(endpoint, yielded.id)).error).toBe('stopped at 2');
    });

    it('gives the aggregated list as output when asked to (row 27)', async () => {
      const endpoint = await deploy('aggregate', kind.start('stream', { return_aggregate_stream: 'true' }));
      const job = await stage.runsync(endpoint, { count: 3 });
      expect(job).toMatchObject({ status: 'COMPLETED', output: [{ n: 1 }, { n: 2 }, { n: 3 }] });
    });

    it('shows progress while it runs and its value at the end (row 28)', async () => {
      const endpoint = await deploy('tell', kind.start('tell'));
      const { id } = await stage.submit(endpoint, {});
      const seen = new Set<string>();
      await until(async () => {
        const { status, output } = await stage.status(endpoint, id);
        if (status === 'IN_PROGRESS' && output !== undefined) seen.add(JSON.stringify(output));
        return status === 'COMPLETED';
      }, 'the job to end');
      expect([...seen]).toEqual(expect.arrayContaining(['{"step":1}', '{"step":3}']));
      expect((await stage.status(endpoint, id)).output).toBe('told');
    });

    it('runs as many jobs at once as its modifier says (rows 23, 36)', async () => {
      const modifier = kind.name === 'Node' ? '() => 4' : 'lambda now: 4';
      const endpoint = await deploy('many', kind.start('many', { concurrency_modifier: modifier }));
      const jobs = await Promise.all([1, 2, 3, 4].map(() => stage.runsync(endpoint, { sleepMs: 1_000 })));
      expect(jobs.map(({ output }) => Number(output)).sort()).toEqual([1, 2, 3, 4]);
      expect(new Set(jobs.map((job) => (job as unknown as { workerId: string }).workerId)).size).toBe(1);
    });

    it('stops a cancelled job and goes on in the same process (row 34)', async () => {
      const endpoint = await deploy('stoppable', kind.start('stoppable'));
      const first = await stage.runsync(endpoint, {});
      const { id } = await stage.submit(endpoint, { sleepMs: 60_000 });
      await until(async () => (await stage.status(endpoint, id)).status === 'IN_PROGRESS', 'the job to run');
      const startedAt = Date.now();
      expect((await stage.call(`/v2/${endpoint}/cancel/${id}`, { method: 'POST' })).json).toMatchObject({ status: 'CANCELLED' });
      const next = await stage.runsync(endpoint, {});
      expect(Date.now() - startedAt).toBeLessThan(2_500);
      expect((next.output as { pid: number }).pid).toBe((first.output as { pid: number }).pid);
      expect((await stage.status(endpoint, id)).status).toBe('CANCELLED');
    });

    it('that cannot be stopped loses its process within the grace (row 35)', async () => {
      const endpoint = await deploy('blocking', kind.start('blocking'));
      const first = await stage.runsync(endpoint, {});
      const { id } = await stage.submit(endpoint, { sleepMs: 60_000 });
      await until(async () => (await stage.status(endpoint, id)).status === 'IN_PROGRESS', 'the job to run');
      await stage.call(`/v2/${endpoint}/cancel/${id}`, { method: 'POST' });
      const next = await stage.runsync(endpoint, {});
      expect(next).toMatchObject({ status: 'COMPLETED' });
      expect(next.output).not.toBe(first.output);
    });

    it('is a new process for every job when it asks for that (row 32)', async () => {
      const endpoint = await deploy('refresh', kind.start('pid', { refresh_worker: 'true' }));
      const pids = [];
      for (let n = 0; n < 3; n++) pids.push((await stage.runsync(endpoint, {})).output);
      expect(new Set(pids).size).toBe(3);
    });

    it('that fails its own check never gets a job, and the reason is shown (row 37)', async () => {
      const check =
        kind.name === 'Node'
          ? "registerFitnessCheck(function check_model() { throw new Error('no model here'); });\n"
          : '@runpod.serverless.register_fitness_check\ndef check_model():\n    raise RuntimeError("no model here")\n';
      const name = `unfit-${kind.name.toLowerCase()}`;
      const files = {
        'wherry.yaml': `name: ${name}\nhandler: ${kind.file}:pid\nbase: scratch\n`,
        [kind.file]: kind.source(check + kind.start('pid')),
      };
      const { code, stdout, stderr } = await stage.tryCli('deploy', stage.project(name, files));
      expect(code).not.toBe(0);
      expect(stdout + stderr).toMatch(/check_model failed: \w+: no model here/);
    });
  });
}
