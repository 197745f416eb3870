import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { architectureOf } from '../../src/oci/platform.js';
import { needs } from '../needs.js';
import { openStage, runCli, type Stage } from '../stage.js';
import { makeWheels } from './wheels.js';

interface BuiltLayer {
  readonly role: string;
  readonly digest: string;
  readonly isCached: boolean;
}

interface Built {
  readonly digest: string;
  readonly layers: readonly BuiltLayer[];
  readonly platforms: readonly {
    readonly platform: string;
    readonly digest: string;
    readonly sizeBytes: number;
    readonly layers: readonly BuiltLayer[];
  }[];
  readonly warnings: readonly string[];
}

interface Index {
  readonly manifests: readonly { readonly digest: string; readonly platform: { readonly os: string; readonly architecture: string } }[];
}

const BOTH = ['linux/amd64', 'linux/arm64'];
const HERE = `linux/${architectureOf(process.arch)}`;
const HANDLER = 'def handler(job):\n    return 1\n';

let stage: Stage;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  stage = await openStage();
  const { host } = new URL(stage.url);
  const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
  const login = stage.project('login', { 'config.json': JSON.stringify({ auths: { [host]: { auth } } }) });
  const wheels = ['manylinux_2_17_x86_64', 'manylinux_2_17_aarch64'].map((tag) => ({
    name: 'native',
    version: '1.0',
    tag: `py3-none-${tag}`,
    files: { 'which.py': `which = '${tag}'\n` },
  }));
  env = { DOCKER_CONFIG: login, PIP_NO_INDEX: '1', PIP_FIND_LINKS: makeWheels(join(stage.dir, 'wheels'), wheels) };
});
afterAll(() => stage.close());

const settingsOf = (name: string, platforms: readonly string[], more = '') =>
  `name: ${name}\nplatforms: [${platforms.join(', ')}]\n${more}`;

/** A Python project for several platforms, on `scratch` unless more is said. */
const project = (
  name: string,
  files: Readonly<Record<string, string>> = {},
  platforms: readonly string[] = BOTH,
  more = 'base: scratch\n',
) => stage.project(name, { 'wherry.yaml': settingsOf(name, platforms, more), 'handler.py': HANDLER, ...files });

const tryCli = (...args: readonly string[]) => runCli([...args, '--data', stage.dataDir], { env });

async function json<T>(...args: readonly string[]): Promise<T> {
  const result = await tryCli(...args, '--json');
  if (result.code !== 0) throw new Error(result.stderr);
  return JSON.parse(result.stdout) as T;
}

const build = (dir: string, ...more: readonly string[]) => json<Built>('build', dir, ...more);
const blobOf = (digest: string) => readFileSync(join(stage.dataDir, 'images/blobs/sha256', digest.slice(7)));
const indexOf = ({ digest }: { readonly digest: string }) => JSON.parse(blobOf(digest).toString()) as Index;
const layerOf = ({ layers }: { readonly layers: readonly BuiltLayer[] }, role: string) =>
  layers.find((layer) => layer.role === role)?.digest;
const imageFor = ({ platforms }: Pick<Built, 'platforms'>, platform: string) => {
  const found = platforms.find((image) => image.platform === platform);
  if (!found) throw new Error(`nothing for ${platform}`);
  return found;
};

describe('a project for several platforms', () => {
  it('is an index of one image for each, the one that it would be alone, and the same again', async () => {
    const dir = project('several');
    const built = await build(dir);
    expect(indexOf(built)).toEqual({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: ['amd64', 'arm64'].map((architecture) => ({
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: imageFor(built, `linux/${architecture}`).digest,
        size: blobOf(imageFor(built, `linux/${architecture}`).digest).length,
        platform: { os: 'linux', architecture },
      })),
    });
    expect((await build(dir, '--verify')).digest).toBe(built.digest);
    for (const platform of BOTH) {
      writeFileSync(join(dir, 'wherry.yaml'), settingsOf('several', [platform], 'base: scratch\n'));
      const alone = await build(dir);
      expect(alone.digest, platform).toBe(imageFor(built, platform).digest);
      expect(alone.platforms).toMatchObject([{ platform, digest: alone.digest }]);
    }
  });

  it('prints the layers and the digest of each platform, and that of the index last', async () => {
    const built = await build(project('printed'));
    const { stdout } = await tryCli('build', project('printed'));
    const lines = stdout.trim().split('\n');
    expect(lines[0]).toMatch(/^platform +layer +digest/);
    for (const { platform, digest } of built.platforms) expect(lines).toContain(`${platform}  ${digest}`);
    expect(lines.at(-1)).toBe(`printed@${built.digest}`);
  });

  it.skipIf(!needs('pip3'))('has the wheels of each processor, and shares every other layer', async () => {
    const dir = project('wheels', { 'requirements.txt': 'native\n' });
    const built = await build(dir);
    const [amd64, arm64] = BOTH.map((platform) => imageFor(built, platform)) as [Built['platforms'][0], Built['platforms'][0]];
    const whichIn = (image: Built['platforms'][0]) => {
      const input = gunzipSync(blobOf(layerOf(image, 'dependencies') ?? ''));
      return execFileSync('tar', ['-xOf', '-', 'wherry/python/native/which.py'], { input, encoding: 'utf8' });
    };
    expect([whichIn(amd64), whichIn(arm64)]).toEqual([expect.stringContaining('x86_64'), expect.stringContaining('aarch64')]);
    for (const role of ['sdk', 'code']) expect(layerOf(amd64, role), role).toBe(layerOf(arm64, role));
    expect(built.layers.map(({ role }) => role)).toEqual(['dependencies', 'sdk', 'code', 'dependencies']);
    const again = await build(dir);
    expect(again.digest).toBe(built.digest);
    expect(again.layers.every(({ isCached }) => isCached)).toBe(true);
  });

  it('says so when compiled packages cannot be those of each processor', async () => {
    const dir = stage.project('compiled', {
      'wherry.yaml': settingsOf('compiled', BOTH, 'base: scratch\n'),
      'handler.mjs': "import fast from 'fast';\nexport const handler = () => fast;\n",
      'node_modules/fast/package.json': '{"name":"fast","version":"1.0.0","main":"index.js"}',
      'node_modules/fast/index.js': 'module.exports = 1;\n',
      'node_modules/fast/fast.node': '',
    });
    const { warnings } = await build(dir);
    expect(warnings).toEqual([expect.stringMatching(/the same for each platform: fast; with a package-lock.json/)]);
  });

  it('takes each image of its base out of one pinned index, and says what a base lacks', async () => {
    const { host } = new URL(stage.url);
    const base = await json<{ digest: string; platforms: Built['platforms'] }>('push', project('ground'), '--to', `${host}/ground:1`);
    const on = (name: string, platforms: readonly string[]) =>
      project(name, {}, platforms, `base: ${host}/ground:1\ninterpreter: python@3.11\n`);
    const dir = on('above', BOTH);
    const built = await build(dir);
    const lock = JSON.parse(readFileSync(join(dir, 'wherry.lock'), 'utf8')) as { bases: Record<string, string> };
    expect(lock.bases).toEqual({ [`${host}/ground:1`]: base.digest });
    for (const { platform, digest } of built.platforms) {
      const [manifest, below] = [digest, imageFor(base, platform).digest].map((each) => JSON.parse(blobOf(each).toString()));
      expect(manifest.layers.slice(0, 3), platform).toEqual(below.layers);
      expect(JSON.parse(blobOf(manifest.config.digest).toString())).toMatchObject({ architecture: platform.split('/')[1] });
    }
    expect(await tryCli('build', on('lacking', [...BOTH, 'linux/riscv64']))).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/ground:1@sha256:\w+' has nothing for linux\/riscv64: it offers linux\/amd64, linux\/arm64/),
    });
    const only = project('only', {}, BOTH, `base: ${host}/ground@${imageFor(base, 'linux/arm64').digest}\ninterpreter: python@3.11\n`);
    expect(await tryCli('build', only)).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/has nothing for linux\/amd64: it offers linux\/arm64\n/),
    });
  });

  it('is built of a Dockerfile as well, without an engine', async () => {
    const files = { 'wherry.yaml': settingsOf('copied', BOTH, 'dockerfile: Dockerfile\n'), run: '#!/bin/sh\n' };
    const dir = stage.project('copied', { ...files, Dockerfile: 'FROM scratch\nCOPY run /opt/run\nENTRYPOINT ["/opt/run"]\n' });
    const built = await build(dir);
    expect(built.platforms.map(({ platform }) => platform)).toEqual(BOTH);
    expect(built.layers).toHaveLength(1);
    writeFileSync(join(dir, 'wherry.yaml'), settingsOf('copied', ['linux/arm64'], 'dockerfile: Dockerfile\n'));
    expect((await build(dir)).digest).toBe(imageFor(built, 'linux/arm64').digest);
  });

  it('is held against its budget by the largest of its images', async () => {
    const dir = project(
      'heavy',
      { 'weights.bin': 'w'.repeat(1_500_000) },
      BOTH,
      'base: scratch\nbudget:\n  imageSize: 1MB\ninclude: [weights.bin]\n',
    );
    expect(await tryCli('build', dir)).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/the image for linux\/amd64 has 1\.4 MiB, its budget is/),
    });
    expect(await tryCli('build', dir, '--strict')).toMatchObject({ code: 2, stderr: expect.stringContaining('BUDGET_EXCEEDED') });
  });
});

describe('an index that was pushed', () => {
  interface Pushed extends Built {
    readonly reference: string;
    readonly uploaded: number;
    readonly skipped: number;
  }
  const referrersOf = async (repository: string, digest: string) =>
    ((await stage.call(`/v2/${repository}/referrers/${digest}`)).json as { manifests: readonly { artifactType: string }[] }).manifests;

  it('is in the registry with the manifest of each platform, which has a list of its software', async () => {
    const pushed = await json<Pushed>('push', project('shipped'), '--sbom');
    expect(pushed.reference).toBe(`shipped:build-${pushed.digest.slice(7, 19)}@${pushed.digest}`);
    // One config each; the layers are the same.
    expect(pushed).toMatchObject({ uploaded: 5, skipped: 0 });
    for (const { platform, digest } of pushed.platforms) {
      expect((await stage.call(`/v2/shipped/manifests/${digest}`)).json, platform).toMatchObject({ schemaVersion: 2 });
      expect(await referrersOf('shipped', digest), platform).toMatchObject([{ artifactType: 'application/vnd.cyclonedx+json' }]);
      const sbom = await json<{ metadata: { component: { version: string } } }>('image', 'sbom', pushed.reference, '--platform', platform);
      expect(sbom.metadata.component.version).toBe(digest);
    }
    expect(await referrersOf('shipped', pushed.digest)).toEqual([]);
    expect(await json<Pushed>('push', project('shipped'), '--sbom')).toMatchObject({ digest: pushed.digest, uploaded: 0, skipped: 5 });
  });

  it('runs as the image for this machine, under the digest of that; nothing has moved', async () => {
    const dir = project('runs');
    const { digest } = await json<{ digest: string }>('deploy', dir);
    const built = await build(dir);
    expect(digest).toBe(imageFor(built, HERE).digest);
    expect(await stage.runsync('runs', {})).toMatchObject({ status: 'COMPLETED', output: 1 });
    const { items } = await json<{ items: { image: { reference: string; digest: string }; tagNow: unknown }[] }>('releases', '-e', 'runs');
    expect(items).toMatchObject([
      { image: { digest, reference: expect.stringContaining(`@${built.digest}`) }, tagNow: { digest: built.digest } },
    ]);
    expect((await tryCli('releases', '-e', 'runs')).stdout).not.toContain('moved');
    writeFileSync(join(dir, 'handler.py'), 'def handler(job):\n    return 2\n');
    await json('push', dir, '--to', String(items[0]?.image.reference.split('@')[0]));
    expect((await tryCli('releases', '-e', 'runs')).stdout).toContain('moved to');
  });

  it('is refused as a release where it has nothing for the machine, naming what it has (D4)', async () => {
    const others = ['linux/s390x', 'linux/riscv64'];
    const refused = await tryCli('deploy', project('elsewhere', {}, others));
    expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining(`has nothing for ${HERE}`) });
    expect(refused.stderr).toContain('it offers linux/s390x, linux/riscv64');
    expect((await stage.call('/api/v1/endpoints/elsewhere')).status).toBe(404);
  });

  it('is inspected, compared and verified platform by platform', async () => {
    const dir = project('checked');
    const git = (...args: readonly string[]) => execFileSync('git', ['-C', dir, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args]);
    git('init', '-q');
    git('add', '.');
    git('commit', '-qm', 'one');
    const pushed = await json<Pushed>('push', dir);
    const [amd64, arm64] = BOTH.map((platform) => imageFor(pushed, platform).digest);
    const inspected = await json('image', 'inspect', pushed.reference, '--platform', 'linux/arm64');
    expect(inspected).toMatchObject({ digest: arm64, platform: 'linux/arm64', platforms: BOTH });
    const { config } = await json<{ config: unknown }>('image', 'diff', `checked@${amd64}`, `checked@${arm64}`);
    expect(config).toEqual([{ name: 'platform', before: 'linux/amd64', after: 'linux/arm64' }]);
    const same = { sameDigest: true, sameContent: true, differences: [] };
    expect(await json('verify', pushed.reference, dir)).toMatchObject({ ...same, digest: pushed.digest, rebuilt: pushed.digest });
    // As a release names it.
    expect(await json('verify', `checked@${arm64}`, dir)).toMatchObject({ ...same, digest: arm64, rebuilt: arm64 });
    git('update-index', '--assume-unchanged', 'wherry.yaml');
    writeFileSync(join(dir, 'wherry.yaml'), settingsOf('checked', ['linux/amd64', 'linux/s390x'], 'base: scratch\n'));
    const claims = await json<Pushed>('push', dir);
    const verdict = await tryCli('verify', claims.reference, dir);
    expect(verdict.code).toBe(1);
    expect(verdict.stdout).toContain('linux/s390x: the revision builds nothing for it\n  linux/arm64: it is not in the image');
  });

  // Skipped where skopeo is not installed; WHERRY_TEST_REQUIRE=skopeo makes its absence a failure.
  it.skipIf(!needs('skopeo'))('goes through skopeo to a layout and back with the same digest, as does what build writes', async () => {
    const { host } = new URL(stage.url);
    const pushed = await json<Pushed>('push', project('copied-all'), '--to', 'copied-all:1', '--no-sbom');
    const skopeo = (...args: readonly string[]) =>
      execFileSync('skopeo', ['--insecure-policy', ...args], { encoding: 'utf8', env: { ...process.env, ...env } });
    const raw = skopeo('inspect', '--raw', '--tls-verify=false', `docker://${host}/copied-all:1`);
    expect(JSON.parse(raw)).toEqual(indexOf(pushed));
    const layout = `oci:${join(stage.dir, 'skopeo')}:all`;
    const copy = ['copy', '--all', '--preserve-digests', '--src-tls-verify=false', '--dest-tls-verify=false'];
    skopeo(...copy, `docker://${host}/copied-all:1`, layout);
    skopeo(...copy, layout, `docker://${host}/copied-back:1`);
    await build(project('copied-all'), '--output', join(stage.dir, 'written'));
    skopeo(...copy, `oci:${join(stage.dir, 'written')}:copied-all`, `docker://${host}/copied-out:1`);
    for (const repository of ['copied-back', 'copied-out']) {
      const answer = await stage.call(`/v2/${repository}/manifests/1`);
      expect(answer.headers.get('docker-content-digest'), repository).toBe(pushed.digest);
    }
  });
});
