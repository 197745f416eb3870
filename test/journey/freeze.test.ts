import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSpoken } from '../speaker.js';
import { openStage, pidsWith, type Stage, until } from '../stage.js';
import { frozenOf, untilState, workersOf } from './freezing.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

async function deploy(name: string, settings: string, handler = ECHO): Promise<void> {
  await stage.cli('deploy', stage.project(name, nodeProject(name, handler, settings)));
}
const change = (endpoint: string, settings: unknown) =>
  stage.call(`/api/v1/endpoints/${endpoint}`, { method: 'PATCH', body: { settings } });
const COUNTING = 'let n = 0;\nexport const handler = () => ++n;\n';
const COUNTING_PYTHON = 'n = 0\n\ndef handler(job):\n    global n\n    n += 1\n    return n\n';

interface Timed {
  readonly timeline?: Readonly<Record<string, number | string | null>>;
}

describe('a worker that was idle long enough', () => {
  it('is frozen, is shown, and serves the next job as the same process, without a cold start (rows 74, 78, B7, B8)', async () => {
    await deploy('cold', 'scale: { idle: 1s, max: 1 }\n', COUNTING);
    const first = await stage.runsync('cold', null);
    const [row] = await frozenOf(stage, 'cold');
    expect(row).toMatchObject({ id: first.workerId, frozenAt: expect.any(String) });
    expect(row?.memoryBytes).toBeGreaterThan(5_000_000);
    expect((await stage.call('/v2/cold/health')).json).toMatchObject({ workers: { idle: 1, ready: 1, running: 0, initializing: 0 } });
    expect(await stage.cli('status', 'cold')).toMatch(/serving r1, 1 frozen \(\d+ MB held, the oldest for \d+ m?s\), nothing waiting/);
    const second = await stage.runsync('cold', null);
    expect(second).toMatchObject({ status: 'COMPLETED', output: 2, workerId: first.workerId });
    const { decide, start, ready, take, done, ...rest } = (second as Timed).timeline ?? {};
    expect(rest).toMatchObject({ path: 'thaw', pull: null, create: null });
    expect([decide, start, ready, take, done].map(Number)).toEqual([decide, start, ready, take, done].map(Number).sort((a, b) => a - b));
    const lines = /frozen, \d+ MB held\n.* thawed after \d+\.\d s, in \d+ ms\n/;
    await until(async () => lines.test(await stage.cli('logs', '-e', 'cold')), 'the lines of its log');
    const [again] = await frozenOf(stage, 'cold');
    expect(again?.id).toBe(first.workerId);
    await stage.runsync('cold', null);
    expect((await stage.status('cold', second.id)) as Timed).toMatchObject({ timeline: { path: 'thaw', decide, ready } });
  });

  it('is stopped instead where the endpoint keeps none, frozen ones too when that changes (row 69)', async () => {
    await deploy('kept', 'scale: { idle: 1s, max: 1 }\n');
    const { workerId: id = '' } = await stage.runsync('kept', null);
    await frozenOf(stage, 'kept');
    await change('kept', { scale: { keep: 'none' } });
    expect(await untilState(stage, 'kept', { id, state: 'STOPPED' })).toMatchObject({ exitCode: 0, reason: 'it was idle long enough' });
    const { workerId: other = '' } = await stage.runsync('kept', null);
    expect((await untilState(stage, 'kept', { id: other, state: 'STOPPED' })).frozenAt).toBeNull();
  });

  it('stays awake while it belongs to the minimum, and is woken when it comes to (row 70)', async () => {
    await deploy('least', 'scale: { idle: 1s, min: 1, max: 2, type: requestCount, value: 1 }\n');
    const jobs = await Promise.all([1, 2].map(() => stage.submit('least', { sleepMs: 300 })));
    for (const { id } of jobs) await stage.finished('least', id);
    const settled = async () => (await workersOf(stage, 'least')).map(({ state }) => state).sort();
    await until(async () => (await settled()).join() === 'FROZEN,IDLE', 'one to be frozen');
    await change('least', { scale: { min: 2 } });
    await until(async () => (await settled()).join() === 'IDLE,IDLE', 'both to be awake');
  });

  it('counts toward max, and goes first when max is lowered (row 71)', async () => {
    await deploy('most', 'scale: { idle: 1s, max: 3, type: requestCount, value: 1 }\n');
    await Promise.all([1, 2, 3].map(() => stage.submit('most', { sleepMs: 300 })));
    const frozen = await frozenOf(stage, 'most', 3);
    await change('most', { scale: { max: 1 } });
    const [left] = await frozenOf(stage, 'most', 1);
    const oldest = [...frozen].sort((a, b) => Date.parse(b.frozenAt ?? '') - Date.parse(a.frozenAt ?? ''));
    expect(left?.frozenAt).toBe(oldest[0]?.frozenAt);
    await change('most', { scale: { max: 0 } });
    await until(async () => (await workersOf(stage, 'most')).length === 0, 'no worker');
  });

  it('is not woken for a job of low priority, which says so (B1)', async () => {
    await deploy('low', 'scale: { idle: 1s, max: 1 }\n');
    await stage.runsync('low', null);
    await frozenOf(stage, 'low');
    const { id } = await stage.submit('low', null, { policy: { lowPriority: true } });
    expect(await stage.status('low', id)).toMatchObject({ status: 'IN_QUEUE', waiting: { reason: 'low-priority' } });
    expect((await stage.runsync('low', null)).status).toBe('COMPLETED');
    await stage.finished('low', id);
  });

  it('ends with its release, and with its endpoint, and leaves no process', async () => {
    await deploy('ends', 'scale: { idle: 1s, max: 1 }\n');
    const { workerId: id = '' } = await stage.runsync('ends', null);
    await frozenOf(stage, 'ends');
    await deploy('ends', 'scale: { idle: 1s, max: 1 }\nenv: { NEW: "1" }\n');
    expect(await untilState(stage, 'ends', { id, state: 'STOPPED' })).toMatchObject({
      exitCode: 0,
      reason: expect.stringContaining('release'),
    });
    const { workerId: other = '' } = await stage.runsync('ends', null);
    await frozenOf(stage, 'ends');
    expect(pidsWith(`/${other}`)).not.toEqual([]);
    await stage.call('/api/v1/endpoints/ends', { method: 'DELETE' });
    expect(pidsWith(`/${other}`)).toEqual([]);
  });

  it('serves at once after longer than the server holds a poll, in Node and in Python (B7)', async () => {
    await deploy('long-node', 'scale: { idle: 1s, max: 1 }\n', COUNTING);
    const yaml = 'name: long-python\nhandler: handler.py:handler\nbase: scratch\nscale: { idle: 1s, max: 1 }\n';
    await stage.cli('deploy', stage.project('long-python', { 'wherry.yaml': yaml, 'handler.py': COUNTING_PYTHON }));
    const names = ['long-node', 'long-python'];
    const first = await Promise.all(names.map((name) => stage.runsync(name, null)));
    const rows = await Promise.all(names.map((name) => frozenOf(stage, name)));
    const last = Math.max(...rows.flat().map(({ frozenAt }) => Date.parse(frozenAt ?? '')));
    await until(() => Date.now() - last > 28_000, 'the hold to be over', 40_000);
    for (const [index, name] of names.entries()) {
      const job = await stage.runsync(name, null);
      expect(job).toMatchObject({ output: 2, workerId: first[index]?.workerId });
      expect(job.delayTime).toBeLessThan(500);
    }
  });
});

describe('a worker with any SDK, frozen while it polls', () => {
  it('gets an empty answer to what it asked before, and the job to what it asks after the thaw (worker-protocol §4.6)', async () => {
    const spoken = await openSpoken(stage, 'spoken', 'scale: { idle: 1s, max: 1 }\n');
    const first = await spoken.next();
    await until(() => !first.isAlive(), 'the proved candidate to go');
    const before = await stage.submit('spoken', 'before');
    const worker = await spoken.next();
    expect((await worker.take())?.id).toBe(before.id);
    await worker.done(before.id, { output: 1 });
    const held = worker.take();
    await untilState(stage, 'spoken', { id: worker.id, state: 'FROZEN' });
    expect(await held).toBeUndefined();
    // Sent before its process stood still, so to say.
    const late = worker.take();
    const { id } = await stage.submit('spoken', 'after');
    expect(await late).toBeUndefined();
    expect(await worker.take()).toMatchObject({ id, input: 'after' });
    await worker.done(id, { output: 2 });
    expect(await stage.finished('spoken', id)).toMatchObject({ workerId: worker.id, output: 2 });
  });

  it('is given up when it does not ask after the thaw, and the job goes to another one', async () => {
    const spoken = await openSpoken(stage, 'mute', 'scale: { idle: 1s, max: 1 }\n');
    const first = await spoken.next();
    await until(() => !first.isAlive(), 'the proved candidate to go');
    const before = await stage.submit('mute', null);
    const worker = await spoken.next();
    await worker.take();
    await worker.done(before.id, { output: 1 });
    await worker.take();
    await untilState(stage, 'mute', { id: worker.id, state: 'FROZEN' });
    const { id } = await stage.submit('mute', 'again');
    expect(await stage.status('mute', id)).toMatchObject({ waiting: { reason: 'starting', evidence: 'a frozen worker is being woken' } });
    await worker.ping();
    const other = await spoken.next();
    expect(await other.take()).toMatchObject({ id });
    await other.done(id, { output: 2 });
    expect(await untilState(stage, 'mute', { id: worker.id, state: 'STOPPED' })).toMatchObject({
      reason: expect.stringContaining('did not ask'),
    });
    expect(await stage.finished('mute', id)).toMatchObject({ workerId: other.id });
  });
});
