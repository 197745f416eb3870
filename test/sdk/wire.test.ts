import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needsPython } from '../needs.js';
import { ROOT, until } from '../stage.js';
import { type Asked, openPlatform, type Platform } from './platform.js';
import { type Kind, NODE, PYTHON } from './programs.js';

/** What both SDKs put on the wire, against a scripted platform and the recorded traffic of RunPod's own SDK. */
let platform: Platform;
let dir: string;
let worker: ChildProcess | undefined;
let printed: string;

beforeEach(async () => {
  platform = await openPlatform();
  dir = mkdtempSync(join(tmpdir(), 'wherry-wire-'));
  printed = '';
});
afterEach(async () => {
  worker?.kill('SIGKILL');
  worker = undefined;
  await platform.close();
  rmSync(dir, { recursive: true, force: true });
});

function run(kind: Kind, end: string, { args = [], isLocal = false }: { args?: readonly string[]; isLocal?: boolean } = {}): ChildProcess {
  const file = join(dir, kind.file);
  writeFileSync(file, kind.source + end);
  const [command = '', ...rest] = kind.command(file);
  const { base } = platform;
  const urls = {
    RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=CPU`,
    RUNPOD_POD_ID: 'w-abc',
    RUNPOD_AI_API_KEY: 'secretkey',
    RUNPOD_PING_INTERVAL: '1000',
  };
  worker = spawn(command, [...rest, ...args], {
    cwd: dir,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], ...kind.env, ...(!isLocal && urls) },
  });
  for (const stream of [worker.stdout, worker.stderr]) stream?.on('data', (part: Buffer) => (printed += part.toString()));
  return worker;
}

const asked = (verb: string) => platform.asked.filter((one) => one.verb === verb);
const takes = () => platform.asked.filter(({ verb }) => verb.startsWith('job-take'));
const posts = () => platform.asked.filter(({ body }) => body !== undefined);
const finals = () => asked('job-done').filter(({ body }) => !(body as { status?: string }).status);
const outputs = () => finals().map(({ body }) => (body as { output?: unknown }).output);
const finished = (count: number) => until(() => finals().length >= count, `${count} results; ${printed}`);
const exitOf = async (child: ChildProcess) => ((await once(child, 'exit')) as [number | null])[0];

interface Post {
  readonly verb: string;
  readonly jobId: string;
  readonly isStream: string | null;
  readonly body: unknown;
}

/** The jobs that a recording gave and what was posted for them. */
function readRecording(name: string): { readonly jobs: object[]; readonly posts: Post[] } {
  const lines = readFileSync(join(ROOT, `test/fixtures/transcripts/${name}.wire`), 'utf8').split('\n');
  const jobs = lines.flatMap((line) => /-> 200 (\{"id".*\})$/.exec(line)?.[1] ?? []).map((text) => JSON.parse(text) as object);
  const found = lines.flatMap((line) => {
    const [, path = '', text] = /POST (\S+) .* BODY (.*)$/.exec(line) ?? [];
    if (text === undefined) return [];
    const url = new URL(path, 'http://platform');
    const [, , , verb = '', , jobId = ''] = url.pathname.split('/');
    return [{ verb, jobId, isStream: url.searchParams.get('isStream'), body: comparable(JSON.parse(text)) }];
  });
  return { jobs, posts: found };
}

const toPost = ({ verb, jobId, query, body }: Asked): Post => ({ verb, jobId, isStream: query.get('isStream'), body: comparable(body) });

/** Without what differs between languages: types of errors, traces, versions, and how an object is written as text. */
function comparable(body: unknown): unknown {
  const { error, ...rest } = body as { error?: unknown };
  if (typeof error !== 'string') return body;
  if (error.startsWith('handler: ')) return { ...rest, error: error.split(' \ntraceback: ')[0] };
  if (error.startsWith("{'") || error.startsWith('{"message'))
    return { ...rest, error: error.replaceAll("'", '"').replace('None', 'null').replaceAll(' ', '') };
  if (!error.startsWith('{"error_type')) return body;
  const told = JSON.parse(error) as Record<string, string>;
  return { ...rest, error: { keys: Object.keys(told).sort(), message: told['error_message'], worker: told['worker_id'] } };
}

const hasPython = needsPython();

const RECORDINGS = [
  { name: 'sync-values', handler: 'recorded', settings: {} },
  { name: 'generator-plain', handler: 'tokens', settings: {} },
  { name: 'generator-aggregated', handler: 'tokens', settings: { return_aggregate_stream: 'true' } },
  { name: 'refresh-worker', handler: 'ok', settings: { refresh_worker: 'true' } },
] as const;

// Python is left out where there is no python3 of 3.9 or newer: the product does the same.
describe.each(hasPython ? [NODE, PYTHON] : [NODE])('on the wire the $name SDK', (kind) => {
  it.each(RECORDINGS)('posts what RunPod’s SDK posted in the recording $name (F4)', async ({ name, handler, settings }) => {
    const recording = readRecording(name);
    platform.jobs.push(...recording.jobs);
    run(kind, kind.start(handler, settings));
    await finished(recording.posts.filter(({ verb }) => verb === 'job-done').length);
    expect(posts().map(toPost)).toEqual(recording.posts);
  });

  it.skipIf(kind === NODE)('posts the same for a plain generator (rows 26, 27; Node’s two kinds share one path)', async () => {
    const recording = readRecording('generator-aggregated');
    platform.jobs.push(...recording.jobs);
    run(kind, kind.start('tokens_sync', { return_aggregate_stream: 'true' }));
    await finished(4);
    expect(posts().map(toPost)).toEqual(recording.posts);
  });

  it('repeats a chunk until it is taken, before it makes the next (row 26)', async () => {
    let refusals = 2;
    platform.decide = ({ verb, body }) =>
      verb === 'job-stream' && (body as { output: { tok: number } }).output.tok === 1 && refusals-- > 0 ? { status: 503 } : undefined;
    platform.jobs.push({ id: 'a', input: {} });
    run(kind, kind.start('tokens'));
    await finished(1);
    expect(asked('job-stream').map(({ body }) => (body as { output: { tok: number } }).output.tok)).toEqual([0, 1, 1, 1, 2]);
    expect(outputs()).toEqual([[]]);
  });

  it('fails a job whose chunk is refused or is not JSON, so that no stream has a gap (row 26, H)', async () => {
    platform.decide = ({ verb, jobId }) => (verb === 'job-stream' && jobId === 'refused' ? { status: 413 } : undefined);
    platform.jobs.push({ id: 'refused', input: 0 }, { id: 'nan', input: 0 });
    run(kind, kind.start('odd'));
    await finished(2);
    expect(asked('job-stream').map(({ jobId, body }) => [jobId, (body as { output: unknown }).output])).toEqual([
      ['refused', 1],
      ['nan', 1],
    ]);
    const errors = finals().map(({ body }) => String((body as { error: string }).error));
    expect(errors[0]).toMatch(/^handler: .*413/);
    expect(errors[1]).toMatch(/^handler: .*JSON/);
    expect(finals().map(({ query }) => query.get('isStream'))).toEqual(['true', 'true']);
  });

  it('aggregates each chunk as it was yielded, also when the generator changes it later (row 27)', async () => {
    platform.jobs.push({ id: 'a', input: 'same object' });
    run(kind, kind.start('odd', { return_aggregate_stream: 'true' }));
    await finished(1);
    expect(outputs()).toEqual([[{ n: 0 }, { n: 1 }]]);
  });

  it('posts progress before the result and none after it, and only the newest that waits (row 28)', async () => {
    platform.decide = ({ body }) => ((body as { status?: string } | undefined)?.status ? { delayMs: 150 } : undefined);
    platform.jobs.push({ id: 'a', input: null });
    run(kind, kind.start('tells'));
    await finished(1);
    platform.jobs.push({ id: 'b', input: null });
    await finished(2);
    const told = posts().filter(({ jobId }) => jobId === 'a');
    expect(told[0]?.body).toMatchObject({ status: 'IN_PROGRESS', output: { step: expect.any(Number) } });
    expect(told.slice(-2).map(({ body }) => body)).toEqual([{ status: 'IN_PROGRESS', output: { step: 'last' } }, { output: 'told' }]);
    expect(told.length).toBeLessThan(10);
    expect(printed).toContain('a progress value cannot be sent');
  });

  it('holds as many jobs as its modifier says, asks for the rest, and pings them all (rows 23, 36)', async () => {
    const slow = { sleepMs: 2_500 };
    platform.jobs.push({ id: 'a', input: slow }, { id: 'b', input: slow });
    run(kind, kind.start('waits', { concurrency_modifier: '() => 3' }));
    await until(() => asked('ping').some(({ query }) => query.get('job_id') === 'a,b'), 'a ping with both jobs');
    const [first, second] = takes();
    expect([first?.verb, first?.query.get('batch_size'), first?.query.get('job_in_progress')]).toEqual(['job-take-batch', '3', '0']);
    expect([second?.verb, second?.query.get('job_in_progress')]).toEqual(['job-take', '1']);
    platform.jobs.push({ id: 'c', input: { sleepMs: 0 } });
    await finished(3);
    expect(outputs()[0]).toBe('c');
    expect(outputs().slice(1).sort()).toEqual(['a', 'b']);
  });

  it('stops one job of several, which posts nothing and cleans up undisturbed, and frees its place (row 34, H)', async () => {
    platform.jobs.push({ id: 'a', input: { sleepMs: 60_000 } }, { id: 'b', input: { sleepMs: 3_000 } });
    const child = run(kind, kind.start('works', { concurrency_modifier: '() => 3' }));
    await until(() => asked('job-stop').length > 0, 'the stop channel');
    expect(platform.asked.findIndex(({ verb }) => verb === 'job-stop')).toBeGreaterThan(0);
    platform.stops.push('a', 'unknown');
    await until(() => asked('job-stop').length > 1, 'the next stop poll');
    platform.stops.push('a');
    await finished(1);
    await until(() => printed.includes('cleaned up a'), 'the handler to clean up');
    platform.jobs.push({ id: 'c', input: { sleepMs: 0 } });
    await finished(2);
    expect(outputs()).toEqual(['b', 'c']);
    expect(child.exitCode).toBeNull();
    await until(() => asked('ping').at(-1)?.query.get('job_id') === null, 'a ping without jobs');
  });

  it('does not listen for stops with a handler that cannot be stopped (row 35)', async () => {
    platform.jobs.push({ id: 'a', input: { sleepMs: 1_200 } });
    run(kind, kind.start('waits'));
    await finished(1);
    expect(asked('job-stop')).toEqual([]);
  });

  it('takes no job after a refresh, finishes what it holds, and ends with 0 (row 32)', async () => {
    platform.jobs.push({ id: 'a', input: { sleepMs: 1_000 } }, { id: 'b', input: { sleepMs: 100, refresh: true } });
    const ended = exitOf(run(kind, kind.start('refreshes', { concurrency_modifier: '() => 3' })));
    await until(() => platform.dropped.includes('job-take'), 'the worker to close its poll');
    platform.jobs.push({ id: 'late', input: { sleepMs: 0 } });
    expect(await ended).toBe(0);
    expect(finals().map(({ body }) => body)).toEqual([{ output: { id: 'b' }, stopPod: true }, { output: 'a' }]);
    expect(platform.jobs).toHaveLength(1);
  });

  it('finishes several jobs after SIGTERM and takes no other (row 33)', async () => {
    platform.jobs.push({ id: 'a', input: { sleepMs: 1_500 } }, { id: 'b', input: { sleepMs: 1_500 } });
    const child = run(kind, kind.start('works', { concurrency_modifier: '() => 3' }));
    await until(() => takes().length >= 2, 'the jobs to run');
    const ended = exitOf(child);
    child.kill('SIGTERM');
    await until(() => platform.dropped.includes('job-take'), 'the worker to close its poll');
    platform.jobs.push({ id: 'late', input: { sleepMs: 0 } });
    expect(await ended).toBe(0);
    expect(outputs().sort()).toEqual(['a', 'b']);
  });

  it('dies at once with a handler that ends the process, posting nothing (row 31, H)', async () => {
    platform.jobs.push({ id: 'a', input: { sleepMs: 60_000 } }, { id: 'b', input: { sleepMs: 300, code: 7 } });
    const startedAt = performance.now();
    expect(await exitOf(run(kind, kind.start('ends', { concurrency_modifier: '() => 3' })))).toBe(7);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    expect(posts()).toEqual([]);
  });

  it('reports the first fitness check that fails and ends with 1, without a take (row 37)', async () => {
    const [good, bad] =
      kind === NODE
        ? [
            "registerFitnessCheck(() => console.log('first ran'));",
            "registerFitnessCheck(async function has_model() { throw new Error('x'.repeat(400)); });",
          ]
        : [
            '@runpod.serverless.register_fitness_check\ndef first(): print("first ran", flush=True)',
            '@runpod.serverless.register_fitness_check\nasync def has_model(): raise RuntimeError("x" * 400)',
          ];
    expect(await exitOf(run(kind, `${good}\n${bad}\n${kind.start('ok')}`))).toBe(1);
    expect(printed).toContain('first ran');
    expect(platform.asked.map(({ verb }) => verb)).toEqual(['ping']);
    const { query } = platform.asked[0] ?? { query: new URLSearchParams() };
    expect([query.get('status'), query.get('check')]).toEqual(['unhealthy', 'has_model']);
    expect(query.get('reason')).toMatch(/^\w*Error: x+$/);
    expect(query.get('reason')).toHaveLength(256);
  });

  it('runs a generator to its end without a server, with both spellings of the flag', async () => {
    for (const args of [['--test_input', '{"input": {}}'], ['--test_input={"input": {"raise": 1}}']]) {
      const child = run(kind, kind.start('tokens'), { args, isLocal: true });
      const [code] = (await once(child, 'close')) as [number];
      expect(code).toBe(args.length === 2 ? 0 : 1);
    }
    const [good = '', bad = ''] = printed.trim().split('\n');
    expect(JSON.parse(good)).toEqual({ output: [{ tok: 0 }, { tok: 1 }, { tok: 2 }] });
    expect(JSON.parse(bad)).toEqual({ error: expect.stringContaining('genboom') });
  });
});

describe('on the wire the Node SDK', () => {
  it.each([
    ['a generator of a plain function', '(function* () {})()'],
    ['a Map', 'new Map([[1, 2]])'],
    ['a BigInt inside', '{ n: 10n }'],
    ['bytes', '{ data: Buffer.from("x") }'],
  ])('fails a job that returns %s, because JSON cannot hold it (H)', async (_name, value) => {
    platform.jobs.push({ id: 'a', input: null });
    run(NODE, `const odd_value = () => (${value});\n${NODE.start('odd_value')}`);
    await finished(1);
    expect(finals()[0]?.body).toEqual({ error: expect.stringContaining('cannot be sent as JSON') });
  });

  it('sends an object that turns itself into JSON as that', async () => {
    platform.jobs.push({ id: 'a', input: null });
    run(NODE, `const dated = () => new Date(0);\n${NODE.start('dated')}`);
    await finished(1);
    expect(outputs()).toEqual(['1970-01-01T00:00:00.000Z']);
  });
});

describe.skipIf(!hasPython)('on the wire the Python SDK', () => {
  it('lets a handler use multiprocessing: its functions are found again (H)', async () => {
    platform.jobs.push({ id: 'a', input: 5 });
    const source = `
import multiprocessing
def double(n): return n * 2
def forked(job):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(double, (job["input"],))
`;
    run(PYTHON, source + PYTHON.start('forked'));
    await finished(1);
    expect(outputs()).toEqual([10]);
  });

  it('runs plain functions side by side in threads (row 36)', async () => {
    const source = `
gate = threading.Barrier(3, timeout=20)
def meets(job):
    gate.wait()
    return job["id"]
`;
    platform.jobs.push(...['a', 'b', 'c'].map((id) => ({ id, input: null })));
    run(PYTHON, source + PYTHON.start('meets', { concurrency_modifier: '() => 3' }));
    await finished(3);
    expect(outputs().sort()).toEqual(['a', 'b', 'c']);
  });

  it('answers a cancellation that nobody asked for as an error, not with silence (H)', async () => {
    platform.jobs.push({ id: 'a', input: null });
    run(PYTHON, `async def cancels(job): raise asyncio.CancelledError("own")\n${PYTHON.start('cancels')}`);
    await finished(1);
    expect(finals()[0]?.body).toEqual({ error: expect.stringContaining('CancelledError') });
  });
});
