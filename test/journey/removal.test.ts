import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, pidsWith, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const workers = async (id: string) =>
  ((await stage.call(`/api/v1/endpoints/${id}/workers`)).json as { items?: { id: string }[] }).items ?? [];
const remove = (id: string) => stage.call(`/api/v1/endpoints/${id}`, { method: 'DELETE' });
const noProcess = () => until(() => pidsWith(join(stage.dataDir, 'workers')).length === 0, 'no process of a worker', 10_000);

describe('removing an endpoint', () => {
  it('leaves no worker when its release is still proving itself, and tells who waits for the rollout', async () => {
    const slow = 'await new Promise((r) => setTimeout(r, 4_000));\nexport const handler = () => 1;\n';
    const deployed = stage.tryCli('deploy', stage.project('proving', nodeProject('proving', slow)));
    await until(async () => (await workers('proving')).length === 1, 'the candidate');
    expect((await remove('proving')).status).toBe(204);
    expect((await stage.call('/api/v1/endpoints/proving')).status).toBe(404);
    expect((await deployed).stderr).toContain('its endpoint is removed');
    await noProcess();
  });

  it('answers who waits for its queued and running jobs, and refuses new ones', async () => {
    await stage.cli('deploy', stage.project('waited', nodeProject('waited', ECHO, 'scale: { max: 1 }\n')));
    const running = stage.runsync('waited', { sleepMs: 60_000 });
    await until(async () => (await stage.call('/v2/waited/health')).json !== undefined, 'the endpoint');
    const queued = stage.runsync('waited', { value: 1 });
    await until(async () => {
      const { jobs } = (await stage.call('/v2/waited/health')).json as { jobs: { inProgress: number; inQueue: number } };
      return jobs.inProgress === 1 && jobs.inQueue === 1;
    }, 'one job to run and one to wait');
    const startedAt = performance.now();
    const removed = remove('waited');
    expect(await running).toMatchObject({ status: 'CANCELLED' });
    expect(await queued).toMatchObject({ status: 'CANCELLED' });
    expect((await removed).status).toBe(204);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect((await stage.call('/v2/waited/run', { method: 'POST', body: { input: 1 } })).status).toBe(404);
    await noProcess();
  });

  it('takes its keys with it: they do not open an endpoint that is made under the same id later', async () => {
    const make = () => stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'again' } });
    expect((await make()).status).toBe(201);
    const { key } = JSON.parse(await stage.cli('keys', 'create', 'ci', '-e', 'again', '--json')) as { key: string };
    expect((await stage.call('/v2/again/health', { key })).status).toBe(200);
    await remove('again');
    expect((await make()).status).toBe(201);
    expect((await stage.call('/v2/again/health', { key })).status).toBe(401);
    expect(await stage.cli('keys')).not.toContain('again');
  });
});
