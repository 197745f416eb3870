import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

interface WorkerRow {
  readonly id: string;
  readonly state: string;
  readonly release: number;
  readonly isCandidate: boolean;
  readonly reason: string | null;
  readonly exitCode: number | null;
  readonly createdAt: string;
  readonly stoppedAt: string | null;
  readonly idleSince: string | null;
}

async function workers(endpoint: string, all = false): Promise<readonly WorkerRow[]> {
  return ((await stage.call(`/api/v1/endpoints/${endpoint}/workers?all=${all}`)).json as { items: WorkerRow[] }).items;
}

async function deploy(name: string, settings: string, handler = ECHO): Promise<void> {
  await stage.cli('deploy', stage.project(name, nodeProject(name, handler, settings)));
}

describe('scaling', () => {
  it('keeps min workers ready without traffic (row 70)', async () => {
    await deploy('min', 'scale: { min: 2, max: 3 }\n');
    await until(async () => (await workers('min')).filter(({ state }) => state === 'IDLE').length === 2, 'two idle workers');
  });

  it('starts from zero, serves within the idle time without a cold start, then goes to zero (rows 68, 69, 74)', async () => {
    await deploy('zero', 'scale: { idle: 2s, keep: none }\n');
    await until(async () => (await workers('zero')).length === 0, 'no worker');
    const first = await stage.runsync('zero', { value: 1 });
    const second = await stage.runsync('zero', { value: 2 });
    expect(second.workerId).toBe(first.workerId);
    expect([first, second].map((job) => 'timeline' in job)).toEqual([true, false]);
    await until(async () => (await workers('zero')).length === 0, 'no worker again');
    const [stopped] = (await workers('zero', true)).filter(({ id }) => id === first.workerId);
    expect(stopped?.state).toBe('STOPPED');
    const idleMs = Date.parse(stopped?.stoppedAt ?? '') - Date.parse(stopped?.idleSince ?? '');
    expect(idleMs).toBeGreaterThanOrEqual(2_000);
    expect(idleMs).toBeLessThan(3_000);
  });

  it('never runs more than max workers, whatever the queue (rows 71, 73)', async () => {
    await deploy('most', 'scale: { max: 2, type: requestCount, value: 1 }\n');
    let most = 0;
    const jobs = await Promise.all(Array.from({ length: 100 }, () => stage.submit('most', { sleepMs: 20 })));
    await until(async () => {
      most = Math.max(most, (await workers('most')).filter(({ isCandidate }) => !isCandidate).length);
      const { jobs: counts } = (await stage.call('/v2/most/health')).json as { jobs: { completed: number } };
      return counts.completed === jobs.length;
    }, 'all jobs to be done');
    expect(most).toBe(2);
  });

  it('starts nobody for jobs of low priority, extra workers neither, until a normal one comes (row 57)', async () => {
    await deploy('low', 'scale: { max: 2, idle: 1s, type: requestCount, value: 1, extra: 1, keep: none }\n');
    await until(async () => (await workers('low')).length === 0, 'no worker');
    const known = (await workers('low', true)).length;
    const low = await stage.submit('low', { value: 1 }, { policy: { lowPriority: true } });
    // Longer than the control loop takes for several looks.
    await stage.runsync('zero', { value: 1 });
    await until(async () => (await workers('zero')).length === 0, 'no worker of another endpoint');
    expect(await stage.status('low', low.id)).toMatchObject({ status: 'IN_QUEUE', waiting: { reason: 'low-priority' } });
    expect(await workers('low', true)).toHaveLength(known);
    expect((await stage.runsync('low', { value: 2 })).status).toBe('COMPLETED');
    expect((await stage.finished('low', low.id)).status).toBe('COMPLETED');
  });

  it('adds a worker only when a job has waited longer than the value (row 72)', async () => {
    await deploy('delay', 'scale: { max: 3, value: 2 }\n');
    const first = await stage.submit('delay', { sleepMs: 6_000 });
    await until(async () => (await stage.status('delay', first.id)).status === 'IN_PROGRESS', 'the first job to run');
    const second = await stage.submit('delay', { value: 1 });
    const done = await stage.finished('delay', second.id);
    expect(done.workerId).not.toBe((await stage.status('delay', first.id)).workerId);
    expect(done.delayTime).toBeGreaterThanOrEqual(2_000);
    expect(done.delayTime).toBeLessThan(5_500);
  });

  it('stops an endpoint whose workers do not become ready in time, with the reason (row 75)', async () => {
    const dir = stage.project(
      'slow',
      nodeProject('slow', 'await new Promise((r) => setTimeout(r, 60_000));\nexport const handler = () => 1;\n', 'limits: { init: 1s }\n'),
    );
    const result = await stage.tryCli('deploy', dir);
    expect(result.code).toBe(6);
    expect(result.stderr).toContain('not ready within 1 s');
  });

  it('waits longer and longer between starts of a crashing worker, and shows why (rows 76, 82)', async () => {
    const crashing =
      "import { existsSync, writeFileSync } from 'node:fs';\nif (existsSync(process.env.FLAG)) { console.error('out of luck'); process.exit(3); }\nexport const handler = () => 1;\n";
    const flag = `${stage.dir}/crash-flag`;
    await deploy('crash', `env: { FLAG: ${flag} }\n`, crashing);
    await until(async () => (await workers('crash')).length === 0, 'the candidate to retire');
    stage.project('.', { 'crash-flag': '' });
    await stage.submit('crash', null);
    const stopped = await until(async () => {
      const rows = (await workers('crash', true)).filter(({ exitCode }) => exitCode === 3);
      return rows.length >= 4 ? rows : undefined;
    }, 'four crashes');
    const gaps = stopped.slice(1).map((row, index) => Date.parse(row.createdAt) - Date.parse(stopped[index]?.stoppedAt ?? ''));
    expect(gaps[2]).toBeGreaterThan((gaps[1] ?? 0) + 500);
    expect(await stage.cli('logs', '-e', 'crash')).toContain('out of luck');
  });

  it('holds the poll of an idle worker instead of answering at once, and wakes it for a job (row 22)', async () => {
    await deploy('held', 'scale: { min: 1, max: 1 }\n');
    await until(async () => (await workers('held')).some(({ state }) => state === 'IDLE'), 'an idle worker');
    const delays: number[] = [];
    for (let n = 0; n < 10; n++) delays.push((await stage.runsync('held', { value: n })).delayTime ?? 1_000);
    expect(delays.sort((a, b) => a - b)[5]).toBeLessThan(100);
  });

  it('answers the polls of a draining worker at once, so that it ends by itself (row 33)', async () => {
    await deploy('drain', 'scale: { min: 1, max: 1 }\n');
    const [worker] = await until(async () => {
      const rows = (await workers('drain')).filter(({ state }) => state === 'IDLE');
      return rows.length > 0 ? rows : undefined;
    }, 'an idle worker');
    await stage.call('/api/v1/endpoints/drain', { method: 'PATCH', body: { settings: { scale: { min: 0, max: 0 } } } });
    const gone = await until(
      async () => (await workers('drain', true)).find(({ id, state }) => id === worker?.id && state === 'STOPPED'),
      'the worker to stop',
    );
    expect(gone.exitCode).toBe(0);
  });
});
