import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSpoken } from '../speaker.js';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** What /status says beside RunPod's fields: why a job waits, and how a cold start went. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('echo', nodeProject('echo', ECHO, 'scale: { max: 1, idle: 1s, keep: none }\n')));
});
afterAll(() => stage.close());

interface Noted {
  readonly status: string;
  readonly waiting?: { readonly reason: string; readonly since: string; readonly evidence: string; readonly next: string };
  readonly timeline?: Record<string, unknown>;
}

const noted = async (endpoint: string, id: string) => (await stage.status(endpoint, id)) as unknown as Noted;
const change = (endpoint: string, body: unknown) => stage.call(`/api/v1/endpoints/${endpoint}`, { method: 'PATCH', body });

describe('a queued job', () => {
  it('says that all workers are busy, and which jobs wait (B1)', async () => {
    const long = await stage.submit('echo', { sleepMs: 1_500 });
    await until(async () => (await noted('echo', long.id)).status === 'IN_PROGRESS', 'the first job to run');
    const second = await stage.submit('echo', {});
    const { waiting } = await noted('echo', second.id);
    expect(waiting).toMatchObject({ reason: 'at-max-workers', evidence: expect.stringContaining('1 of at most 1 workers are busy') });
    expect(Date.parse(String(waiting?.since))).not.toBeNaN();
    await stage.finished('echo', second.id);
    expect(await noted('echo', second.id)).not.toHaveProperty('waiting');
  });

  it('says that the endpoint is parked or paused, and what to do (B1)', async () => {
    await until(async () => ((await stage.call('/api/v1/endpoints/echo/workers')).json as { items: [] }).items.length === 0, 'no worker');
    await change('echo', { settings: { scale: { max: 0 } } });
    const { id } = await stage.submit('echo', {});
    expect((await noted('echo', id)).waiting).toMatchObject({ reason: 'parked', next: 'set scale.max to 1 or more' });
    await change('echo', { isPaused: true });
    expect((await noted('echo', id)).waiting).toMatchObject({ reason: 'paused', evidence: 'paused by request' });
    await change('echo', { isPaused: false, settings: { scale: { max: 1 } } });
    expect((await stage.finished('echo', id)).status).toBe('COMPLETED');
  });

  it('shows the last lines of the worker when workers crash (B1)', async () => {
    const crashing = 'console.log("no such model"); await new Promise((resolve) => setTimeout(resolve, 30)); process.exit(7);\n';
    await stage.tryCli('deploy', stage.project('crash', nodeProject('crash', crashing, 'scale: { max: 1 }\n')));
    const { id } = await stage.submit('crash', {});
    const { waiting } = await noted('crash', id);
    expect(waiting).toMatchObject({ reason: 'no-release', evidence: expect.stringContaining('exited with code 7') });
  });

  it('says that a worker starts (B1)', async () => {
    const silent = await openSpoken(stage, 'slow', 'scale: { max: 1, idle: 1s }\n');
    const first = await silent.next();
    await until(() => !first.isAlive(), 'the proved candidate to go, for nothing waits');
    const { id } = await stage.submit('slow', {});
    await until(async () => (await noted('slow', id)).waiting?.reason === 'starting', 'the next worker to start');
  });
});

describe('the cold start of a job', () => {
  it('is shown step by step, in order, and a warm job has none (B8)', async () => {
    await until(async () => ((await stage.call('/api/v1/endpoints/echo/workers')).json as { items: [] }).items.length === 0, 'no worker');
    const cold = await stage.finished('echo', (await stage.submit('echo', {})).id);
    const { timeline } = cold as unknown as Noted;
    const { decide, pull, create, start, ready, take, done } = timeline as Record<string, number> & { pull: { at: number } };
    const steps = [0, decide, pull.at, create, start, ready, take, done];
    expect(steps).toEqual([...steps].sort((a, b) => Number(a) - Number(b)));
    expect(pull).toMatchObject({ bytes: 0, cached: true });
    const warm = await stage.finished('echo', (await stage.submit('echo', {})).id);
    expect(warm).not.toHaveProperty('timeline');
  });
});
