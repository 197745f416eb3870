import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/program.js';
import { nodeProject } from '../journey/projects.js';
import { openStage, ROOT, runCli, type Stage } from '../stage.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const GREET = 'export const handler = (job) => { if (job.input.fail) throw new Error(job.input.fail); return `hi ${job.input.name}`; };\n';

describe('wherry', () => {
  it.each(COMMANDS.map(({ name }) => name))('%s --help shows how it is used, with an example', async (name) => {
    const { code, stdout } = await runCli([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: wherry ${name}`);
    expect(stdout).toMatch(/Example:\n {2}wherry /);
    expect(stdout).toContain('--json');
  });

  it('prints its version', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect(await runCli(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  it.each([[['fly']], [['run', '--fast']], [['completion']], [['jobs', 'dance']], [['registry', 'toString']]])(
    'refuses %j with USAGE and exit 2',
    async (args) => {
      const plain = await runCli(args);
      expect(plain).toMatchObject({ code: 2, stdout: '' });
      expect(plain.stderr).toContain('error USAGE');
      const json = await runCli([...args, '--json']);
      expect(JSON.parse(json.stdout)).toMatchObject({ error: { code: 'USAGE', message: expect.any(String) } });
    },
  );

  it('names line, column and the nearest field of a bad wherry.yaml', async () => {
    const dir = stage.project('bad', {
      'wherry.yaml': 'name: bad\nhandler: handler.mjs:handler\nscale:\n  idel: 5s\n',
      'handler.mjs': GREET,
    });
    const { code, stderr } = await runCli(['build', dir, '--data', stage.dataDir]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/wherry\.yaml:4:3.*idel.*idle/s);
  });

  it.each([
    ['status', '--data'],
    ['serve', '--data'],
    ['build', '--output'],
  ])('%s names the %s that is a file, and a remedy', async (command, option) => {
    const dir = stage.project('at-a-file', { 'handler.mjs': GREET, 'wherry.yaml': 'base: scratch\n' });
    const args = command === 'build' ? [command, dir, '--data', stage.dataDir] : [command];
    const { code, stderr } = await runCli([...args, option, join(ROOT, 'package.json')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error CONFIG_INVALID {2}directory '.*package\.json' cannot be used: .*\n {2}fix {2}\S/m);
  });

  it('finds the handler by convention and says what it chose', async () => {
    const dir = stage.project('plain-app', { 'src/handler.py': 'def handler(job):\n    return 1\n' });
    const built = JSON.parse((await runCli(['build', dir, '--json', '--data', stage.dataDir])).stdout) as {
      digest: string;
      chosen: string[];
    };
    expect(Object.keys(built)[0]).toBe('digest');
    expect(built.chosen.join()).toContain('src/handler.py');
  });

  it("writes exactly the guide's layout beside settings, tests and ignore files; it deploys, and nothing is overwritten (row 2)", async () => {
    for (const template of ['python', 'node']) {
      const dir = join(stage.dir, `new-${template}`);
      const made = await stage.tryCli('init', dir, '--template', template, '--base', 'scratch', '--json');
      expect(made.code, made.stderr).toBe(0);
      const { files } = JSON.parse(made.stdout) as { files: string[] };
      const written = readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(dir, join(entry.parentPath, entry.name)));
      expect(files.toSorted()).toEqual(written.toSorted());
      if (template === 'python') {
        const beside = ['.dockerignore', '.github/tests.json', '.gitignore', 'test_input.json', 'wherry.yaml'];
        expect(written.filter((path) => !beside.includes(path)).toSorted()).toEqual([
          'Dockerfile',
          'builder/requirements.txt',
          'src/handler.py',
        ]);
      }
      await stage.cli('deploy', dir);
      expect(await stage.cli('run', '-e', `new-${template}`, '-i', 'name=Ada', '--json')).toContain('COMPLETED');
      expect((await stage.tryCli('init', dir)).code).toBe(5);
    }
  });

  it('explains fields, and suggests the nearest for an unknown one', async () => {
    expect((await runCli(['explain', 'scale.idle'])).stdout).toContain('scale.idle');
    const unknown = await runCli(['explain', 'scale.idel']);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('scale.idle');
  });

  it('runs, lists, shows, rolls back, follows: every list has --json (row 82)', async () => {
    const dir = stage.project('greet', nodeProject('greet', GREET));
    await stage.cli('deploy', dir);
    expect((await stage.cli('run', '-e', 'greet', '-i', 'name=Ada')).trim()).toBe('hi Ada');
    expect((await stage.cli('run', '-e', 'greet', '--input', '{"name":"Bo"}')).trim()).toBe('hi Bo');
    const id = (await stage.cli('run', '-e', 'greet', '-i', 'name=Cy', '--async')).trim();
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(JSON.parse(await stage.cli('jobs', '-e', 'greet', '--json'))).toMatchObject({
      items: expect.arrayContaining([expect.objectContaining({ status: 'COMPLETED' })]),
    });
    expect(JSON.parse(await stage.cli('jobs', 'get', id, '-e', 'greet', '--json'))).toMatchObject({ id });
    expect(JSON.parse(await stage.cli('releases', '-e', 'greet', '--json'))).toMatchObject({ items: [{ number: 1, state: 'SERVES' }] });
    expect(JSON.parse(await stage.cli('logs', '-e', 'greet', '--json'))).toMatchObject({
      items: expect.arrayContaining([expect.objectContaining({ source: 'system' })]),
    });
    expect(JSON.parse(await stage.cli('status', '--json'))).toMatchObject({
      endpoints: expect.arrayContaining([expect.objectContaining({ id: 'greet', health: expect.anything() })]),
    });
    expect(JSON.parse(await stage.cli('keys', '--json'))).toMatchObject({
      items: [expect.objectContaining({ name: 'admin', scope: 'admin' })],
    });
    expect(await stage.cli('status')).toContain('greet');
  });

  it('ends with the exit code of what happened', async () => {
    expect((await stage.tryCli('run', '-e', 'greet', '-i', 'fail=broken')).code).toBe(1);
    expect((await stage.tryCli('status', 'absent')).code).toBe(4);
    expect((await runCli(['status', '--data', stage.dataDir], { env: { WHERRY_API_KEY: 'wrong' } })).code).toBe(3);
    expect((await runCli(['status', '--api-url', 'http://127.0.0.1:9'])).code).toBe(6);
    expect((await runCli(['status', '--data', join(stage.dir, 'empty')])).code).toBe(6);
  });

  it('is quiet and plain when piped', async () => {
    const { stdout, stderr } = await stage.tryCli('deploy', stage.project('greet', {}));
    expect(stderr).toBe('');
    expect(stdout).not.toContain('\u001b');
  });

  it('refuses a second server on the data directory and names the one that runs', async () => {
    for (const command of [['serve'], ['up', '--once']]) {
      const second = await runCli([...command, '--data', stage.dataDir]);
      expect(second.code).toBe(5);
      expect(second.stderr).toContain('DATA_LOCKED');
      expect(second.stderr).toContain(stage.url);
    }
  });

  it('refuses a port that is taken', async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const { port } = blocker.address() as AddressInfo;
    const dir = mkdtempSync(join(tmpdir(), 'wherry-port-'));
    try {
      const { code, stderr } = await runCli(['serve', '--data', dir, '--port', String(port)]);
      expect(code).toBe(5);
      expect(stderr).toContain('PORT_TAKEN');
    } finally {
      blocker.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it('prints completion scripts that the shell accepts', async () => {
    const { stdout } = await runCli(['completion', 'bash']);
    expect(() => execFileSync('bash', ['-n'], { input: stdout })).not.toThrow();
    const words = execFileSync('bash', ['-c', `${stdout}\nCOMP_WORDS=(wherry dep); COMP_CWORD=1; _wherry; echo "\${COMPREPLY[@]}"`], {
      encoding: 'utf8',
    });
    expect(words.trim()).toBe('deploy');
    for (const shell of ['zsh', 'fish']) expect((await runCli(['completion', shell])).stdout).toContain('deploy');
    expect((await runCli(['completion', 'tcl'])).code).toBe(2);
  });

  it('keeps the admin key in a file that only the owner reads', async () => {
    const mode = execFileSync('stat', ['-c', '%a', join(stage.dataDir, 'admin.key')], { encoding: 'utf8' }).trim();
    expect(mode).toBe('600');
    expect(readFileSync(join(stage.dataDir, 'wherry.db')).includes(stage.key.split('_').slice(2).join('_'))).toBe(false);
  });
});
