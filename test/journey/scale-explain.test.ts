import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecisionView } from '../../src/api/scaling.js';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const workers = async (endpoint: string) =>
  ((await stage.call(`/api/v1/endpoints/${endpoint}/workers`)).json as { items: { id: string; state: string }[] }).items;
const decisions = async (endpoint: string, query = '') =>
  ((await stage.call(`/api/v1/endpoints/${endpoint}/decisions${query}`)).json as { items: DecisionView[] }).items;

async function deploy(name: string, scale: string): Promise<void> {
  await stage.cli(
    'deploy',
    stage.project(name, nodeProject(name, ECHO, `scale: { ${scale.includes('keep:') ? '' : 'keep: none, '}${scale} }\n`)),
  );
}
const noWorker = (endpoint: string) => until(async () => (await workers(endpoint)).length === 0, 'no worker');

describe('the decisions of the scaler', () => {
  it('are kept with their inputs: the start, the worker beyond the delay, the stop (B15)', async () => {
    await deploy('echo', 'max: 2, idle: 1s, value: 1');
    await noWorker('echo');
    const before = new Date().toISOString();
    const long = await stage.submit('echo', { sleepMs: 3_000 });
    await until(async () => (await stage.status('echo', long.id)).status === 'IN_PROGRESS', 'the first job to run');
    const second = await stage.finished('echo', (await stage.submit('echo', {})).id);
    await stage.finished('echo', long.id);
    await noWorker('echo');
    const acts = (await decisions('echo', `?since=${before}`)).filter(({ actions }) => actions.start.length + actions.stop.length > 0);
    const [first, beyond] = acts.toReversed();
    expect(first).toMatchObject({
      rule: 'first',
      reason: 'a job waits and no worker exists',
      wanted: 1,
      release: 1,
      sample: { queued: 1, inProgress: 0, starting: 0, ready: 0 },
      policy: { max: 2, value: 1, type: 'queueDelay' },
      hold: null,
    });
    expect(beyond).toMatchObject({ rule: 'delayed', wanted: 2, actions: { start: [second.workerId] }, sample: { queued: 1, busy: 1 } });
    expect(beyond?.sample.oldestWaitMs).toBeGreaterThan(1_000);
    expect(beyond?.reason).toMatch(/^the oldest job waits \d+ ms, longer than 1 s$/);
    const stopped = acts.flatMap(({ actions }) => actions.stop);
    expect(new Set(stopped)).toEqual(new Set([first?.actions.start[0], second.workerId]));
  });

  it('are printed by `wherry scale explain`, oldest first, over a restart (B15)', async () => {
    const known = await decisions('echo');
    await stage.kill();
    await stage.restart();
    const items = await decisions('echo');
    expect(items.map(({ at }) => at)).toEqual(expect.arrayContaining(known.map(({ at }) => at)));
    const text = await stage.cli('scale', 'explain', '-e', 'echo', '--limit', '50');
    expect(text).toMatch(/started w-\S+ +a job waits and no worker exists/);
    expect(text.indexOf('a job waits')).toBeLessThan(text.indexOf('longer than 1 s'));
    const json = JSON.parse(await stage.cli('scale', 'explain', '-e', 'echo', '--limit', '2', '--json')) as { items: DecisionView[] };
    expect(json.items).toEqual(items.slice(0, 2));
    expect(await stage.cli('scale', 'explain', '-e', 'echo', '--since', '0s')).toContain('no decisions yet');
  });

  it('do not grow while nothing happens, and go with their endpoint', async () => {
    await deploy('quiet', 'min: 1, max: 2');
    await until(async () => (await workers('quiet')).some(({ state }) => state === 'IDLE'), 'an idle worker');
    const count = async () => (await decisions('quiet')).length;
    // Two looks of the control loop at least lie between: it looks each half second.
    const settled = await until(async () => {
      const [before] = [await count()];
      await until(async () => (await stage.runsync('echo', {})).status === 'COMPLETED', 'another endpoint');
      await noWorker('echo');
      return (await count()) === before ? before : undefined;
    }, 'no more decisions');
    expect(settled).toBeGreaterThan(0);
    await stage.call('/api/v1/endpoints/quiet', { method: 'DELETE' });
    expect((await stage.call('/api/v1/endpoints/quiet/decisions')).status).toBe(404);
    await deploy('quiet', 'max: 1');
    for (const { policy } of await decisions('quiet')) expect(policy.max).toBe(1);
  });

  it('name the workers that were frozen and woken (B7, B15)', async () => {
    await deploy('cool', 'max: 1, idle: 1s, keep: freeze');
    const first = await stage.runsync('cool', {});
    await until(async () => (await workers('cool')).some(({ state }) => state === 'FROZEN'), 'a frozen worker');
    expect((await stage.runsync('cool', {})).workerId).toBe(first.workerId);
    await until(async () => (await decisions('cool')).some(({ actions }) => actions.thaw.length > 0), 'the thaw to be noted');
    const acts = (await decisions('cool')).map(({ actions }) => actions);
    for (const action of ['freeze', 'thaw'] as const) expect(acts.flatMap((act) => act[action])).toContain(first.workerId);
  });

  it('say that nobody is started while the endpoint is paused', async () => {
    await noWorker('echo');
    await stage.call('/api/v1/endpoints/echo', { method: 'PATCH', body: { isPaused: true } });
    const { id } = await stage.submit('echo', {});
    await until(async () => (await decisions('echo', '?limit=1'))[0]?.hold === 'the endpoint is paused', 'the decision');
    await stage.cli('resume', 'echo');
    expect((await stage.finished('echo', id)).status).toBe('COMPLETED');
  });
});

describe('extra workers', () => {
  it('are ready beside the one at work, and go to zero with it; their image stays unpacked (row 79)', async () => {
    await deploy('extra', 'max: 3, idle: 1s, extra: 1');
    await noWorker('extra');
    const job = await stage.submit('extra', { sleepMs: 2_000 });
    await until(async () => {
      const states = (await workers('extra')).map(({ state }) => state);
      return states.includes('RUNNING') && states.includes('IDLE') && states.length === 2;
    }, 'one at work and one ready');
    const start = (await decisions('extra')).find(({ rule }) => rule === 'extra');
    expect(start).toMatchObject({ needed: 1, wanted: 2 });
    await stage.finished('extra', job.id);
    await noWorker('extra');
    const { items } = (await stage.call('/api/v1/endpoints/extra/releases')).json as { items: { image: { digest: string } }[] };
    const roots = join(stage.dataDir, 'roots');
    const digest = (items[0]?.image.digest ?? '').replace('sha256:', '');
    const isUnpacked = () => existsSync(roots) && readdirSync(roots).some((name) => name.includes(digest));
    expect(isUnpacked()).toBe(true);
    await stage.kill();
    rmSync(roots, { recursive: true });
    await stage.restart();
    await until(isUnpacked, 'the image to be unpacked again, without a worker');
    expect(await workers('extra')).toEqual([]);
  });
});

describe('an endpoint without requests for long', () => {
  it('lets its min workers go, says why, and has them again with the next job (row 81)', async () => {
    await deploy('resting', 'min: 2, max: 3, idle: 1s');
    await until(async () => (await workers('resting')).filter(({ state }) => state === 'IDLE').length === 2, 'min workers');
    const asked = Date.now();
    await stage.finished('resting', (await stage.submit('resting', {})).id);
    expect(await stage.cli('scale', '-e', 'resting', '--rest-after', '4s')).toMatch(/restAfter +4s/);
    await noWorker('resting');
    const rest = (await decisions('resting')).filter(({ rule }) => rule === 'rest');
    expect(Date.parse(rest.at(-1)?.at ?? '')).toBeGreaterThanOrEqual(asked + 4_000);
    expect(new Set(rest.flatMap(({ actions }) => actions.stop)).size).toBe(2);
    const reason = 'min of 2 counts as 0: no request for ';
    for (const args of [['scale', 'explain', '-e', 'resting'], ['why', 'resting'], ['status']]) {
      expect(await stage.cli(...args)).toContain(reason);
    }
    const again = new Date().toISOString();
    expect((await stage.runsync('resting', {})).status).toBe('COMPLETED');
    const starts = (await decisions('resting', `?since=${again}`)).filter(({ rule }) => rule === 'min');
    expect(new Set(starts.flatMap(({ actions: { start, throttle } }) => [...start, ...throttle])).size).toBe(2);
  });
});

describe('`wherry scale`', () => {
  it('shows the settings and changes them in place, without a release', async () => {
    expect(await stage.cli('scale', '-e', 'extra')).toMatch(/max +3/);
    const changed = JSON.parse(await stage.cli('scale', '-e', 'extra', '--max', '5', '--idle', '30s', '--json')) as object;
    expect(changed).toMatchObject({ max: 5, idleMs: 30_000, extra: 1 });
    const { settings, activeRelease } = (await stage.call('/api/v1/endpoints/extra')).json as {
      settings: { scale: object };
      activeRelease: number;
    };
    expect(settings.scale).toEqual(changed);
    expect(activeRelease).toBe(1);
    expect(await stage.tryCli('scale', 'dance')).toMatchObject({ code: 2 });
    expect((await stage.tryCli('scale', '-e', 'extra', '--max', 'many')).stderr).toContain('USAGE');
  });

  it('simulates the recorded jobs under other settings: as many cold starts as there were (B15)', async () => {
    await deploy('replayed', 'max: 2, idle: 2s, type: requestCount, value: 1');
    await noWorker('replayed');
    const jobs = await Promise.all([1, 2, 3].map(() => stage.submit('replayed', { sleepMs: 300 })));
    const ended = await Promise.all(jobs.map(({ id }) => stage.finished('replayed', id)));
    const started = new Set(ended.map(({ workerId }) => workerId)).size;
    const plot = join(stage.dir, 'plot.svg');
    const args = ['scale', 'simulate', '-e', 'replayed', '--set', 'max=1', '--set', 'min=2', '--plot', plot];
    const { requests, variants } = JSON.parse(await stage.cli(...args, '--json')) as {
      requests: number;
      variants: {
        name: string;
        metrics: { requests: number; starts: number; coldStarts: number; workersPeak: number; delayMs: { p95: number } };
      }[];
    };
    expect(requests).toBe(3);
    expect(variants.map(({ name }) => name)).toEqual(['current', 'max=1', 'min=2']);
    const [current, one, warm] = variants.map(({ metrics }) => metrics);
    expect(current).toMatchObject({ requests: 3, starts: started, workersPeak: started });
    expect(one).toMatchObject({ starts: 1, workersPeak: 1 });
    expect(warm).toMatchObject({ coldStarts: 0, starts: 0 });
    expect(one?.delayMs.p95).toBeGreaterThan(warm?.delayMs.p95 ?? Number.POSITIVE_INFINITY);
    const check = 'import sys, xml.dom.minidom; print(xml.dom.minidom.parse(sys.argv[1]).documentElement.tagName)';
    expect(execFileSync('python3', ['-c', check, plot], { encoding: 'utf8' }).trim()).toBe('svg');
    expect(readFileSync(plot, 'utf8')).toContain('jobs of replayed');
    expect(await stage.cli(...args)).toMatch(/cold starts +\d+ +\d+ +0/);
  });

  it('simulates given arrivals without a server', async () => {
    const file = join(stage.dir, 'arrivals.csv');
    writeFileSync(file, 'at,run\n0,1s\n0,1s\n10,1s\n');
    const table = await stage.cli('scale', 'simulate', '--file', file, '--cold', '2s', '--max', '1', '--keep', 'none');
    expect(table).toMatch(/current +max=1,keep=none/);
    expect(table).toMatch(/requests +3 +3/);
    expect((await stage.tryCli('scale', 'simulate', '--file', file, '--recorded')).code).toBe(2);
  });
});
