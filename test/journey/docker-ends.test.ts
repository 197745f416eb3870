import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../conformance/engine.js';
import { needs } from '../needs.js';
import { type JobAnswer, type Stage, until } from '../stage.js';
import { type ContainerStage, openContainerStage } from './containers.js';

/** Does what it should not, as its input says. */
const DEEDS = `
import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
function write(bytes) {
  for (let at = 0; at < bytes.length; ) {
    try { at += writeSync(1, bytes, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
  }
}
const deeds = {
  exit: () => process.exit(7),
  abort: () => process.abort(),
  close: () => { closeSync(1); closeSync(2); },
  sleep: (ms) => sleep(ms),
  block: () => { for (;;); },
  fork: async () => {
    let refused = 0;
    for (let n = 0; n < 1_500; n++) spawn('sleep', ['300'], { stdio: 'ignore' }).on('error', () => refused++);
    await sleep(200);
    return refused > 0;
  },
  flood: (ms) => { const block = Buffer.alloc(1 << 20, 'a line of a flood that goes on and on\\n'); const end = Date.now() + ms; while (Date.now() < end) write(block); },
  serve: async () => {
    await new Promise((resolve) => createServer((request, response) => response.end('from inside')).listen(8000, resolve));
    return [process.env.RUNPOD_PUBLIC_IP, process.env.RUNPOD_TCP_PORT_8000];
  },
  args: () => process.argv.slice(3),
  version: () => process.env.VERSION,
};
export const handler = async ({ input: [deed, value] }) => (await deeds[deed](value)) ?? 'done';
`;
const scale = (more = 'max: 1') => `scale: { idle: 1s, keep: none, ${more} }\n`;

// Skipped where no Docker Engine is installed; WHERRY_TEST_REQUIRE=dockerd makes its absence a failure.
describe.skipIf(!needs('dockerd'))('a worker in a container', () => {
  let opened: ContainerStage;
  let engine: Engine;
  let stage: Stage;
  /** Of the endpoint `bad`. */
  let digest: string;
  beforeAll(async () => {
    opened = await openContainerStage();
    ({ engine, stage } = opened);
    // Its code is a layer that no other image has.
    ({ digest } = await opened.deploy('bad', DEEDS.replace('deeds = {', "deeds = { own: () => 'bad',"), scale()));
    await opened.deploy('good', DEEDS, scale());
  }, 120_000);
  afterAll(() => opened?.close(), 60_000);

  const running = (endpoint: string, id: string): Promise<JobAnswer> =>
    until(async () => {
      const job = await stage.status(endpoint, id);
      return job.status === 'IN_PROGRESS' ? job : undefined;
    }, 'the job to run');
  const linesOf = (...args: readonly string[]) => stage.cli('logs', '-e', 'bad', '--limit', '1000', ...args);
  const neighbour = async () => expect(await stage.runsync('good', ['version'])).toMatchObject({ status: 'COMPLETED', output: 'done' });
  const noContainer = (endpoint: string) => until(async () => (await opened.containers(endpoint)).length === 0, 'no container');
  const reset = () => stage.call('/api/v1/endpoints/bad', { method: 'PATCH', body: { isPaused: false } });

  it('that is killed has its job run again by another one, which is counted (A3, row 31)', async () => {
    const { id } = await stage.submit('bad', ['sleep', 2_000]);
    const first = await running('bad', id);
    const [container = ''] = await opened.containers('bad');
    process.kill(Number(await engine.docker('inspect', '--format', '{{.State.Pid}}', container)), 'SIGKILL');
    const done = await stage.finished('bad', id);
    expect(done).toMatchObject({ status: 'COMPLETED', output: 'done' });
    expect(done.workerId).not.toBe(first.workerId);
    expect((await stage.call('/v2/bad/health')).json).toMatchObject({ jobs: { completed: 1, failed: 0, retried: 1 } });
  });

  it.each([
    ['exits in the middle of its job', 'exit', /exited with code 7/],
    ['crashes', 'abort', /SIGABRT|exited with code 134/],
  ])('that %s has it failed with the cause after three runs, its neighbour goes on (C6, row 31)', async (_what, deed, cause) => {
    const { id } = await stage.submit('bad', [deed]);
    await neighbour();
    expect(await stage.finished('bad', id)).toMatchObject({ status: 'FAILED', error: expect.stringMatching(cause) });
    await reset();
  });

  it('that closes its output answers all the same (C6)', async () => {
    expect(await stage.runsync('bad', ['close'])).toMatchObject({ status: 'COMPLETED', output: 'done' });
  });

  it('that forks without end meets the limit of processes, its neighbour goes on, nothing is left (C6)', async () => {
    const { id } = await stage.submit('bad', ['fork']);
    await neighbour();
    expect(await stage.finished('bad', id)).toMatchObject({ status: 'COMPLETED', output: true });
    await noContainer('bad');
  });

  it('that prints without end is bounded and marked; its job and its neighbour go on (C5)', async () => {
    const { id } = await stage.submit('bad', ['flood', 1_500]);
    await neighbour();
    expect(await stage.finished('bad', id)).toMatchObject({ status: 'COMPLETED', output: 'done' });
    await until(async () => /dropped \d+ lines/.test(await linesOf('--source', 'system')), 'the mark of dropped lines');
  });

  it('that cannot be stopped otherwise is ended within the grace when its job is cancelled (row 35)', async () => {
    const { id } = await stage.submit('bad', ['block']);
    const { workerId } = await running('bad', id);
    expect((await stage.call(`/v2/bad/cancel/${id}`, { method: 'POST' })).json).toMatchObject({ status: 'CANCELLED' });
    await until(async () => (await opened.containers('bad')).length === 0, 'its container to be gone', 10_000);
    expect((await opened.workers('bad', true)).find((worker) => worker.id === workerId)).toMatchObject({ state: 'STOPPED' });
  });

  it('finishes its job when it gets SIGTERM, and exits with 0, while the next release serves (row 18, row 33)', async () => {
    await opened.deploy('rolls', DEEDS, `env: { VERSION: one }\n${scale('max: 2')}`);
    const { id } = await stage.submit('rolls', ['sleep', 5_000]);
    const { workerId } = await running('rolls', id);
    await opened.deploy('rolls', DEEDS, `env: { VERSION: two }\n${scale('max: 2')}`);
    const container = await engine.docker('ps', '--quiet', '--filter', `label=dev.wherry.worker=${workerId}`);
    await engine.docker('kill', '--signal', 'TERM', container);
    expect(await stage.runsync('rolls', ['version'])).toMatchObject({ output: 'two' });
    expect(await stage.finished('rolls', id)).toMatchObject({ status: 'COMPLETED', output: 'done', workerId });
    const ended = await until(
      async () => (await opened.workers('rolls', true)).find((worker) => worker.id === workerId && worker.state === 'STOPPED'),
      'the old worker to end',
    );
    expect(ended.exitCode).toBe(0);
  });

  it('is frozen when it was idle long enough, and goes on with the next job (row 78, B7)', async () => {
    await opened.deploy('cold', DEEDS, 'scale: { idle: 1s, max: 1 }\n');
    const first = await stage.runsync('cold', ['version']);
    const isFrozen = async () => (await opened.workers('cold')).some(({ state }) => state === 'FROZEN');
    const isPaused = async () => (await engine.docker('ps', '--quiet', '--filter', 'status=paused')) !== '';
    await until(async () => (await isFrozen()) && (await isPaused()), 'it to be frozen');
    const { id } = await stage.submit('cold', ['version']);
    const thawed = { status: 'COMPLETED', workerId: first.workerId, timeline: { path: 'thaw' } };
    expect(await stage.finished('cold', id)).toMatchObject(thawed);
  });

  it('gets the arguments of its release, its ports where it is told, and its disk if the engine can (rows 84, 85, 86)', async () => {
    await opened.deploy('ports', DEEDS, `${scale()}args: ["--fast", "2"]\nports: [8000/http]\nresources: { disk: 1GB }\n`);
    expect(await stage.runsync('ports', ['args'])).toMatchObject({ output: ['--fast', '2'] });
    const { output } = await stage.runsync('ports', ['serve']);
    const [address, port] = output as [string, string];
    expect(await (await fetch(`http://${address}:${port}/`)).text()).toBe('from inside');
  });

  it.each([
    ['that crashes at its start', '', "console.error('no model here');\nprocess.exit(4);\n", /no model here/],
    [
      'that hangs in its start',
      'limits: { init: 2s }\n',
      'await new Promise(() => setInterval(() => {}, 1000));\n',
      /not ready within 2 s/,
    ],
  ])('of a release %s gets no job; the one before goes on, the reason is said (D4, row 75)', async (_what, more, handler, said) => {
    await failsToReplace('good', opened.project('good', handler, `${scale()}${more}`), said);
  });

  it('whose program is for another processor gets no job either (D4)', async () => {
    // The head of an ELF file for a machine that does not exist.
    const head = Buffer.alloc(128);
    head.write('\u007fELF\u0002\u0001\u0001', 'latin1');
    head.writeUInt16LE(2, 16);
    head.writeUInt16LE(0xbeef, 18);
    const project = stage.project('foreign', {
      'wherry.yaml': `name: good\ndockerfile: Dockerfile\nplatforms: [linux/s390x]\n${scale()}`,
      Dockerfile: 'FROM scratch\nCOPY program /program\nCMD ["/program"]\n',
    });
    writeFileSync(join(project, 'program'), head, { mode: 0o755 });
    await failsToReplace('good', project, /exited with code \d+[\s\S]*the image is for linux\/s390x, this machine is linux\/\w+/);
  });

  async function failsToReplace(endpoint: string, project: string, said: RegExp): Promise<void> {
    const failed = await opened.wherry('deploy', project);
    expect(failed.code).not.toBe(0);
    expect(failed.stderr).toMatch(said);
    await neighbour();
    const { items } = JSON.parse(await stage.cli('releases', '-e', endpoint, '--json')) as { items: { state: string }[] };
    expect(items[0]?.state).toBe('REVERTED');
  }

  it('whose image cannot be pulled says why in its log, and its job waits with the reason (row 9, row 77)', async () => {
    await noContainer('bad');
    const { layers } = (await stage.call(`/v2/bad/manifests/${digest}`)).json as { layers: { digest: string }[] };
    const file = findBlob(layers.at(-1)?.digest ?? '');
    renameSync(file, `${file}.away`);
    await engine.docker('image', 'prune', '--all', '--force');
    const { id } = await stage.submit('bad', ['version']);
    await until(async () => /could not be started: pull of .* failed/.test(await linesOf('--source', 'system')), 'the line');
    const { waiting } = (await stage.status('bad', id)) as JobAnswer & { waiting?: object };
    expect(waiting).toMatchObject({ reason: 'no-capacity', evidence: expect.stringContaining('pull of ') });
    renameSync(`${file}.away`, file);
    expect(await stage.finished('bad', id)).toMatchObject({ status: 'COMPLETED' });
  });

  /** The file of a blob in the embedded registry. */
  function findBlob(blob: string): string {
    const registry = join(stage.dataDir, 'registry');
    const found = readdirSync(registry, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith(blob.slice(7)));
    const file = found.map((name) => join(registry, name)).find((name) => name.includes('blobs') && existsSync(name));
    if (file === undefined) throw new Error(`no ${blob} among ${found.join()}`);
    return file;
  }
});
