import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { MAIN, pidsWith, runCli, until } from '../stage.js';

/** `wherry dev`: the project's handler on the real server and protocol (row 115). */
let work: string;
let data: string;
let project: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'wherry-dev-'));
  data = join(work, 'data');
  project = join(work, 'app');
  mkdirSync(project);
  write('wherry.yaml', 'name: app\nhandler: handler.mjs:handler\n');
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
  }
  await until(() => pidsWith(data).length === 0, 'all workers to be gone');
  rmSync(work, { recursive: true, force: true });
});

function write(name: string, text: string): void {
  writeFileSync(join(project, name), text);
}

const answering = (text: string) => `export const handler = (job) => { console.log('saw ' + job.input.name); return '${text}'; };\n`;

interface Event {
  readonly type?: string;
  readonly release?: number;
  readonly text?: string;
  readonly url?: string;
  readonly keyFile?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

/** A session without a terminal; its events are JSON lines. */
function startDev(port: readonly string[] = ['--port', '0']) {
  const child = spawn(process.execPath, [MAIN, 'dev', project, '--json', '--data', data, ...port], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let text = '';
  child.stdout.on('data', (part: Buffer) => {
    text += part.toString();
  });
  const events = () =>
    text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Event]));
  const saw = (what: string, is: (event: Event) => boolean) => until(() => events().find(is), what);
  return { child, events, saw };
}

async function ask({ url, keyFile }: Event, name: string): Promise<{ status: string; output: unknown }> {
  const answer = await fetch(`${url}/runsync`, {
    method: 'POST',
    headers: { authorization: readFileSync(keyFile ?? '', 'utf8').trim() },
    body: JSON.stringify({ input: { name } }),
  });
  return (await answer.json()) as { status: string; output: unknown };
}

describe('wherry dev', () => {
  it('--once answers the test request from the real server and leaves nothing running (row 115)', async () => {
    write('handler.mjs', answering('one'));
    write('test_input.json', '{"input":{"name":"Ada"}}');
    const { code, stdout, stderr } = await runCli(['dev', project, '--once', '--port', '0', '--data', data]);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/app r1 serves/);
    expect(stdout).toMatch(/COMPLETED · waited \d+ ms · ran \d+ ms\none/);
    expect(pidsWith(data)).toEqual([]);
  }, 60_000);

  it('--once takes the input of the command line, and exits with 1 when the job fails', async () => {
    write('handler.mjs', 'export const handler = (job) => { throw new Error(`no ${job.input.name}`); };\n');
    const { code, stdout } = await runCli(['dev', project, '--once', '-i', 'name=Bob', '--port', '0', '--data', data]);
    expect(code).toBe(1);
    expect(stdout).toContain('FAILED');
    expect(stdout).toContain('no Bob');
  }, 60_000);

  it('--once takes secrets of the project out of its own environment, and says which it lacks (row 83)', async () => {
    write('wherry.yaml', 'name: app\nhandler: handler.mjs:handler\nsecrets: [DEV_TOKEN]\n');
    write('handler.mjs', 'export const handler = () => process.env.DEV_TOKEN.length;\n');
    const args = ['dev', project, '--once', '--port', '0', '--data', data];
    const refused = await runCli(args);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toMatch(/SECRET_UNKNOWN {2}the secret 'DEV_TOKEN'.*\n.*secrets set DEV_TOKEN --data '/);
    const { code, stdout } = await runCli(args, { env: { DEV_TOKEN: 'of the shell' } });
    expect(code).toBe(0);
    expect(stdout).toMatch(/COMPLETED.*\n12/);
  }, 60_000);

  it('--once ends with the error of a project that cannot be built, or of a handler that does not start', async () => {
    write('handler.mjs', 'export const handler = (job) => {;\n');
    expect(await runCli(['dev', project, '--once', '--port', '0', '--data', data])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('error BUILD_FAILED'),
    });
    write('handler.mjs', "throw new Error('no weights');\nexport const handler = () => 1;\n");
    const { code, stderr } = await runCli(['dev', project, '--once', '--port', '0', '--data', data]);
    expect(code).not.toBe(0);
    expect(stderr).toContain('no weights');
  }, 60_000);

  it('redeploys at each change, keeps the release before while the files are broken, and shows the log', async () => {
    write('handler.mjs', answering('one'));
    const { saw, events } = startDev();
    const ready = await saw('the first release', ({ type }) => type === 'ready');
    expect(await ask(ready, 'Ada')).toMatchObject({ status: 'COMPLETED', output: 'one' });
    await saw('the line of the handler', ({ type, text }) => type === 'log' && text === 'saw Ada');

    write('handler.mjs', 'export const handler = (');
    await saw('the broken build', ({ error }) => error?.code === 'BUILD_FAILED');
    expect(await ask(ready, 'Eve')).toMatchObject({ output: 'one' });

    write('handler.mjs', answering('two'));
    await saw('the second release', ({ type, release }) => type === 'release' && release === 2);
    expect(await ask(ready, 'Eve')).toMatchObject({ output: 'two' });

    write('README.md', 'in the image too');
    await saw('a release for another file', ({ type, release }) => type === 'release' && release === 3);
    const before = events().length;
    write('.env', 'SECRET=1');
    mkdirSync(join(project, 'node_modules'));
    write('node_modules/some.js', 'x');
    write('wherry.yaml', 'name: app\nhandler: handler.mjs:handler\nscale: { max: 2 }\n');
    // Neither is in the image: the next event is that of the settings, and no release came of it.
    const next = await until(
      () =>
        events()
          .slice(before)
          .find(({ type }) => type === 'release'),
      'the settings',
    );
    expect(next.release).toBe(3);
  }, 90_000);

  it('lets a candidate that hangs give way to the next change', async () => {
    write('handler.mjs', 'await new Promise((resolve) => setTimeout(resolve, 3_600_000));\nexport const handler = () => 1;\n');
    const { saw } = startDev();
    await saw('the candidate', ({ type, text }) => type === 'log' && text?.includes('as candidate') === true);
    write('handler.mjs', answering('quick'));
    const release = await saw('the release after it', ({ type }) => type === 'release');
    expect(release.release).toBe(2);
  }, 60_000);

  it('has a server of its own for each project, with the same address each time', async () => {
    write('handler.mjs', answering('one'));
    const first = startDev([]);
    const { url, keyFile } = await first.saw('the first session', ({ type }) => type === 'ready');
    expect(existsSync(join(data, 'wherry.db'))).toBe(false);
    const second = await runCli(['dev', project, '--once', '--port', '0', '--data', data]);
    expect(second).toMatchObject({ code: 5, stderr: expect.stringContaining('DATA_LOCKED') });
    first.child.kill('SIGTERM');
    expect(await once(first.child, 'exit')).toEqual([0, null]);
    const again = startDev([]);
    const ready = await again.saw('the second session', ({ type }) => type === 'ready');
    expect({ keyFile: ready.keyFile, url: ready.url }).toEqual({ keyFile, url });
  }, 60_000);

  it.runIf(needs('script'))(
    'obeys single keys on a terminal: r sends the request, q stops',
    async () => {
      write('handler.mjs', answering('from a key'));
      write('test_input.json', '{"input":{"name":"Ada"}}');
      const command = `${process.execPath} ${MAIN} dev ${project} --port 0 --data ${data}`;
      const child = spawn('script', ['-qfec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
      children.push(child);
      let screen = '';
      child.stdout.on('data', (part: Buffer) => {
        screen += part.toString();
      });
      await until(() => screen.includes('r request · d deploy'), 'the keys');
      await until(() => screen.includes('app r1 serves'), 'the release');
      child.stdin.write('r');
      await until(() => screen.includes('from a key'), 'the answer');
      child.stdin.write('q');
      expect(await once(child, 'exit')).toEqual([0, null]);
    },
    60_000,
  );
});
