import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Built, readBlob, readFiles } from '../built-files.js';
import { needs } from '../needs.js';
import { openStage, runCli, type Stage } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  stage.project('.', {
    'outside.py': HANDLER,
    'outside.mjs': 'export const value = "from outside";\n',
    Dockerfile: 'FROM scratch\n',
    'elsewhere/secret': SENTINEL,
  });
});
afterAll(() => stage.close());

const SENTINEL = 'sentinel-0f3c';
const HANDLER = 'def handler(job):\n    return 1\n';
const DOCKERFILE = 'FROM scratch\nCOPY . /app/\nCMD ["/app/run"]\n';
const PYTHON = { 'wherry.yaml': 'handler: handler.py:handler\n', 'handler.py': HANDLER };
const NODE = { 'wherry.yaml': 'handler: handler.mjs:handler\n', 'handler.mjs': 'export const handler = () => 1;\n' };
const IMPORTING = { ...NODE, 'handler.mjs': 'import "x";\nexport const handler = () => 1;\n' };
const FILES = { Dockerfile: DOCKERFILE, run: '' };

/** No tool is found there: neither an engine nor pip. */
const alone = { PATH: '/nowhere' };

async function build(dir: string, env: NodeJS.ProcessEnv = {}): Promise<Built> {
  const result = await runCli(['build', dir, '--json', '--data', stage.dataDir], { env });
  if (result.code !== 0) throw new Error(result.stderr);
  return JSON.parse(result.stdout) as Built;
}

/** Refused with these words, and without an image of that name. */
async function expectRefusal(dir: string, words: string | RegExp, env: NodeJS.ProcessEnv = {}): Promise<void> {
  const result = await runCli(['build', dir, '--data', stage.dataDir], { env });
  expect(result).toMatchObject({ code: 2, stderr: expect.stringMatching(words) });
  const index = join(stage.dataDir, 'images/index.json');
  const name = dir.split('/').at(-1) ?? '';
  expect(existsSync(index) ? readFileSync(index, 'utf8') : '').not.toContain(`"${name}"`);
}

describe('a path out of the project', () => {
  it.each<[string, string | RegExp, Record<string, string>]>([
    ['handler', 'the path leaves the project', { 'wherry.yaml': 'handler: ../outside.py:handler\n' }],
    ['handler-inside', 'the path leaves the project', { 'wherry.yaml': 'handler: src/../../outside.py:handler\n' }],
    ['handler-absolute', 'relative to the project', { 'wherry.yaml': 'handler: /etc/outside.py:handler\n' }],
    ['include', "'../\\*\\*' under 'include' matches no file", { ...PYTHON, 'wherry.yaml': "include: ['../**']\n" }],
    ['include-absolute', "'/etc/\\*' under 'include' matches no file", { ...PYTHON, 'wherry.yaml': "include: ['/etc/*']\n" }],
    ['dockerfile', 'the path leaves the project', { 'wherry.yaml': 'dockerfile: ../Dockerfile\n' }],
    ['copy', "'../outside.py' does not exist in the build context", { Dockerfile: 'FROM scratch\nCOPY ../outside.py /\nCMD ["x"]\n' }],
    ['copy-inside', 'does not exist in the build context', { Dockerfile: 'FROM scratch\nCOPY a/../../outside.py /\nCMD ["x"]\n' }],
    ['copy-absolute', 'does not exist in the build context', { Dockerfile: 'FROM scratch\nADD /etc/passwd /\nCMD ["x"]\n' }],
  ])('is refused in a setting: %s (S6)', async (name, words, files) => {
    await expectRefusal(stage.project(`path-${name}`, files), words, alone);
  });

  it.each<[string, Record<string, string>]>([
    ['python', PYTHON],
    ['node', NODE],
    ['dockerfile', FILES],
  ])('is refused in a link: %s (S6)', async (kind, files) => {
    for (const [name, target] of Object.entries({
      file: '../elsewhere/secret',
      folder: '../elsewhere',
      root: '/etc',
      up: 'a/../../outside.py',
    })) {
      const dir = stage.project(`link-${kind}-${name}`, files);
      symlinkSync(target, join(dir, 'linked'));
      await expectRefusal(dir, /link 'linked' points to '.*', outside the project/, alone);
    }
  });

  it('is refused in a link that is the handler or the Dockerfile, or a folder on the way (S6)', async () => {
    const linked = (name: string, files: Record<string, string>, link: readonly [string, string]) => {
      const dir = stage.project(name, files);
      symlinkSync(link[1], join(dir, link[0]));
      return dir;
    };
    const words = 'a link to a file outside the project';
    await expectRefusal(linked('linked-handler', { 'wherry.yaml': 'handler: h.py:handler\n' }, ['h.py', '../outside.py']), words);
    await expectRefusal(linked('linked-folder', { 'wherry.yaml': 'handler: src/outside.py:handler\n' }, ['src', '..']), words);
    await expectRefusal(linked('linked-dockerfile', { 'wherry.yaml': 'dockerfile: D\n', run: '' }, ['D', '../Dockerfile']), words);
    await expectRefusal(linked('found-dockerfile', { run: '' }, ['Dockerfile', '../Dockerfile']), words);
  });

  it('brings nothing in by a link to a secret of the project (S6)', async () => {
    const dir = stage.project('link-secret', { ...PYTHON, '.env': SENTINEL });
    symlinkSync('.env', join(dir, 'settings.txt'));
    const files = await readFiles(stage.dataDir, await build(dir));
    expect(files.get('wherry/app/settings.txt')).toBe('-> .env');
    expect([...files.values()].join()).not.toContain(SENTINEL);
  });
});

describe('a file that is not what its name says', () => {
  it.each<[string, string, Record<string, string>]>([
    ['dockerignore', "/\\.dockerignore': it is a directory", { ...PYTHON, '.dockerignore/a': '' }],
    [
      'base-lock',
      "/wherry\\.lock': it is a directory",
      { ...PYTHON, 'wherry.yaml': 'handler: handler.py:handler\nbase: python:3.12\n', 'wherry.lock/a': '' },
    ],
    ['npm-lock', 'package-lock\\.json is JSON, but no lock', { ...IMPORTING, 'package.json': '{}', 'package-lock.json': 'null' }],
    [
      'package',
      "package\\.json of the package in '.*/x' cannot be read",
      { ...IMPORTING, 'node_modules/x/package.json': '{"name":', 'node_modules/x/index.js': '' },
    ],
  ])('is named, with what to do: %s', async (name, words, files) => {
    await expectRefusal(stage.project(`odd-${name}`, files), words, alone);
  });
});

const SECRETS = [
  '.env',
  '.env.production',
  '.ENV',
  '.envrc',
  'config/prod.env',
  'id_ed25519',
  'keys/tls.key',
  'keys/tls.pem',
  '.npmrc',
  '.aws/config',
  'service-account.json',
];

describe('a secret by its name', () => {
  it.each<[string, Record<string, string>]>([
    ['python', PYTHON],
    ['node', NODE],
    ['dockerfile', FILES],
  ])('is never in the image, and named in a warning, whatever .dockerignore takes back in: %s (S6)', async (kind, files) => {
    const secrets = Object.fromEntries(SECRETS.map((path) => [path, SENTINEL]));
    const ignore = `*\n!run\n!handler.*\n!keep.txt\n!.env\n!.ENV\n!**/.env*\n!**/*.env\n!id_*\n!keys/**\n!.npmrc\n!.aws\n!.aws/**\n!service-account.json\n`;
    for (const [name, dockerignore] of Object.entries({ none: {}, negated: { '.dockerignore': ignore } })) {
      const built = await build(
        stage.project(`secrets-${kind}-${name}`, { ...files, ...secrets, ...dockerignore, 'keep.txt': 'kept', '.env.example': '' }),
        alone,
      );
      const found = await readFiles(stage.dataDir, built);
      expect([...found.keys()].some((path) => path.endsWith('/keep.txt'))).toBe(true);
      expect([...found.values()].join()).not.toContain(SENTINEL);
      const warned = built.warnings.join();
      // A folder of secrets is named as a whole.
      for (const path of SECRETS) expect(warned).toContain(path.replace('.aws/config', '.aws'));
    }
  });

  it('is not brought in by name either: include, COPY, or an import (S6)', async () => {
    const secret = { '.env': SENTINEL, 'service-account.json': '{}' };
    await expectRefusal(
      stage.project('named-include', { ...PYTHON, ...secret, 'wherry.yaml': "include: ['.env']\n" }),
      "'.env' under 'include' matches no file",
    );
    const copy = { ...secret, Dockerfile: 'FROM scratch\nCOPY .env /app/\nCMD ["x"]\n' };
    await expectRefusal(stage.project('named-copy', copy), "COPY of '.env', which is not in the build context", alone);
    const handler = "import account from './service-account.json';\nexport const handler = () => account;\n";
    await expectRefusal(
      stage.project('named-import', { ...NODE, ...secret, 'handler.mjs': handler }),
      "imports 'service-account.json', which may hold secrets",
    );
    await expectRefusal(
      stage.project('named-outside', { ...NODE, 'handler.mjs': handler.replace('./', '../named-import/') }),
      'which may hold secrets',
    );
  });

  it('is not brought in by a handler that .dockerignore leaves out, in part or as a whole (S6)', async () => {
    const ignored = { 'private.mjs': `export default '${SENTINEL}';\n`, '.dockerignore': 'private.*\n' };
    const handler = "import value from './private.mjs';\nexport const handler = () => value;\n";
    await expectRefusal(
      stage.project('ignored-import', { ...NODE, ...ignored, 'handler.mjs': handler }),
      "'private.mjs', which .dockerignore leaves out",
    );
    await expectRefusal(
      stage.project('ignored-node', { ...NODE, '.dockerignore': 'handler.mjs\n' }),
      "'handler.mjs', which .dockerignore leaves out",
    );
    await expectRefusal(
      stage.project('ignored-python', { ...PYTHON, '.dockerignore': 'handler.py\n' }),
      "'handler.py' is left out of the image",
    );
  });

  it('of an import from outside the project is told of (S6)', async () => {
    const handler = "import { value } from '../outside.mjs';\nexport const handler = () => value;\n";
    expect((await build(stage.project('bundles-outside', { ...NODE, 'handler.mjs': handler }))).warnings).toEqual([
      'bundled from outside the project: ../outside.mjs',
    ]);
  });
});

/** What a shell, an option parser or a terminal would obey. */
const NAMES = [
  '$(touch pwned)',
  '`touch pwned`',
  '; touch pwned',
  '| touch pwned',
  '-rf',
  '--output=pwned',
  'two\nlines',
  'a "quoted" \'name\'',
  'star*',
  'back\\slash',
  '\x1b]0;pwned\x07',
  'ünï',
];

function expectNothingRan(): void {
  const found = [stage.dir, '.'].map((dir) =>
    execFileSync('find', [dir, '-name', 'node_modules', '-prune', '-o', '-name', 'pwned', '-print'], { encoding: 'utf8' }),
  );
  expect(found).toEqual(['', '']);
}

describe('a name', () => {
  it.each<[string, Record<string, string>, string]>([
    ['python', PYTHON, 'wherry/app'],
    ['node', NODE, 'wherry/app'],
    ['dockerfile', FILES, 'app'],
  ])('of a file is only a name: %s (S6)', async (kind, files, folder) => {
    const dir = stage.project(`names-${kind}`, { ...files, ...Object.fromEntries(NAMES.map((name) => [`odd/${name}`, name])) });
    const found = await readFiles(stage.dataDir, await build(dir));
    for (const name of NAMES) expect(found.get(`${folder}/odd/${name}`)).toBe(name);
    expectNothingRan();
  });

  it('of a folder, a project, an engine or an endpoint is checked or made harmless (S6)', async () => {
    const folder = stage.project('-; touch pwned $(touch pwned)', { 'handler.py': HANDLER });
    expect(await build(folder)).toMatchObject({ name: 'touch-pwned-touch-pwned' });
    for (const name of ['a;touch pwned', '-a', '../a', 'a\nb', 'a/b'])
      await expectRefusal(stage.project('named', { ...PYTHON, 'wherry.yaml': `name: ${JSON.stringify(name)}\n` }), /'name' should be/);
    const engine = await stage.tryCli('build', stage.project('names-engine', FILES), '--engine', 'docker;touch pwned');
    expect(engine).toMatchObject({ code: 2, stderr: expect.stringContaining('is no engine') });
    expectNothingRan();
  });

  it('cannot steer the terminal that a warning is shown on (S6)', async () => {
    const dir = stage.project('steers', { ...PYTHON, '\x1b]0;pwned\x07\x1b[2J.pem': SENTINEL });
    const { stderr } = await stage.tryCli('build', dir);
    expect(stderr).toMatch(/secrets: \.pem/);
    for (const control of ['\x1b', '\x07']) expect(stderr).not.toContain(control);
  });

  it.skipIf(!needs('git'))("of a tag or branch is no command, and a repository's settings run none (S6)", async () => {
    const dir = stage.project('repository', { ...PYTHON, 'wherry.yaml': 'name: repository\n' });
    const script = join(stage.project('scripts', { run: `#!/bin/sh\ntouch ${join(stage.dir, 'pwned')}\n` }), 'run');
    execFileSync('chmod', ['+x', script]);
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', dir, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { encoding: 'utf8' });
    git('init', '-q', '-b', 'main;touch${IFS}pwned');
    git('remote', 'add', 'origin', 'https://name:p@ss@git.test/repository.git');
    git('add', '.');
    git('commit', '-qm', 'one');
    for (const tag of ['v1.2.3', 'v1.2.4;touch${IFS}pwned', 'v1.2.5$(touch${IFS}pwned)', 'v1.2.6`touch`']) git('tag', tag);
    for (const setting of ['core.fsmonitor', 'gpg.program', 'core.sshCommand', 'core.pager']) git('config', setting, script);
    git('config', 'log.showSignature', 'true');
    for (const hook of ['post-checkout', 'post-index-change']) symlinkSync(script, join(dir, '.git/hooks', hook));
    const pushed = JSON.parse(await stage.cli('push', dir, '--json')) as { digest: string; tags: string[] };
    expect(pushed.tags).toEqual(['1.2.3', expect.stringMatching(/^sha-[0-9a-f]{12}$/)]);
    const { config } = JSON.parse(readBlob(stage.dataDir, pushed.digest).toString()) as { config: { digest: string } };
    expect(readBlob(stage.dataDir, config.digest).toString()).toContain(
      '"org.opencontainers.image.source":"https://git.test/repository.git"',
    );
    expect((await stage.tryCli('verify', pushed.digest, dir)).code).toBe(0);
    expectNothingRan();
  });

  it('of a file that is not UTF-8 is refused with what to do (S6)', async () => {
    const dir = stage.project('bytes', PYTHON);
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/a`), Buffer.from([0xff])]), '');
    await expectRefusal(dir, /'a\ufffd' of the project cannot be read: its name is not UTF-8/);
  });

  it('of a package that leads out of node_modules is refused (S6)', async () => {
    stage.project('escapes', { 'package.json': '{"name":"escapes","version":"1.0.0"}', 'secret.txt': SENTINEL });
    const dir = stage.project('escaping', {
      ...NODE,
      'handler.mjs': "import x from 'outer';\nexport const handler = () => x;\n",
      'node_modules/outer/package.json': JSON.stringify({
        name: 'outer',
        version: '1.0.0',
        main: 'i.js',
        dependencies: { '../../../../escapes': '1' },
      }),
      'node_modules/outer/i.js': 'module.exports = 1;\n',
    });
    await expectRefusal(dir, "needs '../../../../escapes', which is no name of a package");
  });
});

describe.skipIf(!needs('pip3'))('a line of requirements', () => {
  /** A source package that says when it is run. */
  const source = () => {
    const dir = stage.project('source', {
      'setup.py': `import pathlib\npathlib.Path(${JSON.stringify(join(stage.dir, 'pwned'))}).touch()\nfrom setuptools import setup\nsetup(name='source', version='1.0')\n`,
    });
    mkdirSync(join(stage.dir, 'archives'), { recursive: true });
    execFileSync('tar', [
      '-czf',
      join(stage.dir, 'archives/source-1.0.tar.gz'),
      '--transform',
      's,^source,source-1.0,',
      '-C',
      stage.dir,
      'source',
    ]);
    return dir;
  };

  it.each<[string, string, RegExp]>([
    ['a directory', './source', /is no wheel, and wherry runs no code/],
    ['an editable directory', '-e ./source', /is no wheel, and wherry runs no code/],
    ['an editable directory behind another option', '--pre -e ./source', /is no wheel, and wherry runs no code/],
    ['a directory as an address', 'source @ file://DIR/source', /is no wheel, and wherry runs no code/],
    ['an archive', 'DIR/archives/source-1.0.tar.gz', /is no wheel, and wherry runs no code/],
    ['an archive that an option asks for', '--find-links DIR/archives\n--no-binary :all:\nsource', /is no wheel, and wherry runs no code/],
    ['another place to install to', '--target=DIR/pwned\nsource', /could not be installed/],
    ['a command', 'source; touch pwned', /could not be installed/],
    ['a shell', '$(touch pwned)', /could not be installed/],
  ])('runs nothing and writes nowhere else: %s (S6)', async (title, line, words) => {
    const dir = stage.project(`lines-${title.replaceAll(' ', '-')}`, {
      ...PYTHON,
      'requirements.txt': `${line.replaceAll('DIR', stage.dir)}\n`,
    });
    execFileSync('cp', ['-r', source(), join(dir, 'source')]);
    await expectRefusal(dir, words, { PIP_NO_INDEX: '1', PIP_NO_BUILD_ISOLATION: '1' });
    expectNothingRan();
  });

  it.each<[string, Record<string, string>]>([
    ['an option in pyproject.toml', { 'pyproject.toml': '[project]\nname = "x"\ndependencies = ["-e ./source"]\n' }],
    ['two lines in pyproject.toml', { 'pyproject.toml': '[project]\nname = "x"\ndependencies = ["a\\n-e ./source"]\n' }],
    [
      'two lines in uv.lock',
      {
        'uv.lock':
          'version = 1\n[[package]]\nname = "x"\nsource = { virtual = "." }\ndependencies = [{ name = "a\\n-e ./source" }]\n[[package]]\nname = "a\\n-e ./source"\nversion = "1"\nsource = { registry = "." }\nwheels = [{ path = "a.whl" }]\n',
      },
    ],
  ])('is one line, and no option: %s (S6)', async (title, files) => {
    await expectRefusal(stage.project(`value-${title.replaceAll(/\W/g, '-')}`, { ...PYTHON, ...files }), /which is no requirement/);
  });
});

describe('a variable under env', () => {
  it('arrives as it is written, defines no other, and is never in the image (S6)', async () => {
    const values = {
      LINES: `${SENTINEL}\nINJECTED=1\r\n`,
      EQUALS: `a=b=${SENTINEL}`,
      SHELL_LIKE: `$(touch pwned) \`touch pwned\` ${SENTINEL}`,
      EMPTY: '',
    };
    const dir = stage.project('variables', nodeProject('variables', ECHO, `env: ${JSON.stringify(values)}\n`));
    const { digest } = JSON.parse(await stage.cli('deploy', dir, '--json')) as { digest: string };
    for (const [name, value] of Object.entries({ ...values, INJECTED: null }))
      expect(await stage.runsync('variables', { env: name })).toMatchObject({ status: 'COMPLETED', output: value });
    expect([...(await readFiles(stage.dataDir, { digest })).values()].join()).not.toContain(SENTINEL);
    for (const name of readdirSync(join(stage.dataDir, 'images/blobs/sha256')))
      expect(readBlob(stage.dataDir, `sha256:${name}`).includes(SENTINEL)).toBe(false);
    expectNothingRan();
  });

  it.each([
    ['a zero byte in a value', 'env: { A: "a\\0b" }', /'env.A' should be a text without a zero byte, not "a\\u0000b"/],
    ['a zero byte in an argument', 'args: ["a\\0b"]', /'args.0' should be a text without a zero byte/],
    ['= in a name', 'env: { "A=B": c }', /'A=B' in 'env' should be letters/],
    ['a line break in a name', 'env: { "A\\nB": c }', /in 'env' should be letters/],
    ['no name', 'env: { "": c }', /in 'env' should be letters/],
  ])('is refused with its place: %s (S6)', async (_, line, words) => {
    await expectRefusal(stage.project('refused-variable', { ...PYTHON, 'wherry.yaml': `${line}\n` }), words);
    const spec = { env: { A: 'a\0b' } };
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'zero' } });
    expect((await stage.call('/api/v1/endpoints/zero/releases', { method: 'POST', body: { reference: 'x:1', spec } })).status).toBe(400);
  });
});
