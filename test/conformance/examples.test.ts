import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { openSpoken } from '../speaker.js';
import { openStage, ROOT, runCli, type Stage, until } from '../stage.js';
import { type Engine, openEngine } from './engine.js';
import { findPython, loadPythonBase } from './python-base.js';

const python = findPython();
const EXAMPLES = join(ROOT, 'examples');
const NAMES = readdirSync(EXAMPLES).filter((name) => name.startsWith('dockerfile-'));

interface Test {
  readonly input: unknown;
  /** Not where it depends on the machine. */
  readonly output?: unknown;
}

interface Image {
  readonly reference: string;
  readonly command: readonly string[];
}

const textOf = (name: string, path: string) => readFileSync(join(EXAMPLES, name, path), 'utf8');
const basesOf = (name: string) => [...textOf(name, 'Dockerfile').matchAll(/^FROM (\S+)/gm)].flatMap(([, base]) => base ?? []);

// Skipped where no Docker Engine, or no Python with pip, setuptools and wheel to make a base image of, is installed.
describe.skipIf(!needs('dockerd') || python === undefined)('the Dockerfile examples', () => {
  let stage: Stage;
  let engine: Engine;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    stage = await openStage();
    engine = await openEngine();
    const [first = '', ...others] = new Set(NAMES.flatMap(basesOf));
    await loadPythonBase(engine, { python: python ?? '', reference: first });
    for (const base of others) await engine.docker('tag', first, base);
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    writeFileSync(join(engine.dir, 'config/config.json'), JSON.stringify({ auths: { [new URL(stage.url).host]: { auth } } }));
    env = { DOCKER_HOST: `unix://${engine.dir}/docker.sock`, DOCKER_CONFIG: join(engine.dir, 'config') };
  }, 120_000);
  afterAll(async () => {
    await engine?.close();
    await stage?.close();
  });

  async function wherry(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await runCli([...args, '--data', stage.dataDir], { env });
    if (code !== 0) throw new Error(`${stdout}${stderr}`);
    return stdout;
  }

  /** Builds and pushes an example; gives it as the engine pulls it, by digest. */
  async function pushExample(name: string): Promise<Image> {
    const { reference } = JSON.parse(await wherry('push', join(EXAMPLES, name), '--json')) as { reference: string };
    expect(reference).toMatch(new RegExp(`^${name}:[\\w.-]+@sha256:[0-9a-f]{64}$`));
    const pulled = `${new URL(stage.url).host}/${reference}`;
    await engine.docker('pull', pulled);
    const [platform, command = ''] = (
      await engine.docker('image', 'inspect', '--format', '{{.Os}}/{{.Architecture}} {{json .Config.Cmd}}', pulled)
    ).split(/ (.*)/);
    expect(platform).toBe('linux/amd64');
    return { reference: pulled, command: JSON.parse(command) as string[] };
  }

  /** The result is the last line; a handler may print others before. */
  const runAlone = async (...args: readonly string[]) =>
    JSON.parse((await engine.docker('run', '--rm', '--network', 'none', ...args)).split('\n').at(-1) ?? '') as { output?: unknown };

  it('are one for a CPU, one for a GPU, one that streams and one with its model inside (row 3)', () => {
    expect(NAMES).toEqual(['dockerfile-cpu', 'dockerfile-gpu', 'dockerfile-model', 'dockerfile-stream']);
  });

  it.each(NAMES)('%s has nothing that the linter warns of, builds, and passes its tests without a network (rows 3, 4, 5)', async (name) => {
    expect(await wherry('lint', join(EXAMPLES, name), '--strict')).toBe('Dockerfile: nothing to say\n');
    const { reference, command } = await pushExample(name);
    const [test, ...others] = JSON.parse(textOf(name, '.github/tests.json')) as Test[];
    expect(test?.input).toEqual((JSON.parse(textOf(name, 'test_input.json')) as Test).input);
    const file = `${join(EXAMPLES, name, 'test_input.json')}:/test_input.json:ro`;
    const first = await runAlone('--volume', file, reference);
    expect(first).toEqual({ output: test?.output ?? expect.anything() });
    for (const { input, output } of others) {
      expect(await runAlone(reference, ...command, '--test_input', JSON.stringify({ input }))).toEqual({ output });
    }
  });

  it('say that they work on the CPU, and why, where there is no GPU; a job that needs one fails (row 3)', async () => {
    const { reference, command } = await pushExample('dockerfile-gpu');
    const ask = (input: object) => [reference, ...command, '--test_input', JSON.stringify({ input })];
    const reason = 'there is no CUDA driver: the container was started without a GPU';
    expect(await runAlone(...ask({}))).toEqual({ output: { device: 'cpu', gpus: [], reason } });
    const printed = engine.docker('run', '--rm', '--network', 'none', ...ask({ require_gpu: true }));
    await expect(printed).rejects.toMatchObject({ code: 1, stdout: expect.stringContaining(reason) });
  });

  it('stream each part to who asks, and the list in the end, as a worker of an endpoint (rows 1, 3)', async () => {
    const { reference } = await pushExample('dockerfile-stream');
    const worker = await (await openSpoken(stage, 'streaming', 'scale: { min: 1, max: 1, idle: 1h }\n')).next();
    const given = Object.entries(worker.env).filter(([name]) => name.startsWith('RUNPOD_'));
    const settings = given.flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const container = await engine.docker('run', '--detach', '--network', 'host', ...settings, reference);
    try {
      const { id } = await stage.submit('streaming', { text: 'one two three', delay_ms: 50 });
      const parts: unknown[] = [];
      await until(async () => {
        const { json } = await stage.call(`/v2/streaming/stream/${id}`);
        const { status, stream } = json as { status: string; stream: readonly { output: unknown }[] };
        parts.push(...stream.map(({ output }) => output));
        return status === 'COMPLETED';
      }, 'the stream to end');
      const [{ output } = { output: undefined }] = JSON.parse(textOf('dockerfile-stream', '.github/tests.json')) as Test[];
      expect(parts).toEqual(output);
      expect(await stage.status('streaming', id)).toMatchObject({ status: 'COMPLETED', output });
    } finally {
      await engine.docker('rm', '--force', container);
    }
  });
});
