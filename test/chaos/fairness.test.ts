import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage, until } from '../stage.js';

let stage: Stage;
afterEach(() => stage.close());

/** Waits until the flag is there; says how many jobs ran at the same time in the worker process. */
const COUNTING = `
import { existsSync } from 'node:fs';
let running = 0;
export async function handler() {
  running++;
  const most = running;
  while (!existsSync(process.env.FLAG)) await new Promise((resolve) => setTimeout(resolve, 20));
  running--;
  return { pid: process.pid, most };
}
`;

interface Health {
  readonly jobs: { readonly inQueue: number; readonly completed: number };
}

interface WorkerRow {
  readonly id: string;
  readonly state: string;
}

const workersOf = async (name: string) => ((await stage.call(`/api/v1/endpoints/${name}/workers`)).json as { items: WorkerRow[] }).items;
const patch = (name: string, settings: object) => stage.call(`/api/v1/endpoints/${name}`, { method: 'PATCH', body: { settings } });

/** Jain's index: 1 when all get the same, 1/n when one gets all. */
function jain(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  return sum ** 2 / (shares.length * shares.reduce((total, share) => total + share ** 2, 0));
}

describe('tenants of one server', () => {
  it('are served alike while one floods a hundred times as much (B8)', async () => {
    stage = await openStage();
    const quiet = Array.from({ length: 8 }, (_, n) => `quiet-${n}`);
    for (const name of [...quiet, 'flood']) {
      await stage.cli('deploy', stage.project(name, nodeProject(name, ECHO, 'scale: { min: 1, max: 1, idle: 1h }\n')));
    }
    let isFlooding = true;
    const flood = Promise.all(Array.from({ length: 800 }, () => stage.submit('flood', { sleepMs: 2 })));
    const served = quiet.map(async (name) => {
      let count = 0;
      for (; isFlooding; count++) expect(await stage.runsync(name, { value: count })).toMatchObject({ status: 'COMPLETED', output: count });
      return count;
    });
    await flood;
    await until(
      async () => ((await stage.call('/v2/flood/health')).json as Health).jobs.completed >= 200,
      'a part of the flood to be served',
    );
    isFlooding = false;
    const counts = await Promise.all(served);
    expect(jain(counts), `served: ${counts}`).toBeGreaterThanOrEqual(0.95);
    expect(Math.min(...counts)).toBeGreaterThan(5);
    await stage.call('/v2/flood/purge-queue', { method: 'POST' });
  }, 90_000);

  it('run low-priority jobs last, but not later than the endpoint allows (row 57, B8)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('low', nodeProject('low', ECHO, 'scale: { min: 1, max: 1, idle: 1h }\n')));
    const low = await stage.submit('low', { value: 'low' }, { policy: { lowPriority: true } });
    await stage.finished('low', low.id);

    await stage.submit('low', { sleepMs: 1_000 });
    const starved = await stage.submit('low', { value: 'starved' }, { policy: { lowPriority: true } });
    let isOver = false;
    const normal = (async () => {
      while (!isOver) {
        await stage.submit('low', { sleepMs: 100 });
        await until(async () => ((await stage.call('/v2/low/health')).json as Health).jobs.inQueue < 5, 'the queue');
      }
    })();
    const statusOf = async () => (await stage.status('low', starved.id)).status;
    await until(async () => ((await stage.call('/v2/low/health')).json as Health).jobs.completed >= 12, 'ten others');
    expect(await statusOf()).toBe('IN_QUEUE');
    await patch('low', { limits: { lowPriorityWaitMs: 1 } });
    expect(await stage.finished('low', starved.id)).toMatchObject({ status: 'COMPLETED', output: 'starved' });
    isOver = true;
    await normal;
  }, 60_000);
});

describe('a burst at zero workers', () => {
  it('is held up to 500 jobs a worker and refused above that with Retry-After; no worker gets two jobs at once (row 62, E6)', async () => {
    stage = await openStage();
    const flag = join(stage.dir, 'flag');
    await stage.cli(
      'deploy',
      stage.project('burst', nodeProject('burst', COUNTING, `scale: { max: 1, idle: 1s }\nenv: { FLAG: ${flag} }\n`)),
    );
    await until(async () => (await workersOf('burst')).length === 0, 'no worker');
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, () => stage.call('/v2/burst/run', { method: 'POST', body: { input: {} } })),
    );
    const held = answers.filter(({ status }) => status === 200);
    const refused = answers.filter(({ status }) => status === 429);
    expect(held.length + refused.length).toBe(1_000);
    // The one that a worker took made room for another.
    expect([500, 501]).toContain(held.length);
    for (const { headers } of refused) expect(headers.get('retry-after')).toMatch(/^\d+$/);
    writeFileSync(flag, '');
    await until(
      async () => ((await stage.call('/v2/burst/health')).json as Health).jobs.completed >= held.length,
      'the burst to be served',
    );
    const ends = await Promise.all(held.map(({ json }) => stage.finished('burst', (json as { id: string }).id)));
    const outputs = ends.map(({ status, output }) => ({ status, ...(output as { pid: number; most: number }) }));
    expect(new Set(outputs.map(({ status, most }) => `${status} ${most}`))).toEqual(new Set(['COMPLETED 1']));
    expect(new Set(outputs.map(({ pid }) => pid)).size).toBe(1);
  }, 90_000);
});

describe('a server that is killed while it scales', () => {
  const ready = async () => (await workersOf('scales')).filter(({ state }) => state === 'IDLE' || state === 'RUNNING');

  it('has the same target afterwards, up and down (E2)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('scales', nodeProject('scales', ECHO, 'scale: { min: 1, max: 6, idle: 1h }\n')));
    await patch('scales', { scale: { min: 5 } });
    await until(async () => (await workersOf('scales')).length >= 2, 'more workers to start');
    await stage.kill();
    await stage.restart();
    await until(async () => (await ready()).length === 5, 'five workers');
    const up = new Set((await workersOf('scales')).map(({ id }) => id));
    expect(up.size).toBe(5);

    await patch('scales', { scale: { min: 2, max: 2 } });
    await stage.kill();
    await stage.restart();
    await until(async () => (await workersOf('scales')).length === 2, 'two workers');
    for (const { id } of await workersOf('scales')) expect(up).toContain(id);
  }, 60_000);
});
