import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage } from '../stage.js';

describe('wherry push', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage();
  });
  afterAll(() => stage.close());

  function repository(name: string): {
    readonly dir: string;
    readonly git: (...args: string[]) => string;
    readonly change: (text: string) => void;
  } {
    const dir = stage.project(name, {
      'wherry.yaml': `name: ${name}\nhandler: handler.mjs:handler\nbase: scratch\n`,
      'handler.mjs': 'export const handler = () => 1;\n',
    });
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', dir, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { encoding: 'utf8' }).trim();
    git('init', '-q');
    git('add', '.');
    git('commit', '-qm', 'one');
    const change = (text: string) => {
      writeFileSync(join(dir, 'handler.mjs'), `export const handler = () => ${text};\n`);
      git('commit', '-qam', text);
    };
    return { dir, git, change };
  }

  const push = async (...args: string[]) =>
    JSON.parse(await stage.cli('push', ...args, '--json')) as { digest: string; reference: string; tags: string[] };

  it('tags by the revision and by the versions of git, and prints what can be pasted (rows 4, 13)', async () => {
    const { dir, git, change } = repository('tagged');
    const revision = git('rev-parse', 'HEAD').slice(0, 12);
    expect((await push(dir)).tags).toEqual([`sha-${revision}`]);
    for (const tag of ['v1.2.0', 'v1.10.0-rc.1', 'release-candidate']) git('tag', tag);
    const { digest, reference, tags } = await push(dir);
    expect(tags).toEqual(['1.10.0-rc.1', '1.2.0', `sha-${revision}`]);
    expect(reference).toBe(`tagged:1.10.0-rc.1@${digest}`);
    expect((await stage.cli('push', dir)).trim()).toBe(reference);
    change('2');
    writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => "dirty";\n');
    expect((await push(dir)).tags).toEqual([expect.stringMatching(/^build-[0-9a-f]{12}$/)]);
  });

  it('never moves a version to another image unless forced', async () => {
    const { dir, git, change } = repository('versioned');
    git('tag', 'v1.0.0');
    const first = await push(dir);
    await push(dir);
    change('3');
    git('tag', '-f', 'v1.0.0');
    const refused = await stage.tryCli('push', dir);
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain(`TAG_EXISTS  version '1.0.0' of 'versioned' is another image already: ${first.digest}`);
    const now = async () => (await stage.call('/v2/versioned/manifests/1.0.0')).headers.get('docker-content-digest');
    expect(await now()).toBe(first.digest);
    const undeployed = await stage.tryCli('deploy', dir, '--no-test');
    expect(undeployed).toMatchObject({ code: 5, stderr: expect.stringContaining('--force moves this one') });
    const moved = JSON.parse(await stage.cli('deploy', dir, '--no-test', '--force', '--json')) as { digest: string };
    expect([await now(), moved.digest === first.digest]).toEqual([moved.digest, false]);
    await push(dir, '--to', 'versioned:nightly');
    change('4');
    await push(dir, '--to', 'versioned:nightly');
    git('tag', '-f', 'v1.0.0');
    const last = await push(dir, '--force');
    expect([await now(), last.digest === moved.digest]).toEqual([last.digest, false]);
  });

  it('refuses a target that has a digest, in one error', async () => {
    const { dir } = repository('pinned');
    const { code, stderr } = await stage.tryCli('push', dir, '--to', `pinned@sha256:${'0'.repeat(64)}`);
    expect([code, stderr.match(/error \w+/g)]).toEqual([2, ['error USAGE']]);
  });

  it('attaches the list of software, once an image, unless told not to', async () => {
    const { dir, git } = repository('listed');
    git('tag', 'v2.0.0');
    const { digest } = await push(dir, '--no-sbom');
    const referrers = async () => ((await stage.call(`/v2/listed/referrers/${digest}`)).json as { manifests: object[] }).manifests;
    expect(await referrers()).toEqual([]);
    await push(dir);
    await push(dir, '--sbom');
    expect(await referrers()).toEqual([expect.objectContaining({ artifactType: 'application/vnd.cyclonedx+json' })]);
    expect(JSON.parse(await stage.cli('image', 'sbom', 'listed:2.0.0'))).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.6' });
  });

  it('warns of an image above its budget, and fails when asked to (row 6)', async () => {
    const dir = stage.project('heavy', {
      'wherry.yaml': 'name: heavy\nbase: scratch\nbudget:\n  imageSize: 1MB\ninclude: [weights.bin]\n',
      'handler.py': 'def handler(job):\n    return 1\n',
      'weights.bin': 'w'.repeat(1_500_000),
    });
    expect(await stage.tryCli('build', dir)).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/the image has 1\.4 MiB, its budget is/),
    });
    expect(await stage.tryCli('build', dir, '--strict')).toMatchObject({ code: 2, stderr: expect.stringContaining('BUDGET_EXCEEDED') });
  });

  it('and deploy tell the compressed size and the layers; an image above its budget is deployed, with a warning (row 6)', async () => {
    const dir = stage.project('sized', {
      'wherry.yaml': 'name: sized\nbase: scratch\nbudget:\n  imageSize: 1KB\n',
      'handler.py': 'def handler(job):\n    return 1\n',
    });
    const { digest, size } = JSON.parse(await stage.cli('push', dir, '--json')) as {
      digest: string;
      size: { bytes: number; layers: number };
    };
    const manifest = (await stage.call(`/v2/sized/manifests/${digest}`)).json as { config: { size: number }; layers: { size: number }[] };
    expect(size).toEqual({
      bytes: manifest.layers.reduce((sum, layer) => sum + layer.size, manifest.config.size),
      layers: manifest.layers.length,
    });
    const told = `${(size.bytes / 1024).toFixed(1)} KiB`;
    const deployed = await stage.tryCli('deploy', dir);
    expect(deployed.code).toBe(0);
    expect(deployed.stdout.split('\n')[1]).toBe(`${told} compressed, ${size.layers} layers`);
    expect(deployed.stderr).toContain(`the image has ${told}, its budget is 1000 B`);
    expect(await stage.runsync('sized', {})).toMatchObject({ output: 1 });
    const again = JSON.parse(await stage.cli('deploy', '--image', `sized@${digest}`, '-e', 'sized-too', '--json')) as { size: object };
    expect(again.size).toEqual(size);
  });
});
