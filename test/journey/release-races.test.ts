import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';
import { nodeProject } from './projects.js';
import { createRollouts } from './rollouts.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const rollouts = createRollouts(() => stage);
const CODE = `
export async function handler({ input }) {
  if (input?.ms) await new Promise((resolve) => setTimeout(resolve, input.ms));
  return process.env.CODE;
}
`;

const deployFirst = async (name: string, settings = '') => {
  const dir = stage.project(name, nodeProject(name, CODE, `env: { CODE: r1 }\n${settings}`));
  await stage.cli('deploy', dir);
  return dir;
};

/** Exactly one release serves: it is the newest one whose rollout is done, and it answers. */
async function checkServing(endpoint: string): Promise<void> {
  await until(
    async () => (await rollouts.list(endpoint)).every(({ state }) => state === 'DONE' || state === 'REVERTED'),
    'all rollouts to end',
  );
  const listed = await rollouts.list(endpoint);
  const { activeRelease } = (await stage.call(`/api/v1/endpoints/${endpoint}`)).json as { activeRelease: number };
  expect(listed.find(({ state }) => state === 'DONE')?.to).toBe(activeRelease);
  expect(listed.map(({ to }) => to)).toEqual(listed.map((_, index) => listed.length - index));
  const job = await stage.runsync(endpoint, null);
  const { release } = (await stage.call(`/api/v1/endpoints/${endpoint}/jobs/${job.id}`)).json as { release: number };
  expect([job.status, release]).toEqual(['COMPLETED', activeRelease]);
}

describe('deploys and rollbacks at once', () => {
  it('are serialised: each is refused or gets a number of its own, and one release serves (D5)', async () => {
    await deployFirst('race');
    await rollouts.deploy('race', 'r2');
    let accepted = 2;
    for (let round = 0; round < 4; round++) {
      const deploys = Array.from({ length: 4 }, (_, n) => rollouts.post('race', { spec: { env: { CODE: `${round}-${n}` } } }));
      const rollbacks = [1, 2].map((release) => stage.call('/api/v1/endpoints/race/rollback', { method: 'POST', body: { release } }));
      const answers = await Promise.all([...deploys, ...rollbacks]);
      for (const { status, json } of answers) {
        if (status !== 201) expect(json).toMatchObject({ error: { code: 'ROLLOUT_OPEN' } });
      }
      const made = answers.filter(({ status, json }) => status === 201 && (json as { rollout: unknown }).rollout !== null).length;
      expect(made).toBe(1);
      accepted += made;
      await checkServing('race');
    }
    expect(await rollouts.list('race')).toHaveLength(accepted);
  });

  it('of two command lines make one endpoint and one release; the other is told to wait or finds it there (D5)', async () => {
    const dirs = [1, 2].map((n) => stage.project(`twice-${n}`, nodeProject('twice', CODE, 'env: { CODE: r1 }\n')));
    const results = await Promise.all(dirs.map((dir) => stage.tryCli('deploy', dir)));
    expect(results.map(({ code }) => code).sort()).toEqual(expect.arrayContaining([0]));
    for (const { code, stderr } of results) if (code !== 0) expect([code, stderr]).toEqual([5, expect.stringContaining('ROLLOUT_OPEN')]);
    await checkServing('twice');
    for (const dir of dirs) await stage.cli('deploy', dir);
    expect(await rollouts.list('twice')).toHaveLength(1);
  });

  it('during a scale-up lose no job and leave no worker of the old release (D5)', async () => {
    await deployFirst('rising', 'scale: { max: 4, type: requestCount, value: 1, idle: 2s }\n');
    const jobs = await Promise.all(Array.from({ length: 24 }, () => stage.submit('rising', { ms: 150 })));
    await until(async () => (await rollouts.workers('rising')).some(({ state }) => state === 'INITIALIZING'), 'the scale-up');
    await rollouts.deploy('rising', 'r2');
    await checkServing('rising');
    const ends = await Promise.all(jobs.map(({ id }) => stage.finished('rising', id)));
    expect(new Set(ends.map(({ status }) => status))).toEqual(new Set(['COMPLETED']));
    expect(await rollouts.counts('rising')).toMatchObject({ failed: 0, completed: 25 });
    await until(async () => (await rollouts.workers('rising')).every(({ release }) => release === 2), 'the old workers to end');
  });

  it('leave a promote and an abort at once with one of the two', async () => {
    await deployFirst('both');
    for (const round of [1, 2, 3]) {
      await rollouts.deploy('both', `round ${round}`, { canary: 50 });
      const step = (action: string) => stage.call('/api/v1/endpoints/both/rollout', { method: 'POST', body: { action } });
      const answers = await Promise.all([step('promote'), step('abort')]);
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 404]);
      await checkServing('both');
    }
  });

  it('leave long lists of releases, which come in parts, newest first (D5)', async () => {
    const dir = await deployFirst('many');
    const { image } =
      ((await stage.call('/api/v1/endpoints/many/releases')).json as { items: { image: { digest: string } }[] }).items[0] ?? {};
    await stage.call('/api/v1/endpoints/many', { method: 'PATCH', body: { settings: { scale: { max: 0 } } } });
    for (let n = 2; n <= 120; n++) {
      const { status } = await stage.call('/api/v1/endpoints/many/releases', {
        method: 'POST',
        body: { reference: `many@${image?.digest}`, spec: { env: { CODE: `r${n}` } } },
      });
      expect(status).toBe(201);
    }
    const page = async (query = '') =>
      ((await stage.call(`/api/v1/endpoints/many/releases${query}`)).json as { items: { number: number }[] }).items.map(
        ({ number }) => number,
      );
    expect(await page()).toEqual(Array.from({ length: 100 }, (_, n) => 120 - n));
    expect(await page('?before=21&limit=3')).toEqual([20, 19, 18]);
    expect(await page('?before=2')).toEqual([1]);
    const listed = JSON.parse(await stage.cli('releases', '-e', 'many', '--before', 'r3', '--limit', '1', '--json')) as {
      items: unknown[];
    };
    expect(listed.items).toMatchObject([{ number: 2, state: 'REVERTED', envChanges: ['~CODE'] }]);
    await stage.call('/api/v1/endpoints/many', { method: 'PATCH', body: { settings: { scale: { max: 1 } } } });
    await until(async () => (await rollouts.newest('many')).state === 'DONE', 'the last one to be proved');
    expect(await stage.runsync('many', null)).toMatchObject({ output: 'r120' });
    writeFileSync(join(dir, 'handler.mjs'), "export const handler = () => 'next';\n");
    await stage.cli('deploy', dir);
    expect(await stage.runsync('many', null)).toMatchObject({ output: 'next' });
  });
});
