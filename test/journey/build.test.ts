import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, runCli, type Stage } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

interface Built {
  readonly digest: string;
  readonly layers: readonly { readonly role: string; readonly digest: string; readonly isCached: boolean }[];
  readonly warnings: readonly string[];
}

async function build(dir: string, dataDir = stage.dataDir, env: NodeJS.ProcessEnv = {}): Promise<Built> {
  const result = await runCli(['build', dir, '--json', '--data', dataDir], { env });
  if (result.code !== 0) throw new Error(result.stderr);
  return JSON.parse(result.stdout) as Built;
}

function blob(digest: string): Buffer {
  return readFileSync(join(stage.dataDir, 'images/blobs/sha256', digest.slice(7)));
}

function filesOf(built: Built, role: string): string[] {
  const layer = built.layers.find((candidate) => candidate.role === role);
  return execFileSync('tar', ['-tf', '-'], { input: gunzipSync(blob(layer?.digest ?? '')), encoding: 'utf8' })
    .trim()
    .split('\n');
}

function configOf({ digest }: Built): { config: { Labels: Record<string, string>; Entrypoint: string[] } } {
  const manifest = JSON.parse(blob(digest).toString()) as { config: { digest: string } };
  return JSON.parse(blob(manifest.config.digest).toString()) as ReturnType<typeof configOf>;
}

describe('a built image', () => {
  it("has the revision where git is clean with the user's settings, and else says why not", async () => {
    const dir = stage.project('ignoring', {
      'wherry.yaml': 'name: ignoring\nhandler: handler.mjs:handler\nbase: scratch\n',
      'handler.mjs': 'export const handler = () => 1;\n',
    });
    const home = join(stage.dir, 'home');
    mkdirSync(home);
    const url = '[url "https://mirror.test/"]\n  insteadOf = https://git.test/\n';
    writeFileSync(join(home, '.gitconfig'), `[core]\n  excludesFile = ~/ignored\n[status]\n  showUntrackedFiles = no\n${url}`);
    writeFileSync(join(home, 'ignored'), 'notes.txt\n');
    writeFileSync(join(dir, 'notes.txt'), 'mine');
    const git = (...args: string[]) => execFileSync('git', ['-C', dir, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args]);
    const buildAtHome = () => build(dir, stage.dataDir, { HOME: home });
    git('init', '-q');
    git('remote', 'add', 'origin', 'https://git.test/ignoring.git');
    expect((await buildAtHome()).warnings.join()).toMatch(/records no revision: git says: .*does not have any commits/);
    git('add', 'wherry.yaml', 'handler.mjs');
    git('commit', '-qm', 'one');
    const built = await buildAtHome();
    expect(built).toMatchObject({ revision: expect.stringMatching(/^[0-9a-f]{40}$/), warnings: [] });
    expect(configOf(built).config.Labels['org.opencontainers.image.source']).toBe('https://git.test/ignoring.git');
    writeFileSync(join(dir, 'new.txt'), 'new');
    expect(await buildAtHome()).toMatchObject({
      revision: null,
      warnings: ["the image records no revision: 'new.txt' is not committed as it is"],
    });
  });

  it('carries the standard labels, with revision and time of a clean commit or SOURCE_DATE_EPOCH', async () => {
    const dir = stage.project('labelled', {
      'wherry.yaml': 'name: labelled\nhandler: handler.mjs:handler\nbase: scratch\n',
      'handler.mjs': 'export const handler = () => 1;\n',
    });
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', dir, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { encoding: 'utf8' }).trim();
    git('init', '-q');
    git('remote', 'add', 'origin', 'https://name:token@git.test/labelled.git');
    git('add', '.');
    git('commit', '-qm', 'one');
    const clean = configOf(await build(dir)).config.Labels;
    expect(clean['org.opencontainers.image.revision']).toBe(git('rev-parse', 'HEAD'));
    expect(clean['org.opencontainers.image.source']).toBe('https://git.test/labelled.git');
    writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => 2;\n');
    const dirty = configOf(await build(dir)).config.Labels;
    expect(dirty['org.opencontainers.image.revision']).toBeUndefined();
    expect(dirty['org.opencontainers.image.created']).toBe('1970-01-01T00:00:00Z');
    const dated = configOf(await build(dir, stage.dataDir, { SOURCE_DATE_EPOCH: '1700000000' })).config.Labels;
    expect(dated['org.opencontainers.image.created']).toBe('2023-11-14T22:13:20Z');
  });

  it('never holds version control, environments, caches, secrets, or what .dockerignore names', async () => {
    const built = await build(
      stage.project('clean', {
        'handler.py': 'def handler(job):\n    return 1\n',
        '.git/config': 'x',
        '.venv/bin/python': 'x',
        'myenv/pyvenv.cfg': 'x',
        'myenv/lib/x.py': 'x',
        '__pycache__/a.pyc': 'x',
        '.env': 'TOKEN=1',
        '.env.production': 'TOKEN=1',
        id_rsa: 'x',
        'server.pem': 'x',
        '.npmrc': 'x',
        'notes/secret.txt': 'x',
        'notes/keep.txt': 'x',
        '.dockerignore': 'notes/*\n!notes/keep.txt\n',
      }),
    );
    expect(filesOf(built, 'code').filter((path) => !path.endsWith('/'))).toEqual(['wherry/app/handler.py', 'wherry/app/notes/keep.txt']);
    expect(built.warnings.join()).toContain('.env');
  });

  it('bundles TypeScript, keeps packages in their own layer, and re-pushes only the code layer for a code change (B6)', async () => {
    const pkg = (name: string, version: string, main: string, more = {}) => ({
      [`node_modules/${name}/package.json`]: JSON.stringify({ name, version, main: 'index.js', ...more }),
      [`node_modules/${name}/index.js`]: main,
    });
    const dir = stage.project('packages', {
      'wherry.yaml': 'name: packages\nhandler: src/handler.ts:handler\nbase: scratch\n',
      'src/handler.ts':
        "import outer from 'outer';\nimport { deep } from '@scope/deep';\nimport { n } from './n.js';\nexport const handler = (): string => `${outer()} ${deep} ${n}`;\n",
      'src/n.ts': 'export const n: number = 1;\n',
      ...pkg('outer', '1.0.0', "module.exports = () => 'outer+' + require('shared');\n", { dependencies: { shared: '^2.0.0' } }),
      ...pkg('shared', '1.0.0', "module.exports = 'shared-1';\n"),
      ...pkg('outer/node_modules/shared', '2.0.0', "module.exports = 'shared-2';\n"),
      ...pkg('@scope/deep', '1.0.0', "exports.deep = 'deep+' + require('shared');\n", { dependencies: { shared: '^1.0.0' } }),
      ...pkg('unused', '1.0.0', 'module.exports = 1;\n'),
    });
    const first = JSON.parse(await stage.cli('deploy', dir, '--json')) as { digest: string };
    expect(await stage.runsync('packages', null)).toMatchObject({ status: 'COMPLETED', output: 'outer+shared-2 deep+shared-1 1' });
    const built = await build(dir);
    expect(built.digest).toBe(first.digest);
    expect(filesOf(built, 'dependencies').some((path) => path.includes('unused'))).toBe(false);
    writeFileSync(join(dir, 'src/n.ts'), 'export const n: number = 2;\n');
    const pushed = JSON.parse(await stage.cli('push', dir, '--json')) as { uploaded: number; skipped: number };
    expect(pushed).toMatchObject({ uploaded: 2, skipped: 2 });
    const again = await build(dir);
    expect(again.layers.map(({ digest }) => digest).slice(0, 2)).toEqual(built.layers.map(({ digest }) => digest).slice(0, 2));
  });

  it('leaves the secrets of linked packages out and warns, but keeps what is public', async () => {
    const linked = stage.project('linked-library', {
      'package.json': JSON.stringify({ name: 'library', version: '1.0.0', main: 'credentials/index.js' }),
      'credentials/index.js': 'module.exports = 7;\n',
      '.env': 'TOKEN=1',
      '.npmrc': 'token=1',
      '.git/config': 'x',
      'service-account.json': '{}',
      'certs/server.pem': '-----BEGIN RSA PRIVATE KEY-----\n',
      'certs/roots.pem': '-----BEGIN CERTIFICATE-----\n',
    });
    const dir = stage.project('linking', {
      'handler.mjs': "import seven from 'library';\nexport const handler = () => seven;\n",
      'node_modules/.package-lock.json': '{}',
    });
    symlinkSync(linked, join(dir, 'node_modules/library'));
    const built = await build(dir);
    expect(filesOf(built, 'dependencies').filter((path) => !path.endsWith('/'))).toEqual(
      ['certs/roots.pem', 'credentials/index.js', 'package.json'].map((path) => `wherry/node_modules/library/${path}`),
    );
    for (const path of ['.env', '.npmrc', 'service-account.json', 'certs/server.pem'])
      expect(built.warnings.join()).toContain(`node_modules/library/${path}`);
  });

  it('refuses an installation in which a package lacks one that it needs, but not one that is optional', async () => {
    const files = (dependencies: object) => ({
      'handler.mjs': "import x from 'outer';\nexport const handler = () => x;\n",
      'node_modules/outer/package.json': JSON.stringify({ name: 'outer', version: '1.0.0', main: 'index.js', ...dependencies }),
      'node_modules/outer/index.js': 'module.exports = 1;\n',
    });
    const broken = await stage.tryCli('build', stage.project('incomplete', files({ dependencies: { lacking: '1' } })));
    expect(broken).toMatchObject({ code: 2, stderr: expect.stringMatching(/'lacking', needed by .*outer.*npm install/s) });
    const optional = { dependencies: { lacking: '1' }, optionalDependencies: { lacking: '1' }, peerDependencies: { other: '1' } };
    await build(stage.project('optional', files(optional)));
  });

  it('says which package is missing, and where a source error is', async () => {
    const missing = await stage.tryCli(
      'build',
      stage.project('missing', { 'handler.mjs': "import x from 'absent-package';\nexport const handler = () => x;\n" }),
    );
    expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining("'absent-package'") });
    const broken = await stage.tryCli(
      'build',
      stage.project('broken', { 'wherry.yaml': 'handler: handler.mjs:handler\n', 'handler.mjs': 'export const handler = () => {\n' }),
    );
    expect(broken).toMatchObject({ code: 2, stderr: expect.stringMatching(/handler\.mjs:\d+:\d+/) });
  });

  it('runs a Python handler that starts itself with the RunPod call (row 1)', async () => {
    const dir = stage.project('selfstart', {
      'wherry.yaml': 'name: selfstart\nhandler: handler.py:handler\nbase: scratch\n',
      'handler.py':
        "import wherry as runpod\n\n\nasync def handler(job):\n    return {'got': job['input']}\n\n\nrunpod.serverless.start({'handler': handler})\n",
    });
    await stage.cli('deploy', dir);
    expect(await stage.runsync('selfstart', [1, 'ü'])).toMatchObject({ status: 'COMPLETED', output: { got: [1, 'ü'] } });
  });

  it('runs a Python handler that fails, and shows its traceback', async () => {
    const dir = stage.project('pyfail', {
      'wherry.yaml': 'name: pyfail\nhandler: handler.py:handler\nbase: scratch\n',
      'handler.py': "def handler(job):\n    if job['input'] == 'set':\n        return {1, 2}\n    raise ValueError('bad size')\n",
    });
    await stage.cli('deploy', dir);
    const failed = await stage.runsync('pyfail', 1);
    expect(failed.status).toBe('FAILED');
    expect(JSON.parse(String(failed.error))).toMatchObject({
      error_message: 'bad size',
      error_traceback: expect.stringContaining('handler.py'),
    });
    expect(await stage.runsync('pyfail', 'set')).toMatchObject({ status: 'FAILED', error: expect.stringContaining('JSON') });
  });

  it('packs a layer again whose file is shorter than it was', async () => {
    const dir = stage.project('short', nodeProject('short', ECHO));
    const { layers } = await build(dir);
    const code = layers.find(({ role }) => role === 'code');
    const file = join(stage.dataDir, 'images/blobs/sha256', code?.digest.slice(7) ?? '');
    const { size } = statSync(file);
    truncateSync(file, size - 1);
    const again = await build(dir);
    expect(again.layers.find(({ role }) => role === 'code')).toMatchObject({ digest: code?.digest, isCached: false });
    expect(statSync(file).size).toBe(size);
  });

  it('is pushed without a look into the working directory when DOCKER_CONFIG is empty', async () => {
    const dir = stage.project('elsewhere', { ...nodeProject('elsewhere', ECHO), 'config.json': 'not a config of docker' });
    const env = { DOCKER_CONFIG: '', HOME: stage.dir };
    const pushed = await runCli(['push', '.', '--to', `${new URL(stage.url).host}/elsewhere:1`, '--data', stage.dataDir], {
      cwd: dir,
      env,
    });
    expect(pushed.stderr).toContain('401');
    expect(pushed.stderr).not.toContain('config.json');
  });
});

describe('files that include names', () => {
  const MODEL = {
    'handler.py': 'import os\ndef handler(job):\n    return os.path.getsize(os.path.join(os.path.dirname(__file__), "weights/a.bin"))\n',
  };

  it('get a layer for each glob, which stays when the code changes and is packed again when asked', async () => {
    const files = {
      ...MODEL,
      'wherry.yaml': "name: model\ninclude: ['weights/*.bin', 'vocabulary.txt']\n",
      'weights/a.bin': 'x'.repeat(5000),
      'weights/b.bin': 'b',
      'vocabulary.txt': 'words',
    };
    const dir = stage.project('model', files);
    const first = await build(dir);
    const assets = (built: Built) => built.layers.filter(({ role }) => role === 'assets');
    expect(assets(first)).toHaveLength(2);
    expect(filesOf(first, 'code').filter((path) => !path.endsWith('/'))).toEqual(['wherry/app/handler.py']);
    writeFileSync(join(dir, 'handler.py'), `${MODEL['handler.py']}# more\n`);
    const second = await build(dir);
    expect(assets(second).map(({ digest, isCached }) => ({ digest, isCached }))).toEqual(
      assets(first).map(({ digest }) => ({ digest, isCached: true })),
    );
    const verified = JSON.parse(await stage.cli('build', dir, '--verify', '--json')) as Built;
    expect(assets(verified).map(({ digest, isCached }) => ({ digest, isCached }))).toEqual(
      assets(first).map(({ digest }) => ({ digest, isCached: false })),
    );
    await stage.cli('deploy', dir);
    expect(await stage.runsync('model', {})).toMatchObject({ status: 'COMPLETED', output: 5000 });
  });

  it('are refused by the registry when they changed after they were hashed, and a glob must match', async () => {
    const dir = stage.project('stale', { ...MODEL, 'wherry.yaml': "name: stale\ninclude: ['weights/*']\n", 'weights/a.bin': 'one' });
    await build(dir);
    const cache = join(stage.dataDir, 'cache/layers');
    const wrong = readdirSync(cache).map((name) => join(cache, name));
    // As if the stamp had not told of a change: what is remembered belongs to other bytes.
    for (const file of wrong) {
      const text = readFileSync(file, 'utf8');
      const { digest, diffId } = JSON.parse(text) as { digest: string; diffId: string };
      if (digest === diffId) writeFileSync(file, text.replaceAll(digest, `sha256:${'1'.repeat(64)}`));
    }
    const pushed = await stage.tryCli('push', dir);
    expect(pushed.code).not.toBe(0);
    expect((await stage.call('/v2/stale/tags/list')).status).toBe(404);
    expect((await stage.tryCli('push', dir, '--verify')).code).toBe(0);
    const none = stage.project('none', { ...MODEL, 'wherry.yaml': "name: none\ninclude: ['absent/*']\n" });
    expect(await stage.tryCli('build', none)).toMatchObject({ code: 2, stderr: expect.stringContaining("'absent/*' under 'include'") });
  });
});

describe('the base of an image', () => {
  it('is pinned in wherry.lock at the first build, stays what it was when its tag moves, and moves when asked', async () => {
    const host = new URL(stage.url).host;
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    const DOCKER_CONFIG = stage.project('login', { 'config.json': JSON.stringify({ auths: { [host]: { auth } } }) });
    const basis = (text: string) =>
      stage.project('basis', { 'wherry.yaml': 'name: basis\nbase: scratch\n', 'handler.py': `def handler(job):\n    return ${text}\n` });
    await stage.cli('push', basis('1'), '--to', 'basis:1.0');
    const dir = stage.project('onbase', {
      'wherry.yaml': `name: onbase\nbase: ${host}/basis:1.0\n`,
      'handler.py': 'def handler(job):\n    return 1\n',
    });
    const first = await build(dir, stage.dataDir, { DOCKER_CONFIG });
    const lock = JSON.parse(readFileSync(join(dir, 'wherry.lock'), 'utf8')) as { bases: Record<string, string> };
    expect(lock.bases[`${host}/basis:1.0`]).toMatch(/^sha256:[0-9a-f]{64}$/);
    await stage.cli('push', basis('2'), '--to', 'basis:1.0');
    expect((await build(dir, stage.dataDir, { DOCKER_CONFIG })).digest).toBe(first.digest);
    const updated = await runCli(['build', dir, '--update-base', '--json', '--data', stage.dataDir], { env: { DOCKER_CONFIG } });
    expect((JSON.parse(updated.stdout) as Built).digest).not.toBe(first.digest);
    expect(JSON.parse(readFileSync(join(dir, 'wherry.lock'), 'utf8'))).not.toEqual(lock);
  });

  it('is mounted where its repository is in the target, as is what another project has pushed', async () => {
    const host = new URL(stage.url).host;
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    const DOCKER_CONFIG = stage.project('login', { 'config.json': JSON.stringify({ auths: { [host]: { auth } } }) });
    const on = (name: string) =>
      stage.project(name, {
        'wherry.yaml': `name: ${name}\nbase: ${host}/basis:1.0\n`,
        'handler.py': `def handler(job):\n    return '${name}'\n`,
      });
    const push = async (name: string) => {
      const pushed = await runCli(['push', on(name), '--to', `${host}/${name}`, '--json', '--data', stage.dataDir], {
        env: { DOCKER_CONFIG },
      });
      return JSON.parse(pushed.stdout) as { uploaded: number; skipped: number };
    };
    const [first, second] = [await push('mount-one'), await push('mount-two')];
    // The base's layers, though none was pushed to this name before; then all but code and config.
    expect(first.skipped).toBeGreaterThan(0);
    expect(second.uploaded).toBe(2);
    expect(second.skipped).toBe(first.uploaded + first.skipped - 2);
  });

  it('travels only as far as the target lacks it', async () => {
    const host = new URL(stage.url).host;
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    const DOCKER_CONFIG = stage.project('login', { 'config.json': JSON.stringify({ auths: { [host]: { auth } } }) });
    const dir = stage.project('ontop', {
      'wherry.yaml': `name: ontop\nbase: ${host}/basis:1.0\n`,
      'handler.py': 'def handler(job):\n    return 3\n',
    });
    const other = mkdtempSync(join(tmpdir(), 'wherry-data-'));
    try {
      const built = await build(dir, other, { DOCKER_CONFIG });
      const base = (
        JSON.parse(readFileSync(join(other, 'images/blobs/sha256', built.digest.slice(7)), 'utf8')) as { layers: { digest: string }[] }
      ).layers;
      expect(existsSync(join(other, 'images/blobs/sha256', base[2]?.digest.slice(7) ?? ''))).toBe(false);
      const output = join(other, 'whole');
      const written = await runCli(['build', dir, '--output', output, '--data', other], { env: { DOCKER_CONFIG } });
      expect(written.code, written.stderr).toBe(0);
      for (const { digest } of base) expect(existsSync(join(output, 'blobs/sha256', digest.slice(7)))).toBe(true);
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  });
});
