import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';
import { nodeProject } from './projects.js';

/** Room for two workers of 128 MiB; starts are not what is short. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage({ WHERRY_CAPACITY_MEMORY: '256MiB', WHERRY_CAPACITY_CPU: '4', WHERRY_CAPACITY_GPU: '0', WHERRY_STARTS: '50' });
});
afterAll(() => stage.close());

/** Ends when the file that it is told exists. */
const HELD = `import { existsSync } from 'node:fs';
export async function handler({ input }) {
  while (input.until && !existsSync(input.until)) await new Promise((done) => setTimeout(done, 20));
  return 'done';
}
`;

interface WorkerRow {
  readonly id: string;
  readonly state: string;
  readonly reason: string | null;
  readonly isCandidate: boolean;
  readonly createdAt: string;
  readonly readyAt: string | null;
  readonly idleSince: string | null;
}

const on = (at: Stage) => ({
  workers: async (endpoint: string, all = false) =>
    ((await at.call(`/api/v1/endpoints/${endpoint}/workers?all=${all}`)).json as { items: WorkerRow[] }).items,
  throttled: async (endpoint: string) =>
    ((await at.call(`/v2/${endpoint}/health`)).json as { workers: { throttled: number } }).workers.throttled,
  scale: (endpoint: string, scale: object) => at.call(`/api/v1/endpoints/${endpoint}`, { method: 'PATCH', body: { settings: { scale } } }),
});
const workers = (endpoint: string, all?: boolean) => on(stage).workers(endpoint, all);
const throttled = (endpoint: string) => on(stage).throttled(endpoint);
const scale = (endpoint: string, change: object) => on(stage).scale(endpoint, change);

async function deploy(name: string, settings: string): Promise<void> {
  const yaml = `scale: { keep: none, ${settings} }\nresources: { memory: 128MiB }\n`;
  await stage.cli('deploy', stage.project(name, nodeProject(name, HELD, yaml)));
  await until(async () => (await workers(name)).length === 0, `no worker of ${name}`);
}

interface Waiting {
  readonly reason: string;
  readonly evidence: string;
}
const waitingOf = async (endpoint: string, id: string) => ((await stage.status(endpoint, id)) as unknown as { waiting?: Waiting }).waiting;

const oneThrottled = (endpoint: string) =>
  until(async () => (await workers(endpoint)).find(({ state }) => state === 'THROTTLED'), `a throttled worker of ${endpoint}`);

describe('a host that is full', () => {
  const flag = (name: string) => join(stage.dir, name);
  const fill = async (name: string) => {
    const jobs = await Promise.all([1, 2].map(() => stage.submit('large', { until: flag(name) })));
    await until(async () => (await workers('large')).filter(({ state }) => state === 'RUNNING').length === 2, 'two busy workers');
    return jobs;
  };

  beforeAll(async () => {
    await deploy('large', 'max: 2, idle: 1s, type: requestCount, value: 1');
    await deploy('other', 'max: 2, idle: 1s, type: requestCount, value: 1');
  });

  it('throttles a wanted worker, says what it needs and what there is, and starts the same one when there is room (rows 77, 82, B1)', async () => {
    const jobs = await fill('first');
    const waiting = await stage.submit('other', {});
    const worker = await oneThrottled('other');
    expect(worker.reason).toBe('it needs 128 MiB of memory, 0 MiB is free');
    expect(await throttled('other')).toBe(1);
    expect(await waitingOf('other', waiting.id)).toMatchObject({
      reason: 'no-capacity',
      evidence: expect.stringContaining('it needs 128 MiB of memory, 0 MiB is free'),
    });
    const status = JSON.parse(await stage.cli('status', '--json')) as { host: { used: object; total: object; throttled: number } };
    expect(status.host).toMatchObject({
      total: { cpu: 4, memoryBytes: 256 * 2 ** 20, gpu: 0 },
      used: { memoryBytes: 256 * 2 ** 20 },
      throttled: 1,
    });
    writeFileSync(flag('first'), '');
    expect((await stage.finished('other', waiting.id)).workerId).toBe(worker.id);
    for (const { id } of jobs) expect((await stage.finished('large', id)).status).toBe('COMPLETED');
    expect(await throttled('other')).toBe(0);
  });

  it('lets a throttled worker go that is not wanted any more (row 82)', async () => {
    await until(async () => (await workers('other')).length === 0, 'no worker of other');
    await fill('second');
    await stage.submit('other', {});
    const { id } = await oneThrottled('other');
    await stage.call('/v2/other/purge-queue', { method: 'POST' });
    await until(async () => (await throttled('other')) === 0, 'nobody throttled');
    const gone = (await workers('other', true)).find((worker) => worker.id === id);
    expect(gone).toMatchObject({ state: 'STOPPED', reason: 'it is not wanted any more' });
    writeFileSync(flag('second'), '');
  });

  it('lets a candidate wait, says so, and proves its release when there is room (row 82)', async () => {
    await until(async () => (await workers('large')).length === 0, 'no worker of large');
    await fill('candidate');
    const yaml = 'scale: { keep: none, max: 2, idle: 1s, type: requestCount, value: 1 }\nresources: { memory: 128MiB }\n';
    const changed = nodeProject('other', `${HELD}export const changed = 1;\nconsole.log(changed);\n`, yaml);
    const deployed = stage.tryCli('deploy', stage.project('other', changed));
    const candidate = await oneThrottled('other');
    expect(candidate).toMatchObject({ isCandidate: true, reason: 'it needs 128 MiB of memory, 0 MiB is free' });
    // The command says it after a few seconds.
    await until(async () => Date.now() - Date.parse(candidate.createdAt) > 4_000, 'the command to have looked');
    writeFileSync(flag('candidate'), '');
    expect(await deployed).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('has no room on the host yet: it needs 128 MiB of memory'),
    });
    await until(async () => (await workers('other')).length === 0, 'no worker of other');
  });

  it('keeps a throttled worker over a kill of the server (E2)', async () => {
    await until(async () => (await workers('large')).length === 0, 'no worker of large');
    await fill('third');
    const waiting = await stage.submit('other', {});
    const { id } = await oneThrottled('other');
    await stage.kill();
    await stage.restart();
    expect((await oneThrottled('other')).id).toBe(id);
    writeFileSync(flag('third'), '');
    expect((await stage.finished('other', waiting.id)).workerId).toBe(id);
  });

  it('stops the longest idle worker beyond the min of its endpoint when a job of another one needs its room', async () => {
    await until(async () => (await workers('other')).length + (await workers('large')).length === 0, 'no worker');
    await scale('large', { idleMs: 3_600_000, min: 1 });
    const ready = async () => (await workers('large')).filter(({ state }) => state === 'IDLE');
    await until(async () => (await ready()).length === 1, 'the min of large');
    await Promise.all([1, 2].map(() => stage.submit('large', { until: flag('both') })));
    await until(async () => (await workers('large')).filter(({ state }) => state === 'RUNNING').length === 2, 'both of large');
    writeFileSync(flag('both'), '');
    const idle = await until(async () => ((await ready()).length === 2 ? await ready() : undefined), 'two idle workers');
    const [longest, other] = idle.toSorted((a, b) => Date.parse(a.idleSince ?? '') - Date.parse(b.idleSince ?? ''));
    expect((await stage.runsync('other', {})).status).toBe('COMPLETED');
    const stopped = (await workers('large', true)).find(({ id }) => id === longest?.id);
    expect(stopped?.reason).toBe("its room is for a worker of 'other'");
    expect((await ready()).map(({ id }) => id)).toEqual([other?.id]);
    await until(async () => (await workers('other')).length === 0, 'no worker of other');
  });

  it('lets frozen workers go first when a job of another endpoint needs their room', async () => {
    await scale('large', { min: 0, keep: 'freeze', idleMs: 1_000 });
    await until(async () => {
      const states = (await workers('large')).map(({ state }) => state);
      return states.length > 0 && states.every((state) => state === 'FROZEN');
    }, 'the worker to be frozen');
    const flag = join(stage.dir, 'fourth');
    const [frozen] = await workers('large');
    const jobs = await Promise.all([1, 2].map(() => stage.submit('other', { until: flag })));
    await until(async () => (await workers('other')).filter(({ state }) => state === 'RUNNING').length === 2, 'both of other');
    const gone = (await workers('large', true)).find(({ id }) => id === frozen?.id);
    expect(gone).toMatchObject({ state: 'STOPPED', reason: "its room is for a worker of 'other'" });
    writeFileSync(flag, '');
    for (const { id } of jobs) expect((await stage.finished('other', id)).status).toBe('COMPLETED');
    await scale('large', { keep: 'none' });
    await until(async () => (await workers('other')).length === 0, 'no worker of other');
  });

  it('lets a release be replaced whose min fills it', async () => {
    await scale('large', { min: 2, idleMs: 1_000 });
    await until(async () => (await workers('large')).filter(({ state }) => state === 'IDLE').length === 2, 'two idle workers');
    const changed = nodeProject(
      'large',
      HELD.replace("'done'", "'done again'"),
      'scale: { keep: none, min: 2, max: 2 }\nresources: { memory: 128MiB }\n',
    );
    await stage.cli('deploy', stage.project('large', changed));
    const { activeRelease } = (await stage.call('/api/v1/endpoints/large')).json as { activeRelease: number };
    expect(activeRelease).toBe(2);
    await until(
      async () => (await workers('large')).filter(({ state }) => state === 'IDLE').length === 2,
      'two workers of the new release',
    );
  });
});

describe('many workers at once', () => {
  it('start a few at a time, in turns with those of other endpoints', async () => {
    const few = await openStage({ WHERRY_STARTS: '1', WHERRY_CAPACITY_MEMORY: '8GiB' });
    try {
      const slow = `await new Promise((done) => setTimeout(done, 300));\n${HELD}`;
      for (const name of ['many', 'one']) {
        const yaml = 'scale: { max: 5, idle: 2s, type: requestCount, value: 1, keep: none }\n';
        await few.cli('deploy', few.project(name, nodeProject(name, slow, yaml)));
        await until(async () => (await on(few).workers(name)).length === 0, 'no worker');
      }
      const flag = join(few.dir, 'flag');
      const firstReady = Math.max(...(await on(few).workers('many', true)).map((worker) => Date.parse(worker.readyAt ?? '')));
      const jobs = await Promise.all(Array.from({ length: 5 }, () => few.submit('many', { until: flag })));
      await until(async () => (await on(few).throttled('many')) > 0, 'a throttled worker');
      const single = await few.submit('one', {});
      const starting = async (name: string) =>
        (await on(few).workers(name)).filter(({ state }) => state === 'INITIALIZING').map(({ id }) => id);
      let most = 0;
      await until(async () => {
        // Those that start before and after the others are looked at do so meanwhile.
        const [before, other, after] = [await starting('many'), await starting('one'), await starting('many')];
        most = Math.max(most, before.filter((id) => after.includes(id)).length + other.length);
        return (await few.status('one', single.id)).status === 'COMPLETED';
      }, 'the single job');
      expect(most).toBe(1);
      // It came when five of the other endpoint were wanted and the first of them had started.
      const readyAt = async (name: string) => (await on(few).workers(name, true)).map((worker) => Date.parse(worker.readyAt ?? ''));
      const own = Math.max(...(await readyAt('one')));
      expect((await readyAt('many')).filter((at) => at > firstReady && at < own).length).toBeLessThanOrEqual(2);
      writeFileSync(flag, '');
      for (const { id } of jobs) expect((await few.finished('many', id)).status).toBe('COMPLETED');
    } finally {
      await few.close();
    }
  });

  it('are refused settings that are no capacity', async () => {
    await expect(openStage({ WHERRY_CAPACITY_MEMORY: 'much' })).rejects.toThrow(/CONFIG_INVALID.*WHERRY_CAPACITY_MEMORY/s);
    await expect(openStage({ WHERRY_STARTS: '0' })).rejects.toThrow(/CONFIG_INVALID.*WHERRY_STARTS/s);
  });
});
