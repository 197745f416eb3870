import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../conformance/engine.js';
import { openRegistryServer } from '../contract/registry-server.js';
import { openHub, type TestHub } from '../hub.js';
import { needs } from '../needs.js';
import { type JobAnswer, type Stage, until } from '../stage.js';
import { filesWith } from './canary.js';
import { type ContainerStage, openContainerStage } from './containers.js';
import { HASHES } from './projects.js';

/** Answers what it is asked about its surroundings. */
const PROBE = `
import { readFileSync, existsSync, writeFileSync } from 'node:fs';
const server = new URL(process.env.RUNPOD_WEBHOOK_GET_JOB).origin;
const look = {
  status: () => Object.fromEntries(readFileSync('/proc/self/status', 'utf8').split('\\n').map((line) => line.split(':\\t'))),
  exists: (path) => existsSync(path),
  read: (path) => readFileSync(path, 'utf8'),
  env: (names) => names.map((name) => process.env[name]),
  write: (path) => { try { writeFileSync(path, 'x'); return 'written'; } catch (cause) { return cause.code; } },
  fetch: async ({ path, method }) => {
    const answer = await fetch(server + path, { method, headers: { authorization: 'Bearer ' + process.env.RUNPOD_AI_API_KEY } });
    return answer.status;
  },
  wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms, 'waited')),
  log: (text) => { console.log(text); return text; },
  hog: () => { const kept = []; for (;;) kept.push(Buffer.alloc(8 * 1024 * 1024, 1)); },
  version: () => VERSION,
};
const VERSION = 1;
export async function handler({ input: [verb, value] }) { return look[verb](value); }
`;

interface Waiting extends JobAnswer {
  readonly waiting?: { readonly reason: string };
  readonly timeline?: { readonly pull: { readonly bytes: number } };
}

// Skipped where no Docker Engine is installed; WHERRY_TEST_REQUIRE=dockerd makes its absence a failure.
describe.skipIf(!needs('dockerd'))('workers in containers', () => {
  let opened: ContainerStage;
  let engine: Engine;
  let hub: TestHub;
  let stage: Stage;
  beforeAll(async () => {
    hub = await openHub();
    opened = await openContainerStage({ HF_ENDPOINT: hub.url });
    ({ engine, stage } = opened);
  }, 120_000);
  afterAll(async () => {
    await opened?.close();
    await hub.close();
  }, 60_000);

  const SCALE = 'scale: { idle: 1s, keep: none, max: 1 }\n';
  const deploy = (name: string, settings = '', handler = PROBE) => opened.deploy(name, handler, `${SCALE}${settings}`);
  const workers: ContainerStage['workers'] = (...args) => opened.workers(...args);
  const containers: ContainerStage['containers'] = (name) => opened.containers(name);

  it('answers from zero in three seconds, keeps logs and leaves no container when nothing is to be done (rows 68, 69, 90, 101)', async () => {
    const { digest } = await deploy('way');
    await until(async () => (await workers('way')).length === 0, 'the candidate to retire');
    const answer = await stage.runsync('way', ['log', 'seen from outside']);
    expect(answer).toMatchObject({ status: 'COMPLETED', output: 'seen from outside' });
    expect(Number(answer.delayTime) + Number(answer.executionTime)).toBeLessThan(3_000);
    expect((await workers('way'))[0]?.runtime).toBe('docker');
    const [container = ''] = await containers('way');
    const [inspected] = JSON.parse(await engine.docker('inspect', container)) as { Config: { Image: string } }[];
    expect(inspected?.Config.Image).toBe(`${new URL(stage.url).host}/way@${digest}`);
    await until(async () => (await containers('way')).length === 0, 'the worker to go');
    expect(await stage.cli('logs', '-e', 'way')).toContain('seen from outside');
  });

  it('pulls an image that its engine lost, says so to the job that waits, in the log, the timeline and the metrics (B1, B8, row 103)', async () => {
    await until(async () => (await containers('way')).length === 0, 'no worker');
    await engine.docker('image', 'prune', '--all', '--force');
    const { id } = await stage.submit('way', ['version']);
    await until(async () => ((await stage.status('way', id)) as Waiting).waiting?.reason === 'pulling', 'the job to say so');
    const done = await stage.finished('way', id);
    expect(done).toMatchObject({ status: 'COMPLETED', output: 1, timeline: { path: 'pull', pull: { cached: false } } });
    expect((done as Waiting).timeline?.pull.bytes).toBeGreaterThan(10_000_000);
    expect(await stage.cli('logs', '-e', 'way')).toMatch(/pulled \d+\.\d MiB in/);
    const metrics = await (await fetch(`${stage.url}/metrics`, { headers: { authorization: `Bearer ${stage.key}` } })).text();
    expect(metrics).toMatch(/^wherry_jobs_cold_total\{.*path="pull".*\} 1$/m);
    expect(metrics).toMatch(/^wherry_worker_pulled_bytes_total\{endpoint="way"\} [1-9]/m);
  });

  it('pulls before a release is stored, and tells who deploys how far it is (row 80)', async () => {
    await until(async () => (await containers('way')).length === 0, 'no worker');
    await engine.docker('image', 'prune', '--all', '--force');
    const told = new Set<string>();
    let isDone = false;
    const deployed = deploy('told').finally(() => {
      isDone = true;
    });
    await until(async () => {
      const { json } = await stage.call('/api/v1/endpoints/told/why');
      const { preparing } = json as { readonly preparing?: string | null };
      if (preparing) told.add(preparing);
      return isDone;
    }, 'the deploy to end');
    await deployed;
    expect([...told].join('\n')).toMatch(/its image is made ready\n(?:.*\n)*.*\d+(?:\.\d+)? [KMG]iB/);
    expect((await stage.call('/api/v1/endpoints/told/why')).json).toMatchObject({ preparing: null });
  });

  it('rolls to another version and back (rows 15, 18)', async () => {
    await deploy('way', '', PROBE.replace('VERSION = 1', 'VERSION = 2'));
    expect(await stage.runsync('way', ['version'])).toMatchObject({ output: 2 });
    await stage.cli('rollback', '-e', 'way');
    expect(await stage.runsync('way', ['version'])).toMatchObject({ output: 1 });
  });

  it('runs an image of another registry out of its own copy', async () => {
    const other = await openRegistryServer();
    const project = opened.project('afar', PROBE, '');
    const pushed = await opened.wherry('push', project, '--to', `${other.host}/afar:1`);
    expect(pushed.code, pushed.stderr).toBe(0);
    await stage.cli('deploy', '--image', `${other.host}/afar:1`, '-e', 'afar');
    await other.close();
    expect(await stage.runsync('afar', ['version'])).toMatchObject({ output: 1 });
  });

  it('has the image pulled with the deploy, and again when it was lost where extra workers are wanted, without a worker (rows 79, 80)', async () => {
    const { digest } = await opened.deploy('ahead', PROBE, 'scale: { max: 0, extra: 1, idle: 1s, keep: none }\n');
    const isThere = async () => (await engine.docker('image', 'ls', '--digests', '--format', '{{.Digest}}')).includes(digest);
    expect(await isThere()).toBe(true);
    expect(await workers('ahead', true)).toEqual([]);
    await stage.cli('scale', '-e', 'ahead', '--max', '1');
    const all = await until(async () => {
      const known = await workers('ahead', true);
      return known.length > 0 && known.every(({ state }) => state === 'STOPPED') ? known : undefined;
    }, 'the candidate to retire');
    for (const same of ['way', 'told']) await until(async () => (await containers(same)).length === 0, 'no worker of that image');
    await stage.kill();
    await engine.docker('image', 'prune', '--all', '--force');
    expect(await isThere()).toBe(false);
    // A server looks when it starts, then each minute.
    await stage.restart();
    await until(isThere, 'the image to be there again');
    expect(await workers('ahead', true)).toEqual(all);
  });

  it('keeps a worker inside (S11)', async () => {
    await deploy('inside');
    const ask = async (...input: readonly unknown[]) => (await stage.runsync('inside', input)).output;
    const status = (await ask('status')) as Record<string, string>;
    expect(status['NoNewPrivs']).toBe('1');
    // The engine's default capabilities: no CAP_SYS_ADMIN (21), no CAP_SYS_PTRACE (19), no CAP_NET_ADMIN (12).
    const effective = BigInt(`0x${status['CapEff']?.trim()}`);
    expect([12n, 19n, 21n].map((bit) => (effective >> bit) & 1n)).toEqual([0n, 0n, 0n]);
    expect(await ask('exists', '/var/run/docker.sock')).toBe(false);
    expect(await ask('write', '/proc/sys/kernel/hostname')).toMatch(/EROFS|EACCES|EPERM/);
    // Whatever is not a worker's own route is not there, and its token opens no other worker.
    for (const path of ['/api/v1/endpoints', '/v2/', '/v2/inside/health', '/v2/inside/manifests/latest', '/'])
      expect([path, await ask('fetch', { path, method: 'GET' })]).toEqual([path, 404]);
    expect(await ask('fetch', { path: '/v2/inside/run', method: 'POST' })).toBe(404);
    expect(await ask('fetch', { path: '/v2/inside/ping/w-other?gpu=CPU', method: 'GET' })).toBe(401);
  });

  it('gives a worker the secrets of its release, which are nowhere else (row 83, S8)', async () => {
    const value = 'canary-\u2603 of containers\nsecond line';
    await stage.cli('secrets', 'set', 'TOKEN', value);
    await deploy('vault', 'secrets: [TOKEN]\nenv: { URL: "x://{{RUNPOD_SECRET_TOKEN}}@" }\n', HASHES);
    const hashes = [value, `x://${value}@`].map((text) => createHash('sha256').update(text).digest('hex'));
    expect((await stage.runsync('vault', ['TOKEN', 'URL'])).output).toEqual(hashes);
    const answers = ['/releases', '/workers?all=true', '/jobs', '/logs'].map((path) => stage.call(`/api/v1/endpoints/vault${path}`));
    const exposed = [stage.log(), ...(await Promise.all(answers)).map(({ json }) => JSON.stringify(json))].join();
    expect(exposed).not.toContain('canary-');
    expect(filesWith(stage.dataDir, 'canary-')).toEqual([]);
  });

  it('takes all capabilities and the writable root from a hardened worker (S11)', async () => {
    await deploy('hard', 'hardened: true\n');
    const ask = async (...input: readonly unknown[]) => (await stage.runsync('hard', input)).output;
    const status = (await ask('status')) as Record<string, string>;
    expect([status['CapEff'], status['CapBnd']]).toEqual(['0000000000000000', '0000000000000000']);
    expect([await ask('write', '/file'), await ask('write', '/wherry/app/file'), await ask('write', '/tmp/file')]).toEqual([
      'EROFS',
      'EROFS',
      'written',
    ]);
    await expect(deploy('soft', 'hardened: true\nruntime: process\n')).rejects.toThrow(/process runtime cannot harden/);
  });

  it('finds its volume and its models where RunPod has them; what it writes there outlives it (rows 87, 88)', async () => {
    const commit = hub.commit('acme/tiny', { 'config.json': '{"a":1}' });
    await deploy('places', 'volumes: ["kept:/runpod-volume"]\nmodels: [acme/tiny]\n');
    const ask = async (...input: readonly unknown[]) => (await stage.runsync('places', input)).output;
    const model = '/runpod-volume/huggingface-cache/hub/models--acme--tiny';
    expect(await ask('read', `${model}/refs/main`)).toBe(commit);
    expect(await ask('read', `${model}/snapshots/${commit}/config.json`)).toBe('{"a":1}');
    expect([await ask('write', `${model}/refs/main`), await ask('write', '/runpod-volume/file')]).toEqual(['EROFS', 'written']);
    expect(await ask('env', ['HF_HOME', 'HF_HUB_CACHE', 'WHERRY_VOLUME_KEPT', 'RUNPOD_VOLUME_ID'])).toEqual([
      '/runpod-volume/huggingface-cache',
      '/runpod-volume/huggingface-cache/hub',
      '/runpod-volume',
      'kept',
    ]);
    await until(async () => (await containers('places')).length === 0, 'the worker to go');
    expect(await ask('read', '/runpod-volume/file')).toBe('x');
  });

  it('waits for a GPU that neither the node nor the engine has (row 89)', async () => {
    const deployed = deploy('graphic', 'resources: { gpu: 1 }\n').catch((thrown: unknown) => thrown);
    const candidate = await until(
      async () => (await workers('graphic')).find(({ state }) => state === 'THROTTLED'),
      'a throttled candidate',
    );
    expect(candidate.reason).toBe('it needs a GPU, and the container engine has none to give (`wherry doctor`)');
    expect((await stage.call('/api/v1/endpoints/graphic', { method: 'DELETE' })).status).toBeLessThan(300);
    await deployed;
  });

  it('tells a job that its worker ran out of memory (C6)', async () => {
    await deploy('hog', 'resources: { memory: 64MiB }\n');
    const { id } = await stage.submit('hog', ['hog']);
    const failed = await stage.finished('hog', id);
    expect(failed).toMatchObject({ status: 'FAILED', error: expect.stringContaining('was killed: out of memory, limit 64 MiB') });
    expect(await stage.cli('logs', '-e', 'hog')).toContain('killed: out of memory, limit 64 MiB');
  });

  it.each(['SIGKILL', 'SIGTERM'] as const)('loses no job and no worker when its server gets %s (A3, A6)', async (signal) => {
    const { id } = await stage.submit('way', ['wait', 3_000]);
    await until(async () => (await stage.status('way', id)).status === 'IN_PROGRESS', 'the job to run');
    const [before] = await workers('way');
    process.kill(stage.pid, signal);
    await stage.died();
    await stage.restart();
    expect(await stage.finished('way', id)).toMatchObject({ status: 'COMPLETED', output: 'waited', workerId: before?.id });
  });

  it('replaces the workers that its engine took along, and does not blame their release (A7)', async () => {
    // Longer than an engine takes to end: the worker goes on until it is killed below.
    const { id } = await stage.submit('way', ['wait', 6_000]);
    await until(async () => (await stage.status('way', id)).status === 'IN_PROGRESS', 'the job to run');
    const [container = ''] = await containers('way');
    const pid = Number(await engine.docker('inspect', '--format', '{{.State.Pid}}', container));
    const [lost] = await workers('way');
    const restartedAt = performance.now();
    await engine.halt('SIGKILL');
    process.kill(pid, 'SIGKILL');
    await engine.resume();
    const done = await stage.finished('way', id);
    expect(done).toMatchObject({ status: 'COMPLETED', output: 'waited' });
    expect(done.workerId).not.toBe(lost?.id);
    expect(performance.now() - restartedAt).toBeLessThan(30_000);
    const ended = (await workers('way', true)).find((worker) => worker.id === lost?.id);
    expect(ended).toMatchObject({ state: 'STOPPED', reason: 'is gone' });
    expect((await stage.call('/api/v1/endpoints/way')).json).toMatchObject({ pausedReason: null });
  });

  it('starts without its engine, says why jobs wait, and goes on when the engine is back', async () => {
    await until(async () => (await containers('way')).length === 0, 'no worker');
    await engine.halt('SIGTERM');
    await stage.kill();
    await stage.restart();
    const { id } = await stage.submit('way', ['version']);
    const waiting = await until(async () => {
      const job = (await stage.call(`/v2/way/status/${id}`)).json as { waiting?: { reason: string; evidence: string } };
      return job.waiting?.reason === 'no-capacity' ? job.waiting : undefined;
    }, 'the reason');
    expect(waiting.evidence).toContain('there is no such socket');
    const refused = await stage.tryCli('deploy', '--image', 'base/node:20', '-e', 'other');
    expect([refused.code, refused.stderr]).toEqual([6, expect.stringContaining('wherry doctor')]);
    await engine.resume();
    expect(await stage.finished('way', id)).toMatchObject({ status: 'COMPLETED', output: 1 });
  });
});
