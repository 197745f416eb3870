import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { FAULT_POINTS } from '../../src/base/faults.js';
import { openStage, pidsWith, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** The real server is killed with SIGKILL and started again; what it acknowledged must hold. */
let stage: Stage;
afterEach(async () => {
  const { dataDir } = stage;
  await stage.close();
  // No process of a worker may be left, however the server died; its directory is in the environment of each.
  await until(() => pidsWith(join(dataDir, 'workers')).length === 0, 'all workers to be gone');
});

const ATTEMPTED = { signal: 'ignored' } as const;

/** A call whose answer the crash may swallow. */
async function attempt<T>(call: Promise<T>): Promise<T | typeof ATTEMPTED> {
  return call.catch(() => ATTEMPTED);
}

function runsOf(file: string, id: string): number {
  return existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line === id).length
    : 0;
}

describe('a server killed at a fault point', () => {
  it.each(FAULT_POINTS.filter((point) => !point.startsWith('deploy.')))(
    'loses no acknowledged job and settles each once: %s',
    async (point) => {
      stage = await openStage();
      await stage.cli('deploy', stage.project('jobs', nodeProject('jobs', ECHO, 'scale: { idle: 3s }\n')));
      const file = join(stage.dir, 'runs');
      const before = await stage.submit('jobs', { file, value: 'before', sleepMs: 300 });
      await stage.kill();
      await stage.restart({ WHERRY_FAULT: point });
      const during = await attempt(stage.submit('jobs', { file, value: 'during' }));
      await stage.died();
      await stage.restart({ WHERRY_FAULT: '' });

      const acknowledged = [before, ...('id' in during ? [during] : [])];
      for (const { id } of acknowledged) {
        const job = await stage.finished('jobs', id);
        expect(job, point).toMatchObject({ status: 'COMPLETED' });
        expect(runsOf(file, id)).toBeGreaterThanOrEqual(1);
        expect(await stage.status('jobs', id)).toEqual(job);
      }
      const { jobs } = (await stage.call('/v2/jobs/health')).json as { jobs: { completed: number; failed: number; inProgress: number } };
      const listed = ((await stage.call('/api/v1/endpoints/jobs/jobs')).json as { items: { status: string }[] }).items;
      await until(
        async () =>
          ((await stage.call('/api/v1/endpoints/jobs/jobs')).json as { items: { status: string }[] }).items.every(
            ({ status }) => status === 'COMPLETED',
          ),
        'every stored job to end',
      );
      expect(jobs.failed).toBe(0);
      expect(jobs.completed).toBeLessThanOrEqual(listed.length);
    },
  );

  it.each(FAULT_POINTS.filter((point) => point.startsWith('deploy.')))(
    'serves one of the two releases whole, and a stored one is proved: %s',
    async (point) => {
      stage = await openStage();
      const one = stage.project('roll', nodeProject('roll', "export const handler = () => 'one';\n"));
      await stage.cli('deploy', one);
      await stage.kill();
      await stage.restart({ WHERRY_FAULT: point });
      stage.project('roll', { 'handler.mjs': "export const handler = () => 'two';\n" });
      const deployed = await stage.tryCli('deploy', one);
      expect(deployed.code).not.toBe(0);
      await stage.died();
      await stage.restart({ WHERRY_FAULT: '' });

      const isStored = point !== 'deploy.before-release';
      const expected = isStored ? 'two' : 'one';
      await until(async () => {
        const { items } = (await stage.call('/api/v1/endpoints/roll/rollouts')).json as { items: { state: string }[] };
        return items.every(({ state }) => state === 'DONE') && items.length === (isStored ? 2 : 1);
      }, 'the rollout to be done');
      expect(await stage.runsync('roll', null)).toMatchObject({ status: 'COMPLETED', output: expected });
      await stage.cli('deploy', one);
      expect(await stage.runsync('roll', null)).toMatchObject({ output: 'two' });
    },
  );
});

describe('processes that die', () => {
  it('keeps a worker alive over a killed server; its result arrives at the next one', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('adopt', nodeProject('adopt', ECHO)));
    const file = join(stage.dir, 'runs');
    const job = await stage.submit('adopt', { file, sleepMs: 2_000, value: 'kept' });
    const { workerId } = await until(async () => {
      const now = await stage.status('adopt', job.id);
      return now.status === 'IN_PROGRESS' ? now : undefined;
    }, 'the job to run');
    await stage.kill();
    await stage.restart();
    expect(await stage.finished('adopt', job.id)).toMatchObject({ status: 'COMPLETED', output: 'kept', workerId });
    expect(runsOf(file, job.id)).toBe(1);
  });

  it('runs the job of a killed worker again on another one and counts it (row 31)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('killed', nodeProject('killed', ECHO)));
    const file = join(stage.dir, 'runs');
    const job = await stage.submit('killed', { file, sleepMs: 1_500, value: 'again' });
    const first = await until(() => (runsOf(file, job.id) === 1 ? stage.status('killed', job.id) : undefined), 'the first run');
    for (const pid of pidsWith(`/${first.workerId}`)) process.kill(pid, 'SIGKILL');
    const done = await stage.finished('killed', job.id);
    expect(done).toMatchObject({ status: 'COMPLETED', output: 'again' });
    expect(done.workerId).not.toBe(first.workerId);
    const { jobs } = (await stage.call('/v2/killed/health')).json as { jobs: { retried: number } };
    expect(jobs.retried).toBe(1);
  });

  it('fails a job whose handler always exits, after three runs, with the exit code (row 31)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('exits', nodeProject('exits', ECHO)));
    const file = join(stage.dir, 'runs');
    const job = await stage.submit('exits', { file, exit: 7 });
    const failed = await stage.finished('exits', job.id);
    expect(failed).toMatchObject({ status: 'FAILED', error: expect.stringContaining('exited with code 7') });
    expect(runsOf(file, job.id)).toBe(3);
  });

  it('requeues the job of a worker that is not heard of any more (row 29)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('silent', nodeProject('silent', ECHO, 'scale: { max: 2 }\n')));
    const file = join(stage.dir, 'runs');
    const job = await stage.submit('silent', { file, sleepMs: 3_000, value: 'heard' });
    const first = await until(() => (runsOf(file, job.id) === 1 ? stage.status('silent', job.id) : undefined), 'the first run');
    for (const pid of pidsWith(`/${first.workerId}`)) process.kill(pid, 'SIGSTOP');
    const done = await until(
      async () => {
        const now = await stage.status('silent', job.id);
        return now.status === 'COMPLETED' ? now : undefined;
      },
      'the job to run elsewhere',
      55_000,
    );
    expect(done.workerId).not.toBe(first.workerId);
  }, 90_000);
});
