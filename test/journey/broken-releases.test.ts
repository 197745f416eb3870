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

const GOOD = "export const handler = () => 'good';\n";

/** A project whose first release serves, and whose next one is the given handler. */
async function deployGood(name: string, settings = ''): Promise<{ dir: string; breakIt(handler: string): void }> {
  const dir = stage.project(name, nodeProject(name, GOOD, settings));
  await stage.cli('deploy', dir);
  return { dir, breakIt: (handler) => writeFileSync(join(dir, 'handler.mjs'), handler) };
}

/** The old release serves all the time: asked before, while and after. */
async function stillServes(endpoint: string): Promise<void> {
  expect(await stage.runsync(endpoint, null)).toMatchObject({ status: 'COMPLETED', output: 'good' });
}

async function refusedDeploy(endpoint: string, dir: string): Promise<string> {
  const failed = await stage.tryCli('deploy', dir);
  expect(failed.code).not.toBe(0);
  await stillServes(endpoint);
  const newest = await rollouts.newest(endpoint);
  expect(newest.state).toBe('REVERTED');
  const jobs = (await stage.call(`/api/v1/endpoints/${endpoint}/jobs`)).json as { items: { release: number }[] };
  expect(jobs.items.map(({ release }) => release)).not.toContain(newest.to);
  return failed.stderr;
}

describe('a release that cannot start gets no job, and its deploy says why', () => {
  it.each([
    ['exits', "console.error('no licence');\nprocess.exit(4);\n", ['exited with code 4', 'no licence']],
    ['throws', "throw new Error('no model here');\nexport const handler = () => 1;\n", ['no model here']],
    ['is killed', "process.kill(process.pid, 'SIGKILL');\nexport const handler = () => 1;\n", ['was ended by SIGKILL']],
  ])('it %s while it starts (D4)', async (what, handler, said) => {
    const name = `at-start-${what.replaceAll(' ', '-')}`;
    const { dir, breakIt } = await deployGood(name);
    breakIt(handler);
    const stderr = await refusedDeploy(name, dir);
    for (const text of said) expect(stderr).toContain(text);
  });

  it('its fitness check fails (D4)', async () => {
    const { dir, breakIt } = await deployGood('unfit');
    breakIt(`
import { registerFitnessCheck } from '@wherry/worker';
registerFitnessCheck(function weights() { throw new Error('weights are missing'); });
${GOOD}`);
    const stderr = await refusedDeploy('unfit', dir);
    expect(stderr).toContain('fitness check weights failed: Error: weights are missing');
  });

  it('it hangs in its start (D4)', async () => {
    const { dir, breakIt } = await deployGood('hangs', 'limits: { init: 1s }\n');
    breakIt(`await new Promise((resolve) => setTimeout(resolve, 60_000));\n${GOOD}`);
    expect(await refusedDeploy('hangs', dir)).toContain('not ready within 1 s (limits.init)');
  });

  it('its native code is for another processor: both are named (D4)', async () => {
    const { dir, breakIt } = await deployGood('foreign');
    // The head of an ELF file for a machine that does not exist.
    const head = Buffer.alloc(64);
    head.write('\u007fELF\u0002\u0001\u0001', 'latin1');
    head.writeUInt16LE(3, 16);
    head.writeUInt16LE(0xbeef, 18);
    writeFileSync(join(dir, 'native.node'), head);
    writeFileSync(join(dir, 'wherry.yaml'), 'name: foreign\nhandler: handler.mjs:handler\nbase: scratch\nplatforms: [linux/s390x]\n');
    breakIt(`
import { fileURLToPath } from 'node:url';
process.dlopen({ exports: {} }, fileURLToPath(new URL('./native.node', import.meta.url)));
${GOOD}`);
    const stderr = await refusedDeploy('foreign', dir);
    expect(stderr).toContain('native.node');
    expect(stderr).toMatch(/the image is for linux\/s390x, this machine is linux\/\w+/);
  });
});

/** Starts well; each job ends the worker, or the worker ends by itself a moment after its start, as the input and FLAG say. */
const UNSTABLE = `
import { existsSync } from 'node:fs';
if (process.env.CODE === 'bad' && existsSync(process.env.FLAG)) { console.error('the cache is broken'); process.exit(3); }
export const handler = ({ input }) => {
  if (process.env.CODE === 'bad' && input?.exit) { console.error('cannot do ' + input.exit); process.exit(5); }
  return process.env.CODE;
};
`;

describe('a release that serves and then crashes', () => {
  const deployUnstable = async (name: string) => {
    const flag = join(stage.dir, `${name}-flag`);
    const settings = `env: { CODE: good, FLAG: ${flag} }\nscale: { max: 2, idle: 2s, keep: none, type: requestCount, value: 1 }\n`;
    await stage.cli('deploy', stage.project(name, nodeProject(name, UNSTABLE, settings)));
    return { flag, deployBad: (more = {}) => rollouts.post(name, { spec: { env: { CODE: 'bad', FLAG: flag } }, ...more }) };
  };

  it('gives way to the one before by itself, with what its workers said; no job fails (D4)', async () => {
    const { flag, deployBad } = await deployUnstable('loops');
    await deployBad();
    await rollouts.settled('loops');
    expect(await stage.runsync('loops', null)).toMatchObject({ output: 'bad' });
    await until(async () => (await rollouts.workers('loops')).length === 0, 'its workers to go');
    writeFileSync(flag, '');
    const jobs = await Promise.all([1, 2, 3].map(() => stage.submit('loops', null)));
    for (const { id } of jobs) expect(await stage.finished('loops', id)).toMatchObject({ status: 'COMPLETED', output: 'good' });
    const newest = await rollouts.newest('loops');
    expect(newest).toMatchObject({ from: 2, to: 3, state: 'DONE' });
    expect(newest.reason).toMatch(
      /^reverted automatically: 3 workers of r2 in a row ended without finishing a job; the last: worker w-\w+ of r2 exited with code 3/,
    );
    expect(newest.reason).toContain('the cache is broken');
    const [release] = ((await stage.call('/api/v1/endpoints/loops/releases')).json as { items: unknown[] }).items;
    expect(release).toMatchObject({ number: 3, source: 'rollback:r1', author: 'wherry' });
    expect(await stage.cli('releases', '-e', 'loops')).toContain('r3  reverted automatically: 3 workers of r2');
  });

  it('gives way when several jobs end its workers, and they are answered by the one before (D4)', async () => {
    const { deployBad } = await deployUnstable('jobs');
    await deployBad();
    await rollouts.settled('jobs');
    const jobs = await Promise.all([1, 2, 3, 4].map((exit) => stage.submit('jobs', { exit })));
    const ends = await Promise.all(jobs.map(({ id }) => stage.finished('jobs', id)));
    expect(ends.filter(({ output }) => output === 'good').length).toBeGreaterThanOrEqual(2);
    expect((await rollouts.newest('jobs')).reason).toContain('cannot do');
  });

  it('stays when it is one job that ends its workers: that job is set aside', async () => {
    const { deployBad } = await deployUnstable('poison');
    await deployBad();
    await rollouts.settled('poison');
    const poison = await stage.submit('poison', { exit: 1 });
    expect(await stage.finished('poison', poison.id)).toMatchObject({
      status: 'FAILED',
      error: expect.stringContaining('JOB_QUARANTINED'),
    });
    expect(await stage.runsync('poison', null)).toMatchObject({ output: 'bad' });
    expect(await rollouts.newest('poison')).toMatchObject({ to: 2, state: 'DONE', reason: null });
  });

  it('is taken back as a canary, and no job fails by it (D4)', async () => {
    const { deployBad } = await deployUnstable('bird');
    await deployBad({ canary: 50 });
    await rollouts.settled('bird');
    const jobs = await Promise.all(Array.from({ length: 30 }, (_, n) => stage.submit('bird', { exit: n + 1 })));
    for (const { id } of jobs) expect(await stage.finished('bird', id)).toMatchObject({ status: 'COMPLETED', output: 'good' });
    const newest = await rollouts.newest('bird');
    expect(newest).toMatchObject({ to: 2, state: 'REVERTED' });
    expect(newest.reason).toMatch(/^reverted automatically: \d workers of r2 in a row/);
    expect(newest.reason).toContain('exited with code 5');
  });

  it('stays when nothing served before it, and is paused in the end as ever', async () => {
    const flag = join(stage.dir, 'alone-flag');
    await stage.cli('deploy', stage.project('alone', nodeProject('alone', UNSTABLE, `env: { CODE: bad, FLAG: ${flag} }\n`)));
    await until(async () => (await rollouts.workers('alone')).length === 0, 'its candidate to go');
    writeFileSync(flag, '');
    await stage.submit('alone', null);
    await until(async () => (await rollouts.workers('alone', true)).filter(({ state }) => state === 'STOPPED').length >= 5, 'four crashes');
    expect(await rollouts.list('alone')).toHaveLength(1);
  });
});
