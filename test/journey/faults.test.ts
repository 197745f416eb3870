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

/** Says how each run went: one line `id run` a run, and `run` is its output, so that an accepted output names its run. */
const RUNS = `
import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
export async function handler({ id, input: { file, sleepMs = 0 } }) {
  const run = randomUUID();
  appendFileSync(file, id + ' ' + run + '\\n');
  await new Promise((resolve) => setTimeout(resolve, sleepMs));
  return run;
}
`;

const LOST = { signal: 'ignored' } as const;

/** What the crash may swallow: a submission without an answer, or a start that reaches the point before it is announced. */
async function attempt<T>(call: Promise<T>): Promise<T | typeof LOST> {
  return call.catch(() => LOST);
}

/** The runs of a job: what its handler wrote after its id, or the id alone. */
function runsOf(file: string, id: string): string[] {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  return lines.filter((line) => line.split(' ')[0] === id).map((line) => line.split(' ')[1] ?? '');
}

interface Listed {
  readonly items: readonly {
    readonly id: string;
    readonly status: string;
    readonly number: number;
    readonly state: string;
    readonly exitCode: number | null;
    readonly image: { readonly digest: string };
  }[];
}

async function list(path: string): Promise<Listed['items']> {
  return ((await stage.call(`/api/v1/endpoints/${path}`)).json as Listed).items;
}

async function countJobs(
  endpoint: string,
): Promise<Readonly<Record<'completed' | 'failed' | 'inProgress' | 'inQueue' | 'retried', number>>> {
  return ((await stage.call(`/v2/${endpoint}/health`)).json as { jobs: Awaited<ReturnType<typeof countJobs>> }).jobs;
}

describe('a server killed at a fault point', () => {
  it.each(FAULT_POINTS.filter((point) => /^(submit|claim|settle)\./.test(point)))(
    'loses no acknowledged job, runs and settles each once: %s',
    async (point) => {
      stage = await openStage();
      await stage.cli('deploy', stage.project('jobs', nodeProject('jobs', RUNS, 'scale: { idle: 3s }\n')));
      const file = join(stage.dir, 'runs');
      const before = await stage.submit('jobs', { file, sleepMs: 300 });
      await stage.kill();
      await attempt(stage.restart({ WHERRY_FAULT: point }));
      const during = await attempt(stage.submit('jobs', { file }));
      await stage.died();
      await stage.restart({ WHERRY_FAULT: '' });

      const acknowledged = [before, ...('id' in during ? [during] : [])];
      for (const { id } of acknowledged) {
        const job = await stage.finished('jobs', id);
        expect(job).toMatchObject({ status: 'COMPLETED' });
        expect(runsOf(file, id)).toEqual([job.output]);
      }
      // A submission without an answer may be stored; then it ends like any other.
      const after = await stage.runsync('jobs', { file });
      expect(after).toMatchObject({ status: 'COMPLETED' });
      const stored = await until(async () => {
        const jobs = await list('jobs/jobs');
        return jobs.every(({ status }) => status === 'COMPLETED') ? jobs : undefined;
      }, 'every stored job to end');
      const settled = await Promise.all(stored.map(({ id }) => stage.status('jobs', id)));
      for (const job of settled) expect(runsOf(file, job.id)).toEqual([job.output]);
      expect(stored.length - acknowledged.length - 1).toBeOneOf('id' in during ? [0] : [0, 1]);
      expect(await countJobs('jobs')).toMatchObject({ completed: stored.length, failed: 0, inProgress: 0, inQueue: 0 });

      // What is settled stays as it is over one more start.
      await stage.kill();
      await stage.restart();
      expect(await Promise.all(stored.map(({ id }) => stage.status('jobs', id)))).toEqual(settled);
    },
    90_000,
  );

  it.each(FAULT_POINTS.filter((point) => point.startsWith('deploy.')))(
    'serves one of the two releases whole, and a stored one is proved: %s',
    async (point) => {
      stage = await openStage();
      const project = stage.project('roll', nodeProject('roll', "export const handler = () => 'one';\n"));
      await stage.cli('deploy', project);
      const [first] = await list('roll/releases');
      await stage.kill();
      await stage.restart({ WHERRY_FAULT: point });
      stage.project('roll', { 'handler.mjs': "export const handler = () => 'two';\n" });
      const deployed = await stage.tryCli('deploy', project);
      expect(deployed.code).not.toBe(0);
      await stage.died();
      await stage.restart({ WHERRY_FAULT: '' });

      const isStored = point !== 'deploy.before-release';
      const numbers = isStored ? [1, 2] : [1];
      await until(async () => {
        const rollouts = await list('roll/rollouts');
        return rollouts.length === numbers.length && rollouts.every(({ state }) => state === 'DONE');
      }, 'the rollout to be done');
      const releases = await list('roll/releases');
      expect(releases.map(({ number }) => number).sort()).toEqual(numbers);
      expect(releases).toContainEqual(first);
      expect(new Set(releases.map(({ image }) => image.digest)).size).toBe(numbers.length);
      expect((await stage.call('/api/v1/endpoints/roll')).json).toMatchObject({ activeRelease: numbers.length });
      expect(await stage.runsync('roll', null)).toMatchObject({ status: 'COMPLETED', output: isStored ? 'two' : 'one' });

      await stage.cli('deploy', project);
      expect(await stage.runsync('roll', null)).toMatchObject({ output: 'two' });
      expect((await list('roll/releases')).map(({ number }) => number).sort()).toEqual([1, 2]);
    },
    90_000,
  );
});

describe('a busy worker that is not wanted any more', () => {
  const SLOW = { sleepMs: 3_000 };
  const startSlow = async (endpoint: string, file: string) => {
    const { id } = await stage.submit(endpoint, { file, ...SLOW });
    await until(() => runsOf(file, id).length === 1, 'the job to run');
    return stage.status(endpoint, id);
  };
  const stopped = (endpoint: string, workerId: string | undefined) =>
    until(
      async () => (await list(`${endpoint}/workers?all=true`)).find(({ id, state }) => id === workerId && state === 'STOPPED'),
      'the worker to stop',
    );

  it('finishes its job when a new release takes over, which serves meanwhile (row 33)', async () => {
    stage = await openStage();
    const project = stage.project('over', nodeProject('over', RUNS));
    await stage.cli('deploy', project);
    const file = join(stage.dir, 'runs');
    const running = await startSlow('over', file);
    stage.project('over', { 'handler.mjs': "export const handler = () => 'two';\n" });
    await stage.cli('deploy', project);
    expect(await stage.runsync('over', { file })).toMatchObject({ output: 'two' });
    const done = await stage.finished('over', running.id);
    expect(done).toMatchObject({ status: 'COMPLETED', workerId: running.workerId });
    expect(runsOf(file, running.id)).toEqual([done.output]);
    expect(await stopped('over', running.workerId)).toMatchObject({ exitCode: 0 });
  });

  it('finishes its job when max goes to zero, and then none is left (row 33)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('less', nodeProject('less', RUNS)));
    const file = join(stage.dir, 'runs');
    const running = await startSlow('less', file);
    await stage.call('/api/v1/endpoints/less', { method: 'PATCH', body: { settings: { scale: { min: 0, max: 0 } } } });
    const done = await stage.finished('less', running.id);
    expect(done).toMatchObject({ status: 'COMPLETED', workerId: running.workerId });
    expect(runsOf(file, running.id)).toEqual([done.output]);
    expect(await stopped('less', running.workerId)).toMatchObject({ exitCode: 0 });
    expect(await list('less/workers')).toEqual([]);
  });

  it('finishes its job when a new release takes over, also without an execution limit or with a longer one of its own (row 33)', async () => {
    stage = await openStage();
    const settings = 'scale: { max: 4, type: requestCount, value: 1 }\n';
    const project = stage.project('free', nodeProject('free', RUNS, settings));
    await stage.cli('deploy', project);
    const file = join(stage.dir, 'runs');
    const limitTo = (executionMs: number) =>
      stage.call('/api/v1/endpoints/free', { method: 'PATCH', body: { settings: { limits: { executionMs } } } });
    await limitTo(0);
    const unlimited = await startSlow('free', file);
    await limitTo(1_000);
    const longer = await stage.submit('free', { file, sleepMs: 8_000 }, { policy: { executionTimeout: 60_000 } });
    await until(() => runsOf(file, longer.id).length === 1, 'the job to run');
    await limitTo(0);
    stage.project('free', { 'handler.mjs': "export const handler = () => 'two';\n" });
    await stage.cli('deploy', project);
    for (const { id } of [unlimited, longer]) {
      const done = await stage.finished('free', id);
      expect(done).toMatchObject({ status: 'COMPLETED' });
      expect(runsOf(file, id)).toEqual([done.output]);
    }
    expect(await countJobs('free')).toMatchObject({ failed: 0, retried: 0 });
  });

  it('goes on draining with the time its job has left when the server restarts (row 33)', async () => {
    stage = await openStage();
    // Its own listener: a second SIGTERM must not end it, whatever the SDK does with one.
    const project = stage.project('rest', nodeProject('rest', `process.on('SIGTERM', () => {});${RUNS}`));
    await stage.cli('deploy', project);
    const file = join(stage.dir, 'runs');
    const { id } = await stage.submit('rest', { file, sleepMs: 9_000 });
    await until(() => runsOf(file, id).length === 1, 'the job to run');
    stage.project('rest', { 'handler.mjs': "export const handler = () => 'two';\n" });
    await stage.cli('deploy', project);
    await until(async () => (await list('rest/workers')).some(({ state }) => state === 'DRAINING'), 'the worker to drain');
    await stage.kill();
    await stage.restart();
    const done = await stage.finished('rest', id);
    expect(done).toMatchObject({ status: 'COMPLETED' });
    expect(runsOf(file, id)).toEqual([done.output]);
  });

  it('finishes its job when its processes get SIGTERM, and exits with 0 (row 33)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('term', nodeProject('term', RUNS)));
    const file = join(stage.dir, 'runs');
    const running = await startSlow('term', file);
    for (const pid of pidsWith(`/${running.workerId}`)) process.kill(pid, 'SIGTERM');
    const done = await stage.finished('term', running.id);
    expect(done).toMatchObject({ status: 'COMPLETED', workerId: running.workerId });
    expect(runsOf(file, running.id)).toEqual([done.output]);
    expect(await stopped('term', running.workerId)).toMatchObject({ exitCode: 0 });
    expect(await countJobs('term')).toMatchObject({ completed: 1, failed: 0, retried: 0 });
  });
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
    expect(runsOf(file, job.id)).toHaveLength(1);
  });

  it('runs the job of a killed worker again on another one and counts it (row 31)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('killed', nodeProject('killed', ECHO)));
    const file = join(stage.dir, 'runs');
    const job = await stage.submit('killed', { file, sleepMs: 1_500, value: 'again' });
    const first = await until(() => (runsOf(file, job.id).length === 1 ? stage.status('killed', job.id) : undefined), 'the first run');
    for (const pid of pidsWith(`/${first.workerId}`)) process.kill(pid, 'SIGKILL');
    const done = await stage.finished('killed', job.id);
    expect(done).toMatchObject({ status: 'COMPLETED', output: 'again' });
    expect(done.workerId).not.toBe(first.workerId);
    expect(runsOf(file, job.id)).toHaveLength(2);
    expect(await countJobs('killed')).toMatchObject({ completed: 1, failed: 0, retried: 1 });
  });

  it('fails a job whose handler always exits, after three runs, with the exit code (row 31)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('exits', nodeProject('exits', ECHO)));
    const file = join(stage.dir, 'runs');
    const job = await stage.submit('exits', { file, exit: 7 });
    const failed = await stage.finished('exits', job.id);
    expect(failed).toMatchObject({ status: 'FAILED', error: expect.stringContaining('exited with code 7') });
    expect(runsOf(file, job.id)).toHaveLength(3);
  });

  it('requeues the job of a worker that is not heard of any more (row 29)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('silent', nodeProject('silent', ECHO, 'scale: { max: 2 }\n')));
    const file = join(stage.dir, 'runs');
    const job = await stage.submit('silent', { file, sleepMs: 3_000, value: 'heard' });
    const first = await until(() => (runsOf(file, job.id).length === 1 ? stage.status('silent', job.id) : undefined), 'the first run');
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
