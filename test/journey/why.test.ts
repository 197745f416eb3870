import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EndpointWhyView, JobWhyView } from '../../src/api/resources.js';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** Ends soon after its start, with its last words, while the file FLAG names is there. */
const CRASHES = `
import { existsSync, rmSync } from 'node:fs';
if (existsSync(process.env.FLAG)) {
  console.log('\\u001b[31mno such model\\u001b[0m');
  await new Promise((resolve) => setTimeout(resolve, 30));
  process.exit(7);
}
export const handler = () => 'fine';
`;

let stage: Stage;
let flag: string;
beforeAll(async () => {
  stage = await openStage();
  flag = join(stage.dir, 'flag');
  await stage.cli('deploy', stage.project('echo', nodeProject('echo', ECHO, 'scale: { max: 1, idle: 1s, keep: none }\n')));
});
afterAll(() => stage.close());

const json = async <T>(...args: readonly string[]) => JSON.parse(await stage.cli(...args, '--json')) as T;
const whyJob = async (id: string) => (await stage.call(`/api/v1/jobs/${id}/why`)).json as JobWhyView;
const whyEndpoint = async (id: string) => (await stage.call(`/api/v1/endpoints/${id}/why`)).json as EndpointWhyView;
const change = (endpoint: string, body: unknown) => stage.call(`/api/v1/endpoints/${endpoint}`, { method: 'PATCH', body });
const noWorker = (endpoint: string) =>
  until(async () => ((await stage.call(`/api/v1/endpoints/${endpoint}/workers`)).json as { items: [] }).items.length === 0, 'no worker');

describe('wherry why', () => {
  it('tells how a cold job went: its path, its phases as bars, its worker, image and lines (B8)', async () => {
    await noWorker('echo');
    const { id } = await stage.runsync('echo', { log: 'a line of the job', value: 1 });
    const warm = await stage.runsync('echo', { value: 1 });
    await until(async () => (await whyJob(id)).lines.some(({ text }) => text === 'a line of the job'), 'the line to be stored');
    const why = await whyJob(id);
    expect(why).toMatchObject({
      endpointId: 'echo',
      job: { id, status: 'COMPLETED', attempt: 1, release: 1 },
      waiting: null,
      timeline: { path: 'spawn' },
      worker: { runtime: 'process', path: 'spawn' },
      image: { release: 1, digest: expect.stringMatching(/^sha256:/) },
    });
    expect(why.job).not.toHaveProperty('output');
    const text = await stage.cli('why', id);
    expect(text).toContain('a cold start (spawn)');
    for (const phase of ['decide', 'create', 'start', 'ready', 'take', 'run']) expect(text).toMatch(new RegExp(`${phase} +\\d+ ms +█`));
    expect(text).toContain('a line of the job');
    expect(await json<JobWhyView>('why', id)).toMatchObject({ job: why.job, timeline: why.timeline, image: why.image });
    expect(await stage.cli('why', warm.id, '-e', 'echo')).toMatch(/a worker was ready[\s\S]*wait +\d+ ms/);
  });

  it('writes the ledger of a cold job into its log, as a line of the system (B8)', async () => {
    await noWorker('echo');
    const { id } = await stage.runsync('echo', { value: 1 });
    const cold = await until(async () => (await stage.cli('logs', '-e', 'echo', '--job', id, '--source', 'system')).trim(), 'the line');
    expect(cold).toMatch(new RegExp(`· job ${id} was cold \\(spawn\\): decide \\d+ ms, .*ready \\d+ ms, take \\d+ ms; \\d+ ms in all$`));
  });

  it('shows the error and the last lines of a job that failed', async () => {
    const { id } = await stage.runsync('echo', { log: 'before the error', throw: 'out of range' });
    await until(async () => (await whyJob(id)).lines.length > 0, 'the line to be stored');
    const text = await stage.cli('why', id);
    expect(text).toContain('FAILED');
    expect(text).toContain('RangeError: out of range');
    expect(text).toContain('before the error');
  });

  it('says of a job in the queue what holds it, with the next step (row 77, B1)', async () => {
    const long = await stage.submit('echo', { sleepMs: 60_000 });
    const waiting = await stage.submit('echo', {});
    await until(async () => (await whyJob(waiting.id)).waiting?.reason === 'at-max-workers', 'the one worker to be busy');
    const text = await stage.cli('why', waiting.id);
    expect(text).toMatch(/waits +at-max-workers, since/);
    expect(text).toContain('raise scale.max to serve more at once');
    expect(await whyEndpoint('echo')).toMatchObject({
      summary: expect.stringMatching(/^serving r1, 1 busy, 1 waiting, the oldest for/),
      queue: { waiting: 1, running: 1 },
      waiting: { reason: 'at-max-workers' },
      crashLoop: null,
    });
    const { items } = await json<{ items: { id: string; state: string; jobs: string[] }[] }>('workers', '-e', 'echo');
    expect(items).toEqual([expect.objectContaining({ state: 'RUNNING', jobs: [long.id] })]);
    await change('echo', { settings: { scale: { max: 0 } } });
    expect(await stage.cli('why', 'echo')).toMatch(/waits +parked, since[\s\S]*set scale\.max to 1 or more/);
    expect(await json<EndpointWhyView>('why', 'echo')).toMatchObject({ endpointId: 'echo', waiting: { reason: 'parked' } });
    await stage.call(`/v2/echo/cancel/${long.id}`, { method: 'POST' });
    await change('echo', { settings: { scale: { max: 1 } } });
    expect((await stage.finished('echo', waiting.id)).status).toBe('COMPLETED');
  });

  it('knows no job and no endpoint that is not there', async () => {
    expect((await stage.tryCli('why', '01a21520-48c9-7d18-9982-689f7cc60175')).stderr).toContain('JOB_UNKNOWN');
    expect((await stage.tryCli('why', 'absent')).stderr).toContain('ENDPOINT_UNKNOWN');
  });
});

describe('an endpoint whose workers crash', () => {
  it('says so on every waiting job, with exit code and last lines, and counts on after a restart (row 76, row 77)', async () => {
    await stage.cli(
      'deploy',
      stage.project('loop', nodeProject('loop', CRASHES, `scale: { max: 1, idle: 1s, keep: none }\nenv: { FLAG: ${flag} }\n`)),
    );
    await noWorker('loop');
    stage.project('.', { flag: '' });
    expect(existsSync(flag)).toBe(true);
    const { id } = await stage.submit('loop', {});
    const looping = await until(async () => {
      const why = await whyEndpoint('loop');
      return (why.crashLoop?.crashes ?? 0) >= 3 ? why : undefined;
    }, 'three crashes in a row');
    expect(looping.crashLoop).toMatchObject({
      budget: 8,
      last: { exitCode: 7, release: 1, lines: [expect.stringContaining('no such model')] },
    });
    const { waiting } = await whyJob(id);
    expect(waiting?.reason).toBe('crash-looping');
    expect(waiting?.evidence).toMatch(
      /^\d+ workers in a row ended without finishing a job; the last worker: exited with code 7\n.*no such model/,
    );
    expect(await stage.cli('status', 'loop')).toMatch(/r1 crashes, \d+ workers in a row/);
    const text = await stage.cli('why', 'loop');
    expect(text).toContain('exited with code 7');
    expect(text).toContain('no such model');
    expect(text).not.toContain('\u001b');

    await stage.kill();
    await stage.restart();
    const after = await whyEndpoint('loop');
    expect(after.crashLoop?.crashes).toBeGreaterThanOrEqual(3);
    expect((await whyJob(id)).waiting).toMatchObject({ reason: 'crash-looping', evidence: expect.stringContaining('no such model') });
    await until(async () => ((await whyEndpoint('loop')).crashLoop?.crashes ?? 0) > (looping.crashLoop?.crashes ?? 0), 'one more crash');
    expect((await json<{ items: { state: string; exitCode: number }[] }>('workers', '-e', 'loop', '--all')).items).toContainEqual(
      expect.objectContaining({ state: 'STOPPED', exitCode: 7, reason: 'exited with code 7' }),
    );
  });

  it('is paused at the budget with the last lines as the reason why its jobs wait (row 76, B1)', async () => {
    await change('loop', { settings: { scale: { min: 8, max: 8 } } });
    const { pausedReason } = await until(async () => {
      const why = await whyEndpoint('loop');
      return why.pausedReason === null ? undefined : why;
    }, 'the pause');
    expect(pausedReason).toContain('no such model');
    const [job] = (await json<{ items: { id: string }[] }>('jobs', '-e', 'loop', '--state', 'IN_QUEUE')).items;
    const { waiting } = await whyJob(job?.id ?? '');
    expect(waiting).toMatchObject({ reason: 'paused', evidence: expect.stringContaining('no such model') });
    expect(await stage.cli('status', 'loop')).toContain('paused: ');
    expect((await stage.cli('workers', '-e', 'loop', '--all', '-q')).trim().split('\n').length).toBeGreaterThanOrEqual(8);
  });

  it('forgets the crashes with the first job that is finished, for good', async () => {
    await stage.call(`/api/v1/endpoints/loop`, { method: 'PATCH', body: { settings: { scale: { min: 0, max: 1 } } } });
    rmSync(flag);
    await stage.cli('resume', 'loop');
    expect(await stage.runsync('loop', {})).toMatchObject({ status: 'COMPLETED', output: 'fine' });
    expect((await whyEndpoint('loop')).crashLoop).toBeNull();
    await stage.kill();
    await stage.restart();
    expect((await whyEndpoint('loop')).crashLoop).toBeNull();
  });
});
