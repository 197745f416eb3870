import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAIN, openStage, type Stage, until } from '../stage.js';
import { nodeProject } from './projects.js';
import { createRollouts } from './rollouts.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const rollouts = createRollouts(() => stage);

/** Answers with the code it was released with; `ms` is how long it takes, `gate` a file that it waits for. */
const CODE = `
import { existsSync } from 'node:fs';
export async function handler({ input }) {
  if (input?.ms) await new Promise((resolve) => setTimeout(resolve, input.ms));
  while (input?.gate && !existsSync(input.gate)) await new Promise((resolve) => setTimeout(resolve, 20));
  return process.env.CODE;
}
`;
const gateOf = (name: string) => join(stage.dir, `${name}-gate`);

async function deployFirst(name: string, settings = ''): Promise<string> {
  const dir = stage.project(name, nodeProject(name, CODE, `env: { CODE: r1 }\n${settings}`));
  await stage.cli('deploy', dir);
  return dir;
}

/** The answers of that many jobs, each by the release it names. */
async function ask(endpoint: string, count: number): Promise<readonly string[]> {
  const jobs = await Promise.all(Array.from({ length: count }, () => stage.runsync(endpoint, null)));
  expect(jobs.map(({ status }) => status)).toEqual(jobs.map(() => 'COMPLETED'));
  return jobs.map(({ output }) => String(output));
}

const countOf = (answers: readonly string[], code: string) => answers.filter((answer) => answer === code).length;

describe('a canary', () => {
  it('gets its share of new jobs, another one in place, and all of them when it is promoted', async () => {
    const dir = await deployFirst('share', 'scale: { max: 4, idle: 30s }\n');
    writeFileSync(
      join(dir, 'wherry.yaml'),
      'name: share\nhandler: handler.mjs:handler\nbase: scratch\nenv: { CODE: r2 }\nscale: { max: 4, idle: 30s }\n',
    );
    const deployed = JSON.parse(await stage.cli('deploy', dir, '--canary', '20', '--json')) as {
      rollout: { state: string; share: number };
    };
    expect(deployed.rollout).toMatchObject({ state: 'CANARY', share: 20 });
    const early = await ask('share', 50);
    expect(countOf(early, 'r2')).toBeGreaterThanOrEqual(7);
    expect(countOf(early, 'r2')).toBeLessThanOrEqual(13);
    expect(countOf(early, 'r1') + countOf(early, 'r2')).toBe(50);
    expect(await stage.cli('status', 'share')).toMatch(/r2 canary, 20 % of new jobs, \d+ % of workers/);
    expect(await stage.cli('releases', '-e', 'share')).toContain('CANARY 20 %');

    expect(await stage.cli('promote', '-e', 'share', '--canary', '80')).toContain('80 % of new jobs');
    const late = await ask('share', 50);
    expect(countOf(late, 'r2')).toBeGreaterThanOrEqual(35);
    expect(countOf(late, 'r1')).toBeGreaterThanOrEqual(5);

    expect(await stage.cli('promote', '-e', 'share')).toContain('share r2 serves');
    expect(countOf(await ask('share', 20), 'r2')).toBe(20);
    await until(async () => (await rollouts.workers('share')).every(({ release }) => release === 2), 'the workers of r1 to end');
    expect((await stage.tryCli('promote', '-e', 'share')).code).toBe(4);
  });

  it('leaves everything to the old release when it is aborted, and shows by whom', async () => {
    await deployFirst('aborted');
    await rollouts.deploy('aborted', 'r2', { canary: 50 });
    expect(countOf(await ask('aborted', 20), 'r2')).toBeGreaterThanOrEqual(5);
    expect(await stage.cli('abort', '-e', 'aborted')).toContain('r1 serves');
    expect(countOf(await ask('aborted', 20), 'r1')).toBe(20);
    expect(await rollouts.newest('aborted')).toMatchObject({ to: 2, state: 'REVERTED', reason: 'aborted by admin' });
    await until(async () => (await rollouts.workers('aborted')).every(({ release }) => release === 1), 'the canary to end');
  });

  it('starts workers for its jobs while all of the old ones are busy, one above max at most', async () => {
    await deployFirst('beside', 'scale: { max: 2, type: requestCount, value: 1, idle: 1s, keep: none }\n');
    await rollouts.deploy('beside', 'r2', { canary: 50 });
    await until(async () => (await rollouts.workers('beside')).length === 0, 'no worker to be left');
    let most = 0;
    const jobs = await Promise.all(Array.from({ length: 16 }, () => stage.submit('beside', { ms: 300 })));
    await until(async () => {
      most = Math.max(most, (await rollouts.workers('beside')).length);
      return (await rollouts.counts('beside')).completed === jobs.length;
    }, 'all jobs to be done');
    expect(most).toBeLessThanOrEqual(3);
    const answers = await Promise.all(jobs.map(async ({ id }) => String((await stage.status('beside', id)).output)));
    for (const code of ['r1', 'r2']) expect(countOf(answers, code)).toBeGreaterThanOrEqual(4);
  });

  it('serves both lanes with a max of one', async () => {
    await deployFirst('single', 'scale: { max: 1, idle: 1s }\n');
    await rollouts.deploy('single', 'r2', { canary: 50 });
    const answers = await ask('single', 12);
    expect(countOf(answers, 'r1')).toBeGreaterThanOrEqual(3);
    expect(countOf(answers, 'r2')).toBeGreaterThanOrEqual(3);
  });

  it('takes places of busy workers after their job when it needs more', async () => {
    await deployFirst('room', 'scale: { max: 4, type: requestCount, value: 1, idle: 30s }\n');
    await Promise.all(Array.from({ length: 4 }, () => stage.submit('room', { ms: 400 })));
    await until(async () => (await rollouts.workers('room')).length === 4, 'four workers');
    await rollouts.deploy('room', 'r2', { canary: 50 });
    const load = Array.from({ length: 60 }, () => stage.submit('room', { ms: 250 }));
    let counted = { r2: 0, all: 0 };
    await until(async () => {
      const live = await rollouts.workers('room');
      counted = { r2: Math.max(counted.r2, live.filter(({ release }) => release === 2).length), all: Math.max(counted.all, live.length) };
      return (await rollouts.counts('room')).completed === 64;
    }, 'all jobs to be done');
    expect(counted.r2).toBe(2);
    expect(counted.all).toBeLessThanOrEqual(5);
    expect(await rollouts.counts('room')).toMatchObject({ failed: 0, retried: 0, completed: 64 });
    await Promise.all(load);
  });

  it('goes on after the server was killed', async () => {
    await deployFirst('killed');
    await rollouts.deploy('killed', 'r2', { canary: 50 });
    await stage.kill();
    await stage.restart();
    const answers = await ask('killed', 20);
    expect(countOf(answers, 'r2')).toBeGreaterThanOrEqual(5);
    expect(countOf(answers, 'r1')).toBeGreaterThanOrEqual(5);
    expect(await stage.cli('promote', '-e', 'killed')).toContain('r2 serves');
  });

  it('does not apply to a first release, and keeps the next deploy out until it is decided', async () => {
    const dir = stage.project('first', nodeProject('first', CODE, 'env: { CODE: r1 }\n'));
    const deployed = await stage.tryCli('deploy', dir, '--canary', '5', '--json');
    expect(deployed.stderr).toContain('this one gets all jobs');
    expect(JSON.parse(deployed.stdout)).toMatchObject({ rollout: { state: 'DONE', share: 100 } });
    await rollouts.deploy('first', 'r2', { canary: 5 });
    const second = await stage.call('/api/v1/endpoints/first/releases', {
      method: 'POST',
      body: { reference: await rollouts.reference('first'), spec: { env: { CODE: 'r3' } } },
    });
    expect(second).toMatchObject({ status: 409, json: { error: { code: 'ROLLOUT_OPEN', hint: expect.stringContaining('wherry abort') } } });
    await stage.cli('abort', '-e', 'first', '--reason', 'not now');
    expect(await rollouts.newest('first')).toMatchObject({ to: 2, state: 'REVERTED', reason: 'not now' });
  });

  it.each(['0', '100', '1.5', 'x'])('refuses a share of %s', async (share) => {
    const refused = await stage.tryCli('deploy', stage.dir, '--canary', share);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('from 1 to 99');
  });
});

describe('a release that is held', () => {
  it('keeps its candidate ready for pinned jobs alone, until it is promoted', async () => {
    await deployFirst('held');
    await rollouts.deploy('held', 'r2', { hold: true });
    expect(await rollouts.newest('held')).toMatchObject({ state: 'PROVING', provedAt: expect.any(String), percentOnLatest: 0 });
    expect(await stage.runsync('held', null, { releaseId: 2 })).toMatchObject({ status: 'COMPLETED', output: 'r2' });
    expect(countOf(await ask('held', 5), 'r1')).toBe(5);
    // There is nothing that it could give way to.
    expect(await rollouts.post('held', { reference: 'absent:1', supersede: true })).toMatchObject({ status: 404 });
    expect(await rollouts.newest('held')).toMatchObject({ state: 'PROVING', to: 2 });
    expect(await stage.cli('status', 'held')).toContain('r2 waits for `wherry promote`');
    expect(await stage.cli('promote', '-e', 'held', '--release', 'r2')).toContain('r2 serves');
    expect(await ask('held', 1)).toEqual(['r2']);
  });

  it('is taken back when nobody promotes it in time, with what is pinned to it', async () => {
    await deployFirst('late');
    await rollouts.deploy('late', 'r2', { hold: true, holdMs: 5_000 });
    const gate = gateOf('late');
    const [running, waiting] = await Promise.all([1, 2].map(() => stage.submit('late', { gate }, { releaseId: 2 })));
    const reverted = await until(async () => {
      const newest = await rollouts.newest('late');
      return newest.state === 'REVERTED' ? newest : undefined;
    }, 'the rollout to end');
    expect(reverted.reason).toBe('not promoted in time: it was held for 5 s');
    writeFileSync(gate, '');
    const ends = await Promise.all([running, waiting].map((job) => stage.finished('late', job?.id ?? '')));
    expect(ends.map(({ status }) => status).sort()).toEqual(['COMPLETED', 'FAILED']);
    expect(ends.find(({ status }) => status === 'FAILED')?.error).toContain(
      'release r2, which the job is pinned to, was taken back: not promoted',
    );
    expect(await ask('late', 1)).toEqual(['r1']);
  });

  it('becomes the canary that was planned when it is promoted, and serves at the second time', async () => {
    await deployFirst('steps');
    await rollouts.deploy('steps', 'r2', { hold: true, canary: 30 });
    expect(await stage.cli('promote', '-e', 'steps')).toContain('30 % of new jobs');
    expect(await stage.cli('promote', '-e', 'steps')).toContain('serves');
  });

  it('is refused to be promoted while it is not ready, or when another one is meant', async () => {
    await deployFirst('early');
    await stage.call('/api/v1/endpoints/early', { method: 'PATCH', body: { settings: { scale: { max: 0 } } } });
    await rollouts.post('early', { spec: { env: { CODE: 'r2' } }, hold: true });
    const early = await stage.tryCli('promote', '-e', 'early');
    expect([early.code, early.stderr]).toEqual([5, expect.stringContaining('ROLLOUT_NOT_READY')]);
    expect((await stage.tryCli('promote', '-e', 'early', '--release', 'r7')).code).toBe(4);
    expect((await stage.tryCli('abort', '-e', 'early', '--release', 'r2')).code).toBe(0);
  });

  it('waits for its time after the server was killed, and not longer', async () => {
    await deployFirst('asleep');
    await rollouts.deploy('asleep', 'r2', { hold: true, holdMs: 2_000 });
    await stage.kill();
    await stage.restart();
    await until(async () => (await rollouts.newest('asleep')).state === 'REVERTED', 'the rollout to end');
  });
});

describe('a job that is pinned', () => {
  it('runs on its release, also when another one serves, and counts as no reason for workers of that one', async () => {
    await deployFirst('pinned', 'scale: { idle: 1s, keep: none }\n');
    await rollouts.deploy('pinned', 'r2');
    await until(async () => (await rollouts.workers('pinned')).length === 0, 'no worker to be left');
    const jobs = await Promise.all([1, 2, 3].map(() => stage.runsync('pinned', null, { releaseId: 1 })));
    expect(jobs.map(({ output }) => output)).toEqual(['r1', 'r1', 'r1']);
    expect(await stage.runsync('pinned', null, { releaseId: 2 })).toMatchObject({ output: 'r2' });
    const all = await rollouts.workers('pinned', true);
    const since = all.filter(({ id }) => jobs.some(({ workerId }) => workerId === id));
    expect(since).toMatchObject([{ release: 1, isCandidate: true }]);
    expect(all.filter(({ release, isCandidate }) => release === 2 && !isCandidate).length).toBeLessThanOrEqual(2);
    await until(async () => (await rollouts.workers('pinned')).length === 0, 'its worker to go');
  });

  it('says what it waits for', async () => {
    await deployFirst('waits');
    await rollouts.deploy('waits', 'r2');
    await stage.submit('waits', { gate: gateOf('waits') }, { releaseId: 1 });
    const second = await stage.submit('waits', null, { releaseId: 1 });
    expect(await stage.status('waits', second.id)).toMatchObject({
      waiting: { reason: 'pinned', evidence: expect.stringContaining('it runs on r1 only') },
    });
    writeFileSync(gateOf('waits'), '');
    expect(await stage.finished('waits', second.id)).toMatchObject({ output: 'r1' });
  });

  it('is for admin keys and releases that exist', async () => {
    await deployFirst('mine');
    const { key } = (await stage.call('/api/v1/keys', { method: 'POST', body: { name: 'mine', scope: 'endpoint', endpointId: 'mine' } }))
      .json as { key: string };
    const submit = (releaseId: unknown, as = stage.key) =>
      stage.call('/v2/mine/run', { method: 'POST', body: { input: null, releaseId }, key: as });
    expect(await submit(1, key)).toMatchObject({ status: 403, json: { error: expect.stringContaining('admin key') } });
    expect(await submit(9)).toMatchObject({ status: 404, json: { error: expect.stringContaining('has no release r9') } });
    for (const bad of ['1', 0, 1.5]) expect(await submit(bad)).toMatchObject({ status: 400 });
    expect(await submit(1)).toMatchObject({ status: 200 });
  });
});

describe('a deploy', () => {
  const tested = (name: string, handler: string, input: unknown) => ({
    ...nodeProject(name, handler),
    'test_input.json': JSON.stringify({ input }),
  });
  const STRICT = (answer: string) =>
    `export const handler = ({ input }) => { if (input.number === undefined) throw new Error('no number given'); return '${answer}'; };\n`;

  it("runs the project's test input on the candidate before any job reaches it (B5)", async () => {
    const dir = stage.project('tested', tested('tested', STRICT('one'), { number: 1 }));
    const deployed = JSON.parse(await stage.cli('deploy', dir, '--json')) as { test: { id: string; status: string; output: unknown } };
    expect(deployed.test).toMatchObject({ status: 'COMPLETED', output: 'one' });
    const [candidate] = await rollouts.workers('tested', true);
    expect((await stage.call(`/api/v1/endpoints/tested/jobs/${deployed.test.id}`)).json).toMatchObject({
      release: 1,
      workerId: candidate?.id,
    });
  });

  it('is taken back when the test input fails, while the old release serves on (B5, D4)', async () => {
    const dir = stage.project('untested', tested('untested', STRICT('one'), { number: 1 }));
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'handler.mjs'), STRICT('two'));
    writeFileSync(join(dir, 'test_input.json'), '{"input":{"name":"no number"}}');
    const failed = await stage.tryCli('deploy', dir, '--json');
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('no number given');
    expect(failed.stderr).toContain('never stopped serving');
    expect(JSON.parse(failed.stdout)).toMatchObject({ test: { status: 'FAILED' }, rollout: { state: 'REVERTED' } });
    expect(await stage.runsync('untested', { number: 2 })).toMatchObject({ output: 'one' });
    expect((await rollouts.newest('untested')).reason).toContain('its test input failed');

    await stage.cli('deploy', dir, '--no-test');
    expect(await stage.runsync('untested', { number: 2 })).toMatchObject({ output: 'two' });
  });

  it('is taken back when the test input ends the candidate, with its last lines (B5, D4)', async () => {
    const dir = stage.project('ends', tested('ends', STRICT('one'), { number: 1 }));
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'handler.mjs'), "export const handler = () => { console.error('out of memory'); process.exit(9); };\n");
    const failed = await stage.tryCli('deploy', dir);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('exited with code 9');
    expect(failed.stderr).toContain('out of memory');
    expect(await stage.runsync('ends', { number: 2 })).toMatchObject({ output: 'one' });
    expect(await rollouts.counts('ends')).toMatchObject({ inQueue: 0, inProgress: 0 });
  });

  it('is taken back when it is interrupted during its test', async () => {
    const dir = stage.project('stopped', tested('stopped', "export const handler = () => 'one';\n", {}));
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => new Promise((resolve) => setTimeout(resolve, 3_000));\n');
    const child = spawn(process.execPath, [MAIN, 'deploy', dir, '--data', stage.dataDir], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    await until(async () => (await rollouts.counts('stopped')).inProgress === 1, 'the test to run');
    child.kill('SIGINT');
    expect(await ended).toEqual([130, null]);
    expect(await rollouts.newest('stopped')).toMatchObject({ to: 2, state: 'REVERTED', reason: expect.stringContaining('interrupted') });
    expect(await stage.runsync('stopped', null)).toMatchObject({ output: 'one' });
  });

  it('waits for promote with --hold, after its test', async () => {
    const dir = stage.project('waiting', tested('waiting', STRICT('one'), { number: 1 }));
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'handler.mjs'), STRICT('two'));
    const held = JSON.parse(await stage.cli('deploy', dir, '--hold', '--json')) as { rollout: { state: string }; test: { status: string } };
    expect(held).toMatchObject({ rollout: { state: 'PROVING' }, test: { status: 'COMPLETED', output: 'two' } });
    expect(await stage.runsync('waiting', { number: 2 })).toMatchObject({ output: 'one' });
    await stage.cli('promote', '-e', 'waiting');
    expect(await stage.runsync('waiting', { number: 2 })).toMatchObject({ output: 'two' });
  });

  it('shows how far it is: percentOnLatest below 100 and stale workers while old ones finish (rows 19, 82)', async () => {
    const dir = await deployFirst('mixed', 'scale: { min: 1, max: 3 }\n');
    const slow = await stage.submit('mixed', { gate: gateOf('mixed') });
    await until(async () => (await stage.status('mixed', slow.id)).status === 'IN_PROGRESS', 'the job to run');
    writeFileSync(
      join(dir, 'wherry.yaml'),
      'name: mixed\nhandler: handler.mjs:handler\nbase: scratch\nenv: { CODE: r2 }\nscale: { min: 1, max: 3 }\n',
    );
    expect(await stage.cli('deploy', dir)).toContain('(50 % of the workers)');
    expect(await rollouts.newest('mixed')).toMatchObject({ state: 'DONE', percentOnLatest: 50 });
    const live = await rollouts.workers('mixed');
    expect(live.map(({ release, isStale }) => [release, isStale]).sort()).toEqual([
      [1, true],
      [2, false],
    ]);
    expect(await stage.cli('status', 'mixed')).toContain('r2 on 50 % of workers');
    expect(await stage.cli('releases', '-e', 'mixed')).toContain('SERVES 50 %');
    writeFileSync(gateOf('mixed'), '');
    expect(await stage.finished('mixed', slow.id)).toMatchObject({ output: 'r1' });
    await until(async () => (await rollouts.newest('mixed')).percentOnLatest === 100, 'the old worker to end');
    expect(await stage.cli('status', 'mixed')).not.toContain('% of workers');
  });

  it('makes a release of a changed variable, and none of a setting (rows 14, 20)', async () => {
    const dir = await deployFirst('counted', 'scale: { max: 2 }\n');
    const write = (code: string, max: number) =>
      writeFileSync(
        join(dir, 'wherry.yaml'),
        `name: counted\nhandler: handler.mjs:handler\nbase: scratch\nenv: { CODE: ${code} }\nscale: { max: ${max} }\n`,
      );
    write('r1', 5);
    await stage.cli('deploy', dir);
    expect(await rollouts.newest('counted')).toMatchObject({ to: 1 });
    expect((await stage.call('/api/v1/endpoints/counted')).json).toMatchObject({ activeRelease: 1, settings: { scale: { max: 5 } } });
    write('r2', 5);
    await stage.cli('deploy', dir);
    expect(await rollouts.newest('counted')).toMatchObject({ to: 2, state: 'DONE' });
    expect(await ask('counted', 1)).toEqual(['r2']);
  });
});

describe('a rollback', () => {
  it('says what it changes and what it leaves, first without doing it (row 15)', async () => {
    await deployFirst('told');
    await rollouts.post('told', { spec: { env: { CODE: 'r2', MORE: '1' }, args: ['--fast'] } });
    await rollouts.settled('told');
    const dry = JSON.parse(await stage.cli('rollback', '-e', 'told', '--dry-run', '--json')) as { changes: string[]; stays: string[] };
    expect(dry.changes).toEqual(['env ~CODE -MORE', 'args']);
    expect(dry.stays.join()).toContain('scale');
    expect(await ask('told', 1)).toEqual(['r2']);
    const done = await stage.cli('rollback', '-e', 'told');
    expect(done).toContain('told r3 (rollback:r1)');
    expect(done).toContain('changes  env ~CODE -MORE, args');
    expect(done).toContain('values of secrets');
    expect(await ask('told', 1)).toEqual(['r1']);
  });
});
