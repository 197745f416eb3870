import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needsFork } from '../needs.js';
import { openStage, type Stage, until } from '../stage.js';

const isAble = needsFork();

/** Its worker ends after each job, so that every job starts from zero; `start` is called by the file itself. */
const handlerOf = (version: number) => `import json, os, time
import runpod

def handler(job):
    time.sleep(job["input"].get("sleep", 0))
    return {"version": ${version}, "worker": os.environ["RUNPOD_POD_ID"], "input": job["input"]}

if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "refresh_worker": True})
`;

interface Ran {
  readonly workerId: string;
  readonly path: string | undefined;
  readonly version: number;
}

let stage: Stage;

function project(name: string, version: number): string {
  const settings = `name: ${name}\nhandler: handler.py:handler\nbase: scratch\nscale: { max: 1 }\n`;
  return stage.project(name, { 'wherry.yaml': settings, 'handler.py': handlerOf(version) });
}

/** A job from zero; checks its result. */
async function run(endpoint: string, value: number): Promise<Ran> {
  await until(
    async () => ((await stage.call(`/api/v1/endpoints/${endpoint}/workers`)).json as { items: [] }).items.length === 0,
    'no worker',
  );
  const job = await stage.runsync(endpoint, { value });
  expect(job).toMatchObject({ status: 'COMPLETED', output: { worker: job.workerId, input: { value } } });
  const { timeline } = (await stage.status(endpoint, job.id)) as { timeline?: { path: string } };
  return { workerId: job.workerId ?? '', path: timeline?.path, version: (job.output as { version: number }).version };
}

/** Runs jobs until one was served by a forked worker. */
const runForked = (endpoint: string) =>
  until(async () => {
    const ran = await run(endpoint, 1);
    return ran.path === 'fork' ? ran : undefined;
  }, 'a forked worker');

describe.skipIf(!isAble)('Python workers from zero', () => {
  beforeAll(async () => {
    stage = await openStage();
  });
  afterAll(() => stage.close());

  it('are forked from the second on, and the ledger and the log say so (B8)', async () => {
    await stage.cli('deploy', project('forked', 1));
    const { workerId } = await runForked('forked');
    expect(await stage.cli('logs', '-e', 'forked', '--worker', workerId)).toMatch(/started r1, image \w+ \(forked\)/);
  });

  it('never run the code of another release (D5)', async () => {
    const dir = project('rolled', 1);
    await stage.cli('deploy', dir);
    expect((await runForked('rolled')).version).toBe(1);
    await stage.cli('deploy', project('rolled', 2));
    expect((await runForked('rolled')).version).toBe(2);
    await stage.cli('rollback', '-e', 'rolled');
    const paths = new Set<string | undefined>();
    for (let n = 0; n < 3; n++) {
      const { version, path } = await run('rolled', n);
      expect(version).toBe(1);
      paths.add(path);
    }
    // Its fork server had not ended yet: the same image with the same variables.
    expect(paths).toEqual(new Set(['fork']));
  });

  it('keep their job when the server is killed, and their end is recorded (A1)', async () => {
    await stage.cli('deploy', project('kept', 1));
    await runForked('kept');
    const { id } = await stage.submit('kept', { sleep: 2 });
    await until(async () => (await stage.status('kept', id)).status === 'IN_PROGRESS', 'the job to run');
    const { workerId } = await stage.status('kept', id);
    await stage.kill();
    await stage.restart();
    const job = await stage.finished('kept', id);
    expect(job).toMatchObject({ status: 'COMPLETED', workerId, output: { worker: workerId } });
    // Its end is seen, not guessed: it comes by itself, or a moment earlier by the stop that follows its last job.
    const ended = /stopped: it asked to be replaced, (exited with code 0|was ended by SIGTERM)\n/;
    await until(async () => ended.test(await stage.cli('logs', '-e', 'kept', '--worker', workerId ?? '')), 'the end of the worker');
    expect((await run('kept', 2)).path).toBe('fork');
  });
});

it.skipIf(!isAble)('spawns every Python worker with WHERRY_FORK_SERVER=off', async () => {
  stage = await openStage({ WHERRY_FORK_SERVER: 'off' });
  try {
    await stage.cli('deploy', project('spawned', 1));
    for (let n = 0; n < 3; n++) expect((await run('spawned', n)).path).toBe('spawn');
    expect(existsSync(join(stage.dataDir, 'forks')) ? readdirSync(join(stage.dataDir, 'forks')) : []).toEqual([]);
  } finally {
    await stage.close();
  }
});
