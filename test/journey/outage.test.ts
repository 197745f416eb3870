import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openStage, pidsWith, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** Workers that go down with the machine, and workers that crash by themselves, are told apart. */
let stage: Stage;
afterEach(async () => {
  const { dataDir } = stage;
  await stage.close();
  await until(() => pidsWith(join(dataDir, 'workers')).length === 0, 'all workers to be gone');
});

interface EndpointRow {
  readonly activeRelease: number | null;
  readonly pausedReason: string | null;
}

const read = async (id: string) => (await stage.call(`/api/v1/endpoints/${id}`)).json as EndpointRow;
const workers = async (id: string) =>
  ((await stage.call(`/api/v1/endpoints/${id}/workers`)).json as { items: { id: string; state: string }[] }).items;
const scaleTo = (id: string, scale: object) => stage.call(`/api/v1/endpoints/${id}`, { method: 'PATCH', body: { settings: { scale } } });
const idle = (id: string, count: number) =>
  until(async () => (await workers(id)).filter(({ state }) => state === 'IDLE').length === count, `${count} idle workers`);

/** Everything of this data directory dies at once, as when the machine loses power. */
async function loseMachine(): Promise<void> {
  await stage.kill();
  for (const pid of pidsOfSupervisor()) process.kill(pid, 'SIGKILL');
  const ofWorkers = () => pidsWith(join(stage.dataDir, 'workers'));
  for (const pid of ofWorkers()) process.kill(pid, 'SIGKILL');
  await until(() => ofWorkers().length === 0, 'the workers to be gone');
}

function pidsOfSupervisor(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, 'utf8');
        return line.includes('supervisor.js') && line.includes(stage.dataDir) ? [Number(name)] : [];
      } catch {
        return []; // Gone meanwhile.
      }
    });
}

const FLAGGED = `
import { existsSync } from 'node:fs';
if (existsSync(process.env.FLAG)) process.exit(3);
export const handler = () => 1;
`;

describe('an endpoint whose workers end', () => {
  it('is not paused when more workers than the crash budget are lost with the machine', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('power', nodeProject('power', ECHO, 'scale: { min: 8, max: 8 }\n')));
    await idle('power', 8);
    await loseMachine();
    await stage.restart();
    await idle('power', 8);
    expect((await read('power')).pausedReason).toBeNull();
  }, 90_000);

  it('is not paused when the supervisor is killed under its workers', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('parent', nodeProject('parent', ECHO, 'scale: { min: 8, max: 8 }\n')));
    await idle('parent', 8);
    const before = new Set((await workers('parent')).map(({ id }) => id));
    for (const pid of pidsOfSupervisor()) process.kill(pid, 'SIGKILL');
    await until(async () => {
      const now = (await workers('parent')).filter(({ state }) => state === 'IDLE');
      return now.length === 8 && now.every(({ id }) => !before.has(id));
    }, 'eight new workers');
    expect((await read('parent')).pausedReason).toBeNull();
  }, 90_000);

  it('tries a release again whose candidate was lost with the machine', async () => {
    stage = await openStage();
    const slow = 'await new Promise((r) => setTimeout(r, 3_000));\nexport const handler = () => 1;\n';
    const deployed = stage.tryCli('deploy', stage.project('tried', nodeProject('tried', slow)));
    await until(async () => (await workers('tried').catch(() => []))?.length === 1, 'the candidate');
    await loseMachine();
    await deployed;
    await stage.restart();
    await until(async () => (await read('tried')).activeRelease === 1, 'the release to serve');
  }, 90_000);

  it('is paused when its workers crash in a row, with the reason, until it is resumed or deployed (row 76)', async () => {
    stage = await openStage({ WHERRY_STARTS: '12' });
    const flag = join(stage.dir, 'flag');
    const project = stage.project('loop', nodeProject('loop', FLAGGED, `env: { FLAG: ${flag} }\n`));
    await stage.cli('deploy', project);
    // From no worker, and all at once, more than the budget of 8: starts that wait for their back-off would take half a minute.
    const pause = async () => {
      await scaleTo('loop', { min: 0, max: 0 });
      await until(async () => (await workers('loop')).length === 0, 'no worker');
      stage.project('.', { flag: '' });
      await scaleTo('loop', { min: 12, max: 12 });
      const { pausedReason } = await until(async () => {
        const row = await read('loop');
        return row.pausedReason === null ? undefined : row;
      }, 'the pause');
      expect(pausedReason).toContain('exited with code 3');
      await until(async () => (await workers('loop')).length === 0, 'no worker');
      await scaleTo('loop', { min: 1, max: 1 });
      rmSync(flag);
    };
    await pause();
    expect(await stage.cli('status')).toContain('paused: ');
    expect(await workers('loop')).toEqual([]);
    await stage.cli('resume', 'loop');
    await idle('loop', 1);
    expect((await read('loop')).pausedReason).toBeNull();

    await pause();
    await stage.cli('deploy', project);
    expect((await read('loop')).pausedReason).toBeNull();
  }, 90_000);
});
