import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { openStage, runCli, type Stage } from '../stage.js';
import { makeWheels, type Wheel, wheelFile } from './wheels.js';

interface Built {
  readonly digest: string;
  readonly layers: readonly { readonly role: string; readonly digest: string; readonly diffId: string; readonly isCached: boolean }[];
}

const WHEELS: readonly Wheel[] = [
  {
    name: 'greeting',
    version: '1.0',
    requires: ["only-older; python_version < '3.10'", 'shared>=1', "only-windows; sys_platform == 'win32'"],
  },
  { name: 'greeting', version: '2.0', requires: ['shared>=1'], scripts: ['greet = greeting:version'] },
  { name: 'shared', version: '1.5', files: { 'words.py': "hello = 'hello'\n" } },
  { name: 'only-older', version: '1.0' },
  { name: 'native', version: '1.0', tag: 'cp312-cp312-manylinux_2_17_x86_64', files: { 'which.py': "which = 'amd64 3.12'\n" } },
  { name: 'native', version: '1.0', tag: 'cp312-cp312-manylinux_2_28_x86_64', files: { 'which.py': "which = 'newer libc'\n" } },
  { name: 'native', version: '1.0', tag: 'cp312-cp312-manylinux_2_17_aarch64', files: { 'which.py': "which = 'arm64 3.12'\n" } },
  { name: 'native', version: '1.0', tag: 'cp39-cp39-manylinux2014_x86_64', files: { 'which.py': "which = 'amd64 3.9'\n" } },
  { name: 'native', version: '1.0', tag: 'cp312-cp312-musllinux_1_2_x86_64', files: { 'which.py': "which = 'musl'\n" } },
];

const HANDLER = 'from shared.words import hello\ndef handler(job):\n    return hello\n';

describe.skipIf(!needs('pip3'))('the packages of a Python project', () => {
  let stage: Stage;
  let wheels: string;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    stage = await openStage();
    wheels = makeWheels(join(stage.dir, 'wheels'), WHEELS);
    env = { PIP_NO_INDEX: '1', PIP_FIND_LINKS: wheels };
  });
  afterAll(() => stage.close());

  const project = (name: string, files: Record<string, string>, settings = '') =>
    stage.project(name, {
      'wherry.yaml': `name: ${name}\nhandler: handler.py:handler\nbase: scratch\n${settings}`,
      'handler.py': HANDLER,
      ...files,
    });

  async function build(dir: string, more: readonly string[] = [], moreEnv: NodeJS.ProcessEnv = {}): Promise<Built> {
    const result = await runCli(['build', dir, '--json', '--data', stage.dataDir, ...more], { env: { ...env, ...moreEnv } });
    if (result.code !== 0) throw new Error(result.stderr);
    return JSON.parse(result.stdout) as Built;
  }

  const layerOf = (built: Built, role = 'dependencies') => {
    const found = built.layers.find((layer) => layer.role === role);
    if (!found) throw new Error(`no layer '${role}'`);
    return found;
  };
  const tarOf = (built: Built) => gunzipSync(readFileSync(join(stage.dataDir, 'images/blobs/sha256', layerOf(built).digest.slice(7))));
  const filesOf = (built: Built) =>
    execFileSync('tar', ['-tf', '-'], { input: tarOf(built), encoding: 'utf8' })
      .trim()
      .split('\n');
  const textOf = (built: Built, path: string) =>
    execFileSync('tar', ['-xOf', '-', `wherry/python/${path}`], { input: tarOf(built), encoding: 'utf8' });

  it('are installed as wheels into a layer of their own, and the worker finds them', async () => {
    const dir = project('greets', { 'requirements.txt': '# what it says\ngreeting==2.0\n' });
    expect(filesOf(await build(dir))).toContain('wherry/python/shared/words.py');
    const deployed = await runCli(['deploy', dir, '--json', '--data', stage.dataDir], { env });
    expect(deployed.stderr).toBe('');
    expect(deployed.code).toBe(0);
    expect(await stage.runsync('greets', {})).toMatchObject({ status: 'COMPLETED', output: 'hello' });
  });

  it('are not installed again for a change of the code, nor for another project that needs the same', async () => {
    const requirements = { 'builder/requirements.txt': 'shared\n' };
    const first = await build(project('same-one', requirements));
    const changed = await build(project('same-one', { ...requirements, 'handler.py': `${HANDLER}# more\n` }), [], {
      PIP_FIND_LINKS: '/nowhere',
    });
    const other = await build(project('same-two', requirements), [], { PIP_FIND_LINKS: '/nowhere' });
    expect(layerOf(first).isCached).toBe(false);
    expect([layerOf(changed), layerOf(other)].map(({ isCached, digest }) => ({ isCached, digest }))).toEqual(
      Array(2).fill({ isCached: true, digest: layerOf(first).digest }),
    );
    expect(layerOf(changed, 'code').digest).not.toBe(layerOf(first, 'code').digest);
  });

  it('are those for the Python and the processor of the image, whatever this machine has', async () => {
    const built = await build(project('older', { 'requirements.txt': 'greeting==1.0\nnative\n' }, 'interpreter: python@3.9\n'));
    expect(filesOf(built)).toContain('wherry/python/only_older/__init__.py');
    expect(textOf(built, 'native/which.py')).toContain('amd64 3.9');
    const newer = await build(project('newer', { 'requirements.txt': 'greeting==1.0\nnative\n' }, 'interpreter: python@3.12\n'));
    expect(filesOf(newer).filter((path) => /only_/.test(path))).toEqual([]);
    expect(textOf(newer, 'native/which.py')).toContain('amd64 3.12');
    const arm = await build(project('arm', { 'requirements.txt': 'native\n' }, 'interpreter: python@3.12\nplatforms: [linux/arm64]\n'));
    expect(textOf(arm, 'native/which.py')).toContain('arm64 3.12');
  });

  it('refuse to be built from source, and say what to do', async () => {
    const dir = project('no-wheel', { 'requirements.txt': 'native\n' }, 'interpreter: python@3.7\n');
    const { code, stderr } = await runCli(['build', dir, '--data', stage.dataDir], { env });
    expect(code).toBe(2);
    expect(stderr).toContain("package 'native' of requirements.txt has no wheel for Python 3.7 on linux/amd64 (glibc)");
    expect(stderr).toContain('Dockerfile');
  });

  it('come from pyproject.toml, and exactly as uv.lock has them when there is one', async () => {
    const pyproject = '[project]\nname = "locked"\nversion = "0.1.0"\nrequires-python = ">=3.9"\ndependencies = ["greeting"]\n';
    const newest = await build(project('declared', { 'pyproject.toml': pyproject }));
    expect(textOf(newest, 'greeting/__init__.py')).toContain('2.0');
    const locked = await build(project('locked', { 'pyproject.toml': pyproject, 'uv.lock': uvLock(wheels) }, 'interpreter: python@3.12\n'));
    expect(textOf(locked, 'greeting/__init__.py')).toContain('1.0');
    expect(filesOf(locked).filter((path) => /only_/.test(path))).toEqual([]);
  });

  it('refuse a wheel that is not the one that was locked', async () => {
    const wrong = uvLock(wheels).replace(/sha256:[0-9a-f]{64}/g, `sha256:${'0'.repeat(64)}`);
    const dir = project('tampered', { 'pyproject.toml': '[project]\nname = "locked"\ndependencies = ["greeting"]\n', 'uv.lock': wrong });
    const { code, stderr } = await runCli(['build', dir, '--data', stage.dataDir], { env });
    expect(code).toBe(2);
    expect(stderr).toMatch(/could not be installed.*HASHES/s);
  });

  it('give the same layer in another directory, and nothing of this machine is in it', async () => {
    const files = { 'requirements.txt': 'greeting==2.0\n' };
    const first = await build(project('twice', files));
    rmSync(join(stage.dataDir, 'cache'), { recursive: true });
    const second = await build(project('twice-more', files), [], { TZ: 'Asia/Tokyo', TMPDIR: stage.dir });
    expect(layerOf(second)).toMatchObject({ isCached: false, digest: layerOf(first).digest });
    expect(textOf(second, 'bin/greet').split('\n')[0]).toBe('#!/usr/bin/env python3');
    expect(tarOf(second).includes(stage.dir)).toBe(false);
    expect(filesOf(second).filter((path) => /direct_url|INSTALLER|pyc/.test(path))).toEqual([]);
  });

  it("leave RunPod's worker SDK to ours, which answers to its name", async () => {
    const handler =
      'import runpod\n\ndef handler(job):\n    return "ran"\n\nif __name__ == "__main__":\n    runpod.serverless.start({"handler": handler})\n';
    const dir = project('unmodified', {
      'requirements.txt': 'RunPod~=1.7.6\n-r more.txt\n',
      'more.txt': 'shared\n',
      'handler.py': handler,
    });
    const result = await runCli(['deploy', dir, '--data', stage.dataDir], { env });
    expect(result).toMatchObject({ code: 0, stderr: expect.stringContaining('worker SDK in requirements.txt is not installed') });
    expect(await stage.runsync('unmodified', {})).toMatchObject({ status: 'COMPLETED', output: 'ran' });
  });

  it('ask which Python it is when the base does not say', async () => {
    const built = await build(project('base-of-own', {}));
    await stage.cli('push', join(stage.dir, 'base-of-own'), '--to', 'plain-base:1');
    const base = `${new URL(stage.url).host}/plain-base@${built.digest}`;
    const dir = project('asks', {
      'requirements.txt': 'shared\n',
      'wherry.yaml': `name: asks\nhandler: handler.py:handler\nbase: ${base}\n`,
    });
    const config = dockerConfig(stage);
    const { code, stderr } = await runCli(['build', dir, '--data', stage.dataDir], { env: { ...env, DOCKER_CONFIG: config } });
    expect(code).toBe(2);
    expect(stderr).toContain('interpreter: python@3.12');
  });
});

/** Logs in to the stage's own registry. */
function dockerConfig(stage: Stage): string {
  const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
  return stage.project('docker-config', { 'config.json': JSON.stringify({ auths: { [new URL(stage.url).host]: { auth } } }) });
}

function uvLock(wheels: string): string {
  const hashOf = (wheel: Wheel) =>
    createHash('sha256')
      .update(readFileSync(wheelFile(wheels, wheel)))
      .digest('hex');
  const entry = (wheel: Wheel) => `{ path = "${wheelFile(wheels, wheel)}", hash = "sha256:${hashOf(wheel)}" },`;
  const find = (name: string, version: string) => WHEELS.find((wheel) => wheel.name === name && wheel.version === version) as Wheel;
  return `version = 1
requires-python = ">=3.9"

[[package]]
name = "greeting"
version = "1.0"
source = { registry = "${wheels}" }
dependencies = [
    { name = "only-older", marker = "python_full_version < '3.10'" },
    { name = "shared" },
]
wheels = [
    ${entry(find('greeting', '1.0'))}
]

[[package]]
name = "locked"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
    { name = "greeting" },
    { name = "runpod" },
]

[[package]]
name = "only-older"
version = "1.0"
source = { registry = "${wheels}" }
wheels = [
    ${entry(find('only-older', '1.0'))}
]

[[package]]
name = "shared"
version = "1.5"
source = { registry = "${wheels}" }
wheels = [
    ${entry(find('shared', '1.5'))}
]
`;
}
