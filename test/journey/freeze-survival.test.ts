import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { openStage, pidsWith, type Stage, until } from '../stage.js';
import { frozenOf, untilState, workersOf } from './freezing.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
afterEach(() => stage.close());

async function deploy(name: string, settings: string, handler = ECHO): Promise<void> {
  await stage.cli('deploy', stage.project(name, nodeProject(name, handler, settings)));
}
const SMALL = 'scale: { idle: 1s, max: 1 }\n';

/** Freezes one worker of each endpoint, in their order; gives their ids. */
async function freezeEach(...names: readonly string[]): Promise<readonly string[]> {
  const ids = [];
  for (const name of names) {
    ids.push((await stage.runsync(name, null)).workerId ?? '');
    await frozenOf(stage, name);
  }
  return ids;
}

const statesOf = async (...names: readonly string[]) =>
  (await Promise.all(names.map((name) => workersOf(stage, name)))).map((rows) => rows.map(({ state }) => state).join());

describe('frozen workers', () => {
  it('are adopted by the next server and serve as the same processes, also after a kill of the server (row 78, C1)', async () => {
    stage = await openStage();
    const names = ['one', 'two'];
    for (const name of names) await deploy(name, SMALL, 'let n = 0;\nexport const handler = () => ++n;\n');
    const ids = await freezeEach(...names);
    for (let round = 2; round <= 3; round++) {
      await stage.kill();
      await stage.restart();
      expect(await statesOf(...names)).toEqual(['FROZEN', 'FROZEN']);
      for (const [index, name] of names.entries())
        expect(await stage.runsync(name, null)).toMatchObject({ output: round, workerId: ids[index] });
      await Promise.all(names.map((name) => frozenOf(stage, name)));
    }
  });

  it('stay within the memory that they may hold together: the longest frozen goes, and one that is larger alone (B7)', async () => {
    stage = await openStage();
    const names = ['one', 'two', 'three'];
    for (const name of names) await deploy(name, SMALL);
    const [first = ''] = await freezeEach('one');
    const bytes = (await workersOf(stage, 'one'))[0]?.memoryBytes ?? 0;
    await stage.kill();
    await stage.restart({ WHERRY_FROZEN_MEMORY: `${Math.round(bytes * 2.6)}B` });
    await freezeEach('two', 'three');
    const gone = await untilState(stage, 'one', { id: first, state: 'STOPPED' });
    expect(gone).toMatchObject({ exitCode: 0, reason: expect.stringMatching(/^it was frozen longest, .* \(WHERRY_FROZEN_MEMORY\)$/) });
    expect(await statesOf('two', 'three')).toEqual(['FROZEN', 'FROZEN']);
    await stage.kill();
    await stage.restart({ WHERRY_FROZEN_MEMORY: '1MB' });
    await until(async () => (await statesOf('two', 'three')).join('') === '', 'none to be left');
    const { workerId: id = '' } = await stage.runsync('two', null);
    expect(await untilState(stage, 'two', { id, state: 'STOPPED' })).toMatchObject({ reason: expect.stringMatching(/^it holds \d+ MB, /) });
    await stage.kill();
    await stage.restart({ WHERRY_FROZEN_MEMORY: '0' });
    const { workerId: last = '' } = await stage.runsync('two', null);
    expect(await untilState(stage, 'two', { id: last, state: 'STOPPED' })).toMatchObject({ reason: 'it was idle long enough' });
  });

  it('that are killed from outside lose nothing: the next job starts another at once, and no crash is counted (A3)', async () => {
    stage = await openStage();
    await deploy('killed', SMALL);
    for (let n = 0; n < 9; n++) {
      const [id = ''] = await freezeEach('killed');
      for (const pid of pidsWith(`/${id}`)) process.kill(pid, 'SIGKILL');
      expect(await untilState(stage, 'killed', { id, state: 'STOPPED' })).toMatchObject({ reason: 'was ended by SIGKILL' });
    }
    // Its death may not have been told when the next job wakes it.
    for (let n = 0; n < 5; n++) {
      const [id = ''] = await freezeEach('killed');
      for (const pid of pidsWith(`/${id}`)) process.kill(pid, 'SIGKILL');
      const job = await stage.runsync('killed', { value: n });
      expect(job).toMatchObject({ status: 'COMPLETED', output: n });
      expect(job.workerId).not.toBe(id);
      expect(job.delayTime).toBeLessThan(2_000);
    }
  });

  it('lose no job in a hundred freezes and thaws under jobs that come at random (B7)', async () => {
    stage = await openStage();
    await deploy('random', 'scale: { idle: 1ms, max: 4, type: requestCount, value: 1 }\n');
    const ids: string[] = [];
    let isEnough = false;
    const send = async () => {
      while (!isEnough) {
        const { id } = await stage.submit('random', { sleepMs: Math.floor(Math.random() * 30) });
        ids.push(id);
        // The pause is the load, not a wait: jobs must meet workers that are being frozen, frozen, being thawed.
        await pause(Math.random() * 400);
      }
    };
    const senders = Array.from({ length: 3 }, send);
    const thaws = async () => {
      const { items } = (await stage.call('/api/v1/endpoints/random/logs?limit=5000')).json as { items: { text: string }[] };
      return items.filter(({ text }) => text.startsWith('thawed after')).length;
    };
    await until(async () => (await thaws()) >= 100, 'a hundred thaws', 120_000);
    isEnough = true;
    await Promise.all(senders);
    for (const id of ids) expect(await stage.finished('random', id)).toMatchObject({ status: 'COMPLETED' });
    expect((await stage.call('/v2/random/health')).json).toMatchObject({ jobs: { completed: ids.length, failed: 0, retried: 0 } });
    const ended = (await workersOf(stage, 'random', true)).filter(({ state }) => state === 'STOPPED');
    expect(ended.filter(({ exitCode }) => exitCode !== 0)).toEqual([]);
  }, 180_000);
});
