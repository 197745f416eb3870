import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openHub, type TestHub } from '../hub.js';
import { openStage, type Stage, until } from '../stage.js';
import { nodeProject } from './projects.js';

/** Reads and writes files, and tells variables. */
const PROBE = `
import { appendFileSync, readFileSync } from 'node:fs';
export async function handler({ input: { env, read, append } }) {
  if (append) appendFileSync(process.env[append[0]] + append[1], append[2]);
  if (read) return readFileSync(process.env[read[0]] + read[1], 'utf8');
  return env ? (process.env[env] ?? null) : process.pid;
}
`;

interface WorkerRow {
  readonly state: string;
  readonly reason: string | null;
  readonly gpus: readonly string[];
}

let hub: TestHub;
let stage: Stage;
beforeAll(async () => {
  hub = await openHub();
  stage = await openStage({ HF_ENDPOINT: hub.url, WHERRY_NODE_LABELS: 'gpu=NVIDIA L4,cuda=12.4,zone=home' });
});
afterAll(async () => {
  await stage?.close();
  await hub.close();
});

async function deploy(name: string, settings: string) {
  const project = stage.project(name, nodeProject(name, PROBE, `scale: { keep: none, idle: 1s, max: 1 }\n${settings}`));
  return stage.tryCli('deploy', project);
}
const workers = async (name: string, all = false) =>
  ((await stage.call(`/api/v1/endpoints/${name}/workers?all=${all}`)).json as { items?: WorkerRow[] }).items ?? [];
const whyOf = async (name: string, id: string) =>
  ((await stage.call(`/v2/${name}/status/${id}`)).json as { waiting?: { reason: string; evidence: string } }).waiting;

describe('volumes of processes', () => {
  it('are told by variables, outlive workers, and the deploy says so (row 87)', async () => {
    const deployed = await deploy('keeper', 'volumes: ["my-data:/runpod-volume"]\n');
    expect([deployed.code, deployed.stderr]).toEqual([
      0,
      expect.stringContaining("volume 'my-data': a process finds it where WHERRY_VOLUME_MY_DATA says, not at /runpod-volume"),
    ]);
    expect((await stage.runsync('keeper', { env: 'RUNPOD_VOLUME_ID' })).output).toBe('my-data');
    const first = await stage.runsync('keeper', { append: ['WHERRY_VOLUME_MY_DATA', '/kept', 'of the first'] });
    await until(async () => (await workers('keeper')).length === 0, 'the worker to go');
    const second = await stage.runsync('keeper', { read: ['WHERRY_VOLUME_MY_DATA', '/kept'] });
    expect(second.output).toBe('of the first');
    expect(second.workerId).not.toBe(first.workerId);
  });
});

describe('models of processes (row 88)', () => {
  const COMMIT_FILE = '/models--acme--tiny/refs/main';

  it('are fetched once for all endpoints of the node, with the commit in the release', async () => {
    const commit = hub.commit('acme/tiny', { 'config.json': '{"a":1}', weights: randomBytes(5_000) });
    for (const name of ['reader', 'other']) {
      const { code, stderr } = await deploy(name, 'models: [acme/tiny]\n');
      expect([code, stderr]).toEqual([0, expect.stringContaining('HF_HUB_CACHE')]);
      expect((await stage.runsync(name, { read: ['HF_HUB_CACHE', COMMIT_FILE] })).output).toBe(commit);
      const file = `/models--acme--tiny/snapshots/${commit}/config.json`;
      expect((await stage.runsync(name, { read: ['HF_HUB_CACHE', file] })).output).toBe('{"a":1}');
    }
    expect(hub.seen.filter(({ at }) => at === 'store')).toHaveLength(1);
    expect(await activeOf('reader')).toMatchObject({ spec: { models: [`acme/tiny@main@${commit}`] } });
  });

  it('make another release when the revision moved, and none when it did not', async () => {
    expect((await deploy('reader', 'models: [acme/tiny]\n')).stdout).toMatch(/^reader r1 /);
    const moved = hub.commit('acme/tiny', { 'config.json': '{"a":2}' });
    expect((await deploy('reader', 'models: [acme/tiny]\n')).code).toBe(0);
    expect((await stage.runsync('reader', { read: ['HF_HUB_CACHE', COMMIT_FILE] })).output).toBe(moved);
    await stage.cli('rollback', '-e', 'reader');
    expect((await stage.runsync('reader', { read: ['HF_HUB_CACHE', COMMIT_FILE] })).output).not.toBe(moved);
  });

  it('say at the deploy that they are not there, or gated, and are opened with the token of the release', async () => {
    const unknown = await deploy('none', 'models: [acme/none]\n');
    expect([unknown.code, unknown.stderr]).toEqual([4, expect.stringMatching(/MODEL_UNKNOWN|is not at/)]);
    hub.commit('acme/gated', { 'config.json': '{}' });
    hub.guard('acme/gated', 'hf_right', true);
    const gated = await deploy('gated', 'models: [acme/gated]\n');
    expect([gated.code, gated.stderr]).toEqual([6, expect.stringContaining("model 'acme/gated@main@")]);
    expect(gated.stderr).toContain('is gated');
    expect((await deploy('gated', 'models: [acme/gated]\nenv: { HF_TOKEN: hf_right }\n')).code).toBe(0);
    expect(stage.log()).not.toContain('hf_right');
    const wrong = await deploy('none', 'models: ["https://x/y"]\n');
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('models')]);
  });

  it('hold a job while they come, say how far they are, and go on after the server was killed', async () => {
    hub.commit('acme/large', { weights: randomBytes(3_000_000) });
    let release: () => void = () => {};
    hub.hold(new Promise((resolve) => (release = resolve)));
    const deployed = deploy('patient', 'models: [acme/large]\nlimits: { init: 10s }\n');
    await until(async () => (await workers('patient')).some(({ state }) => state === 'INITIALIZING'), 'the candidate');
    const { id } = await stage.submit('patient', {});
    const why = await until(async () => {
      const waiting = await whyOf('patient', id);
      return waiting?.evidence.includes('fetching model acme/large@main: 0 B of 2.9 MiB') ? waiting : undefined;
    }, 'the evidence');
    expect(why.reason).toBe('pulling');
    await stage.kill();
    await deployed;
    release();
    hub.hold(undefined);
    await stage.restart();
    expect((await stage.finished('patient', id)).status).toBe('COMPLETED');
    expect(await stage.cli('logs', '-e', 'patient')).toMatch(/fetched models: 2\.9 MiB in/);
  });

  it('that cannot be fetched now hold the starts of their release and take nothing back', async () => {
    hub.commit('acme/later', { weights: randomBytes(4_000) });
    for (let tried = 0; tried < 30; tried++) hub.faults.push('twist');
    const deployed = deploy('later', 'models: [acme/later]\n');
    const waiting = await until(async () => {
      const known = (await stage.call('/api/v1/endpoints/later')).status === 200;
      if (!known) return undefined;
      const { id } = await stage.submit('later', {});
      const why = await whyOf('later', id);
      return why?.reason === 'no-capacity' ? { id, ...why } : undefined;
    }, 'the reason');
    expect(waiting.evidence).toMatch(/no worker can be started: 'weights' of model 'acme\/later@main@\w+' came with other bytes/);
    hub.faults.length = 0;
    expect((await deployed).code).toBe(0);
    expect((await stage.finished('later', waiting.id)).status).toBe('COMPLETED');
  });

  it('of an endpoint that is removed are not waited for', async () => {
    hub.commit('acme/endless', { weights: randomBytes(6_000) });
    hub.hold(new Promise(() => {}));
    const deployed = deploy('gone', 'models: [acme/endless]\n');
    await until(async () => hub.seen.some(({ path }) => path.includes('acme/endless/resolve')), 'the transfer');
    expect((await stage.call('/api/v1/endpoints/gone', { method: 'DELETE' })).status).toBeLessThan(300);
    hub.hold(undefined);
    expect((await deployed).code).not.toBe(0);
  });
});

describe('kinds of GPUs and labels of the node', () => {
  it('let a release run whose kinds or labels are here (rows 89, 91)', async () => {
    const { code } = await deploy('fits', 'resources: { gpu: [ADA_24, AMPERE_24] }\nplacement: { cuda: 12.1, labels: { zone: home } }\n');
    expect(code).toBe(0);
    expect(await activeOf('fits')).toMatchObject({
      spec: { resources: { gpu: 'ADA_24,AMPERE_24' }, placement: { cuda: '12.1', labels: { zone: 'home' } } },
    });
    const status = JSON.parse(await stage.cli('status', '--json')) as { host: { labels: object } };
    expect(status.host.labels).toEqual({ gpu: ['NVIDIA L4'], cuda: ['12.4'], zone: ['home'] });
  });

  it('are taken for any with a notice when nobody knows them (row 89)', async () => {
    const { code, stderr } = await deploy('odd', 'resources: { gpu: [NEBULA_512] }\n');
    expect([code, stderr]).toEqual([0, expect.stringContaining("'NEBULA_512': no known kind of GPU, taken for any")]);
  });

  it('throttle a release that needs what is not here, until it is (rows 89, 91)', async () => {
    const wishes = [
      ['kind', 'resources: { gpu: [HOPPER_141] }', 'it needs a GPU of HOPPER_141, this node has NVIDIA L4'],
      ['cuda', 'placement: { cuda: "12.8" }', 'it needs CUDA 12.8 or newer, this node has 12.4'],
      ['label', 'placement: { labels: { zone: far } }', 'it needs a node with zone=far, this one has zone=home'],
    ] as const;
    const deployed = wishes.map(([name, settings]) => deploy(name, `${settings}\n`));
    const jobs: string[] = [];
    for (const [name, , lack] of wishes) {
      const candidate = await until(async () => (await workers(name)).find(({ state }) => state === 'THROTTLED'), 'a throttled candidate');
      expect(candidate.reason).toContain(lack);
      const { id } = await stage.submit(name, {});
      expect(await whyOf(name, id)).toMatchObject({ reason: 'no-capacity', evidence: expect.stringContaining(lack) });
      jobs.push(id);
    }
    await stage.kill();
    for (const [index, { stderr }] of (await Promise.all(deployed)).entries())
      expect(stderr).toContain(`no worker of it can run on this node: ${wishes[index]?.[2]}`);
    await stage.restart({ WHERRY_NODE_LABELS: 'gpu=NVIDIA H200,cuda=12.9,zone=far' });
    for (const [index, [name]] of wishes.entries()) expect((await stage.finished(name, jobs[index] ?? '')).status).toBe('COMPLETED');
  });

  it('do not count where GPUs are ignored (row 89)', async () => {
    await stage.kill();
    await stage.restart({ WHERRY_GPU: 'ignore' });
    const { code, stderr } = await deploy('anyhow', 'resources: { gpu: [HOPPER_141] }\nplacement: { cuda: "13.0" }\n');
    expect([code, stderr]).toEqual([0, expect.stringContaining('which this node ignores (WHERRY_GPU)')]);
  });
});

describe('GPUs of workers', () => {
  /** Ends when the file that it is told exists, and tells which GPU it has. */
  const HELD = `import { existsSync } from 'node:fs';
export async function handler({ input }) {
  while (input.until && !existsSync(input.until)) await new Promise((done) => setTimeout(done, 20));
  return process.env.CUDA_VISIBLE_DEVICES + ' of ' + process.env.RUNPOD_GPU_COUNT;
}
`;
  const LACK = 'it needs 1 GPU, 0 is free';
  const flag = (name: string) => join(stage.dir, name);
  const usedGpus = async () => (JSON.parse(await stage.cli('status', '--json')) as { host: { used: { gpu: number } } }).host.used.gpu;

  it("are one worker's alone until it is gone, frozen and over a kill of the server too (row 89)", async () => {
    mkdirSync(flag('bin'));
    const list = 'GPU 0: NVIDIA L4 (UUID: GPU-a)\nGPU 1: NVIDIA L4 (UUID: GPU-b)';
    writeFileSync(flag('bin/nvidia-smi'), `#!/bin/sh\n[ "$1" != --list-gpus ] || echo '${list}'\n`, { mode: 0o755 });
    const environment = { PATH: `${flag('bin')}:${process.env['PATH']}` };
    await stage.kill();
    await stage.restart(environment);
    for (const [name, max] of Object.entries({ cards: 2, more: 1 })) {
      const yaml = `scale: { keep: freeze, idle: 1s, max: ${max}, type: requestCount, value: 1 }\nresources: { gpu: 1 }\n`;
      await stage.cli('deploy', stage.project(name, nodeProject(name, HELD, yaml)));
    }
    const jobs = [await stage.submit('cards', { until: flag('first') }), await stage.submit('cards', { until: flag('second') })];
    const running = await until(async () => {
      const busy = (await workers('cards')).filter(({ state }) => state === 'RUNNING');
      return busy.length === 2 ? busy : undefined;
    }, 'two busy workers');
    expect(running.flatMap(({ gpus }) => gpus).toSorted()).toEqual(['GPU-a', 'GPU-b']);

    const { id } = await stage.submit('more', {});
    const isThrottled = async () => (await workers('more')).some(({ state, reason }) => state === 'THROTTLED' && reason === LACK);
    await until(isThrottled, 'a throttled worker');
    await stage.kill();
    await stage.restart(environment);
    await until(isThrottled, 'the throttled worker');
    expect(await stage.cli('why', id)).toContain(LACK);

    writeFileSync(flag('first'), '');
    const { output: left } = await stage.finished('cards', jobs[0]?.id ?? '');
    expect(await stage.finished('more', id)).toMatchObject({ output: left });
    await until(async () => (await workers('more')).some(({ state }) => state === 'FROZEN'), 'a frozen worker');
    expect(await usedGpus()).toBe(2);
    expect(await stage.runsync('cards', {})).toMatchObject({ output: left });
    writeFileSync(flag('second'), '');
    const { output: other } = await stage.finished('cards', jobs[1]?.id ?? '');
    expect([left, other].toSorted()).toEqual(['GPU-a of 1', 'GPU-b of 1']);
  });
});

async function activeOf(name: string) {
  const { items } = (await stage.call(`/api/v1/endpoints/${name}/releases`)).json as { items: { number: number; spec: object }[] };
  const { activeRelease } = (await stage.call(`/api/v1/endpoints/${name}`)).json as { activeRelease: number };
  return items.find(({ number }) => number === activeRelease) ?? { spec: {} };
}
