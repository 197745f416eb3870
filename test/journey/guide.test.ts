import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, openEngine } from '../conformance/engine.js';
import { findPython, loadPythonBase } from '../conformance/python-base.js';
import { openRegistryServer } from '../contract/registry-server.js';
import { needs } from '../needs.js';
import { type JobAnswer, openStage, runCli, type Stage, until } from '../stage.js';

const python = findPython();

/** As RunPod's guide to packaging has it: everything but the path of ADD is right. */
const DOCKERFILE = `from python:3.11.1-buster

WORKDIR /

COPY builder/requirements.txt .
RUN pip install -r requirements.txt

ADD handler.py .

CMD [ "python", "-u", "/handler.py" ]
`;
const FIXED = DOCKERFILE.replace('ADD handler.py .', 'ADD src/handler.py .');

/** What the commands below print with --json. */
interface Printed {
  readonly digest: string;
  readonly reference: string;
  readonly release: { readonly number: number };
  readonly items: readonly { readonly text: string }[];
}

const handler = (version: number) => `import time

import wherry as runpod


def handler(job):
    print("ran", job["id"])
    time.sleep(job["input"]["seconds"])
    return ${version}


runpod.serverless.start({"handler": handler})
`;

const SCALE = { max: '3', idle: '2s', keep: 'none', type: 'requestCount', value: '1' };
const pairs = Object.entries(SCALE);

// Skipped where no Docker Engine, or no Python with pip, setuptools and wheel to make a base image of, is installed.
describe.skipIf(!needs('dockerd') || python === undefined)("the project of RunPod's guide to packaging, in Docker", () => {
  let local: Awaited<ReturnType<typeof openRegistryServer>>;
  let engine: Engine;
  let stage: Stage;
  let project: string;
  let host: string;
  /** Of version 1. */
  let digest: string;
  const jobs: JobAnswer[] = [];
  beforeAll(async () => {
    local = await openRegistryServer();
    engine = await openEngine('--registry-mirror', local.url);
    // The local registry has it by the name that the Dockerfile asks for, and the engine has it no more.
    const base = `${local.host}/library/python:3.11.1-buster`;
    await loadPythonBase(engine, { python: python ?? '', reference: base });
    await engine.docker('push', '--quiet', base);
    await engine.docker('rmi', base);
    stage = await openStage({ WHERRY_RUNTIME: 'docker', WHERRY_DOCKER_HOST: engine.address });
    host = new URL(stage.url).host;
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    writeFileSync(join(engine.dir, 'config/config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
    project = stage.project('guide', {
      'wherry.yaml': `name: guide\ndockerfile: Dockerfile\nscale: { ${pairs.map(([name, value]) => `${name}: ${value}`).join(', ')} }\n`,
      Dockerfile: DOCKERFILE,
      'builder/requirements.txt': 'wherry-worker\n',
      'src/handler.py': handler(1),
    });
  }, 60_000);
  afterAll(async () => {
    await stage?.close();
    expect(await engine.docker('ps', '--all', '--quiet')).toBe('');
    await engine.close();
    await local.close();
  });

  const tryWherry = (...args: readonly string[]) =>
    runCli([...args, '--data', stage.dataDir], { env: { DOCKER_HOST: engine.address, DOCKER_CONFIG: join(engine.dir, 'config') } });
  const wherry = async (...args: readonly string[]) => {
    const result = await tryWherry(...args, '--json');
    if (result.code !== 0) throw new Error(`${result.stderr}\n${result.stdout}`);
    return JSON.parse(result.stdout) as Printed;
  };
  const images = async () =>
    (await engine.docker('ps', '--all', '--no-trunc', '--format', '{{.Image}}', '--filter', 'label=dev.wherry.endpoint=guide'))
      .split('\n')
      .filter(Boolean);

  /** Runs one job after the other in each of so many lanes until the work is done; gives what the work gives. */
  async function underLoad<T>(lanes: number, work: () => Promise<T>): Promise<T> {
    let isOver = false;
    const lane = async () => {
      while (!isOver) {
        const { id } = await stage.submit('guide', { seconds: 0.2 });
        jobs.push(await stage.finished('guide', id));
      }
    };
    const all = Array.from({ length: lanes }, lane);
    try {
      return await work();
    } finally {
      isOver = true;
      await Promise.all(all);
    }
  }

  it('is refused as it is printed, with the line and what was meant (row 8)', async () => {
    const { code, stderr } = await tryWherry('build', project);
    expect(code).toBe(2);
    expect(stderr).toContain("Dockerfile:8: 'handler.py' does not exist in the build context");
    expect(stderr).toContain("did you mean 'src/handler.py'?");
  });

  it('is built on the base that a local registry has, pushed, and deployed by its digest (row 11)', async () => {
    writeFileSync(join(project, 'Dockerfile'), FIXED);
    ({ digest } = await wherry('build', project));
    const pushed = await wherry('push', project, '--to', `${host}/guide:1.0.0`);
    expect(pushed.reference).toBe(`${host}/guide:1.0.0@${digest}`);
    const { release } = await wherry('deploy', '--image', pushed.reference, '-e', 'guide');
    expect(release).toMatchObject({ number: 1, image: { repository: 'guide', digest } });
    await wherry('scale', '-e', 'guide', ...pairs.flatMap(([name, value]) => [`--${name}`, value]));
    await until(async () => (await images()).length === 0, 'the candidate to retire');
  });

  it('goes from no container to three and back to none (row 68, row 69, row 71)', async () => {
    let most = 0;
    const pinned = `${host}/guide@${digest}`;
    const isPeak = async () => {
      const found = await images();
      expect(found.filter((image) => image !== pinned)).toEqual([]);
      most = Math.max(most, found.length);
      return found.length === 3 && new Set(jobs.map(({ workerId }) => workerId)).size === 3;
    };
    await underLoad(6, () => until(isPeak, 'three containers that work'));
    await until(async () => (await images()).length === 0, 'no container');
    expect(most).toBe(3);
    expect(new Set(jobs.map(({ output }) => output))).toEqual(new Set([1]));
  });

  it('rolls to a second version and back under load (row 15, row 18)', async () => {
    writeFileSync(join(project, 'src/handler.py'), handler(2));
    const now = async () => (await stage.runsync('guide', { seconds: 0 })).output;
    await underLoad(4, async () => {
      const second = await wherry('deploy', project, '--to', `${host}/guide:1.1.0`);
      expect(second.release.number).toBe(2);
      expect(second.digest).not.toBe(digest);
      expect([await now(), await now(), await now()]).toEqual([2, 2, 2]);
      await wherry('rollback', '-e', 'guide');
      expect([await now(), await now(), await now()]).toEqual([1, 1, 1]);
      expect((await stage.call('/api/v1/endpoints/guide/releases')).json).toMatchObject({
        items: [{ number: 3, image: { digest } }, { number: 2, image: { digest: second.digest } }, { number: 1 }],
      });
    });
    await until(async () => (await images()).length === 0, 'no container');
  });

  it('has run each job once, and completed it', async () => {
    expect(jobs.length).toBeGreaterThan(20);
    expect(jobs.filter(({ status }) => status !== 'COMPLETED')).toEqual([]);
    const { items } = await wherry('logs', '-e', 'guide', '--grep', '^ran ', '--limit', '10000');
    const ran = items.map(({ text }) => text.replace('ran ', ''));
    expect(ran.length).toBe(new Set(ran).size);
    // Six more asked for the version.
    expect(ran.length).toBe(jobs.length + 6);
    const { json } = await stage.call('/v2/guide/health');
    expect(json).toMatchObject({ jobs: { completed: jobs.length + 6, failed: 0, retried: 0, inProgress: 0, inQueue: 0 } });
  });
});
