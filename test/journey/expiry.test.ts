import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApiClient } from '../../src/api/client.js';
import { pidsWith, type Stage, until } from '../stage.js';
import { openStages } from './beside.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
let remote: Stage;
let close: () => Promise<void>;
beforeAll(async () => {
  ({ stage, remote, close } = await openStages());
});
afterAll(() => close());

const make = (id: string, body: object) => stage.call('/api/v1/endpoints', { method: 'POST', body: { id, ...body } });
const change = (id: string, body: object) => stage.call(`/api/v1/endpoints/${id}`, { method: 'PATCH', body });
const gone = (id: string) => until(async () => (await stage.call(`/api/v1/endpoints/${id}`)).status === 404, `'${id}' to be removed`);
const noProcess = () => until(() => pidsWith(join(stage.dataDir, 'workers')).length === 0, 'no process of a worker', 10_000);
const repositories = async () =>
  ((await stage.call('/api/v1/registry')).json as { repositories: { repository: string }[] }).repositories.map(
    ({ repository }) => repository,
  );

describe('an endpoint that expires', () => {
  it('shows its labels and moment, is found by a label, and stays within its bounds (row 110)', async () => {
    const client = createApiClient({ url: stage.url, key: stage.key });
    const before = Date.now();
    const made = await client.createEndpoint({ id: 'labelled', labels: { run: 'a=1', suite: 'x' }, expiresInMs: 600_000 });
    expect(made.labels).toEqual({ run: 'a=1', suite: 'x' });
    expect(Date.parse(made.expiresAt ?? '') - before).toBeGreaterThan(590_000);
    expect(await client.createEndpoint({ id: 'lasting' })).toMatchObject({ labels: {}, expiresAt: null });
    const listed = async (label: string) => (await client.listEndpoints({ label })).map(({ id }) => id);
    expect([await listed('run=a=1'), await listed('suite'), await listed('run=a')]).toEqual([['labelled'], ['labelled'], []]);

    const shown = await stage.cli('status');
    expect(shown).toMatch(/labelled +0\/0 +in 10 min +run=a=1 suite=x/);
    expect(JSON.parse(await stage.cli('status', 'labelled', '--json'))).toMatchObject({
      endpoints: [{ labels: made.labels, expiresAt: made.expiresAt }],
    });

    const refused = [
      { expiresInMs: 999 },
      { expiresInMs: 86_400_001 },
      { expiresInMs: null },
      { labels: { 'a b': 'x' } },
      { labels: { run: 'x'.repeat(129) } },
      { labels: { run: 'two\nlines' } },
      { labels: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`l${n}`, 'x'])) },
      { labels: { run: 1 } },
    ];
    for (const body of refused) {
      const answer = await make('refused', body);
      expect([body, answer.status, answer.json]).toMatchObject([body, 400, { error: { code: 'REQUEST_INVALID' } }]);
    }
    expect(await client.updateEndpoint('labelled', { expiresInMs: null })).toMatchObject({ expiresAt: null, labels: made.labels });
    const { key } = await client.createKey({ name: 'reader', scope: 'read-only' });
    const asReader = { method: 'PATCH', key, body: { expiresInMs: 1_000 } };
    expect((await stage.call('/api/v1/endpoints/labelled', asReader)).status).toBe(403);
    expect((await stage.call('/api/v1/endpoints?label=suite', { key })).json).toMatchObject({ items: [{ id: 'labelled' }] });
  });

  it('is removed as by DELETE: workers, waiting requests and keys go, and the log says so (row 110)', async () => {
    await make('passing', { labels: { run: 'r7' }, expiresInMs: 600_000 });
    await stage.cli('deploy', stage.project('passing', nodeProject('passing', ECHO, 'scale: { max: 1 }\n')));
    const { key } = JSON.parse(await stage.cli('keys', 'create', 'ci', '-e', 'passing', '--json')) as { key: string };
    const running = stage.runsync('passing', { sleepMs: 60_000 });
    const queued = stage.runsync('passing', { value: 1 });
    await until(async () => {
      const { jobs } = (await stage.call('/v2/passing/health', { key })).json as { jobs: { inProgress: number; inQueue: number } };
      return jobs.inProgress === 1 && jobs.inQueue === 1;
    }, 'one job to run and one to wait');
    expect((await change('passing', { expiresInMs: 1_000 })).status).toBe(200);
    expect([await running, await queued]).toMatchObject([{ status: 'CANCELLED' }, { status: 'CANCELLED' }]);
    await gone('passing');
    await until(() => stage.log().includes("endpoint 'passing' expired"), 'the log to say so');
    expect(stage.log()).toContain('"labels":{"run":"r7"}');
    await make('passing', {});
    expect((await stage.call('/v2/passing/health', { key })).status).toBe(401);
    await noProcess();
  });

  it('is removed after a kill -9 and a restart when its moment passed in between, with the copy of its image (row 110, B3)', async () => {
    await remote.cli('push', remote.project('far', nodeProject('far', ECHO)), '--to', 'far:v1');
    await make('copied', { labels: { run: 'r8' }, expiresInMs: 600_000 });
    await stage.cli('deploy', '--image', `${new URL(remote.url).host}/far:v1`, '-e', 'copied');
    expect(await repositories()).toContain('retained/copied');
    await change('copied', { settings: { scale: { min: 1 } }, expiresInMs: 3_000 });
    const expiresAt = Date.parse(((await stage.call('/api/v1/endpoints/copied')).json as { expiresAt: string }).expiresAt);
    await stage.kill();
    expect(Date.now()).toBeLessThan(expiresAt);
    await until(() => Date.now() > expiresAt, 'the moment to pass');
    await stage.restart();
    await gone('copied');
    await noProcess();
    // The first sweep of a server is its own; the copy goes with the next.
    await stage.kill();
    await stage.restart();
    await until(async () => !(await repositories()).includes('retained/copied'), 'the copy to be removed');
  });
});
