import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage } from '../stage.js';

interface Built {
  readonly layers: readonly { readonly role: string; readonly digest: string; readonly isCached: boolean }[];
  readonly warnings: readonly string[];
}

describe('the packages of a Node project with a lock', () => {
  let stage: Stage;
  let tarballs: string;
  beforeAll(async () => {
    stage = await openStage();
    tarballs = join(stage.dir, 'tarballs');
    mkdirSync(tarballs);
    pack({ name: 'word', main: 'index.js' }, { 'index.js': "module.exports = 'from the lock';\n" });
    pack({ name: 'tool' }, { 'index.js': 'module.exports = 1;\n' });
    pack({ name: 'binding-arm', os: ['linux'], cpu: ['arm64'] }, { 'index.js': '' });
    pack({ name: 'binding-amd', os: ['linux'], cpu: ['x64'] }, { 'index.js': '' });
    const binding = (name: string) => `file:${join(tarballs, `${name}-1.0.0.tgz`)}`;
    pack(
      {
        name: 'native',
        scripts: { install: 'exit 1' },
        optionalDependencies: { 'binding-arm': binding('binding-arm'), 'binding-amd': binding('binding-amd') },
      },
      { 'index.js': 'module.exports = 2;\n' },
    );
  });
  afterAll(() => stage.close());

  function pack(manifest: Record<string, unknown> & { readonly name: string }, files: Record<string, string>): void {
    const dir = stage.project(`packages/${manifest.name}`, { 'package.json': JSON.stringify({ version: '1.0.0', ...manifest }), ...files });
    execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', tarballs], { cwd: dir });
  }

  /** A project whose lock was written by npm; its node_modules hold something else. */
  function project(name: string, dependencies: readonly string[], settings = ''): string {
    const use = dependencies.map((each, index) => `import d${index} from '${each}';`).join('\n');
    const dir = stage.project(name, {
      'wherry.yaml': `name: ${name}\nhandler: handler.mjs:handler\nbase: scratch\n${settings}`,
      'handler.mjs': `${use}\nexport const handler = () => [${dependencies.map((_, index) => `d${index}`).join(', ')}];\n`,
      'package.json': JSON.stringify({
        name: 'app',
        dependencies: Object.fromEntries(dependencies.map((each) => [each, `file:../tarballs/${each}-1.0.0.tgz`])),
        devDependencies: { tool: 'file:../tarballs/tool-1.0.0.tgz' },
      }),
    });
    execFileSync('npm', ['install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund', '--silent', '--offline'], {
      cwd: dir,
    });
    return dir;
  }

  const build = async (dir: string) => JSON.parse(await stage.cli('build', dir, '--json')) as Built;
  const layerOf = ({ layers }: Built) => layers.find(({ role }) => role === 'dependencies') ?? { digest: '', isCached: false };
  const filesOf = (built: Built) => {
    const bytes = readFileSync(join(stage.dataDir, 'images/blobs/sha256', layerOf(built).digest.slice(7)));
    return execFileSync('tar', ['-tf', '-'], { input: gunzipSync(bytes), encoding: 'utf8' }).split('\n');
  };

  it('are installed as locked, whatever the project has installed, and the worker finds them', async () => {
    const dir = project('locked', ['word']);
    mkdirSync(join(dir, 'node_modules/word'), { recursive: true });
    writeFileSync(join(dir, 'node_modules/word/package.json'), JSON.stringify({ name: 'word', version: '0.0.1', main: 'index.js' }));
    writeFileSync(join(dir, 'node_modules/word/index.js'), "module.exports = 'from the laptop';\n");
    await stage.cli('deploy', dir);
    expect(await stage.runsync('locked', {})).toMatchObject({ status: 'COMPLETED', output: ['from the lock'] });
  });

  it('are those for the processor of the image, without development packages and without running their scripts', async () => {
    const built = await build(project('here', ['native']));
    expect(filesOf(built).filter((path) => /binding|tool/.test(path) && path.endsWith('.js'))).toEqual([
      'wherry/node_modules/binding-amd/index.js',
    ]);
    expect(built.warnings.join()).toContain('install script, which was not run: native');
    const other = await build(project('there', ['native'], 'platforms: [linux/arm64]\n'));
    expect(filesOf(other)).toContain('wherry/node_modules/binding-arm/index.js');
    expect(filesOf(other)).not.toContain('wherry/node_modules/binding-amd/index.js');
    const both = await build(project('both', ['native'], 'platforms: [linux/amd64, linux/arm64]\n'));
    const dependencies = both.layers.filter(({ role }) => role === 'dependencies').map(({ digest }) => digest);
    expect(dependencies).toEqual([layerOf(built).digest, layerOf(other).digest]);
  });

  it('say what is missing when the lock and the project disagree', async () => {
    const dir = project('torn', ['word']);
    const manifest = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) as object;
    writeFileSync(join(dir, 'package.json'), JSON.stringify({ ...manifest, dependencies: { word: '^9.0.0' } }));
    expect(await stage.tryCli('build', dir)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/package-lock\.json could not be installed: .*word@/),
    });
  });

  it('are installed once for all projects with the same lock', async () => {
    const first = await build(project('one', ['word', 'native']));
    rmSync(join(stage.dir, 'tarballs'), { recursive: true });
    const second = await build(project2(stage, 'one', 'two'));
    expect(layerOf(second)).toMatchObject({ isCached: true, digest: layerOf(first).digest });
  });
});

function project2(stage: Stage, from: string, name: string): string {
  const text = (file: string) => readFileSync(join(stage.dir, from, file), 'utf8');
  return stage.project(name, {
    'wherry.yaml': text('wherry.yaml').replace(`name: ${from}`, `name: ${name}`),
    'handler.mjs': text('handler.mjs'),
    'package.json': text('package.json'),
    'package-lock.json': text('package-lock.json'),
  });
}
