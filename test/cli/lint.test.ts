import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runCli } from '../stage.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-lint-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const write = (files: Readonly<Record<string, string>>) => {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
};
const COMMAND = 'CMD ["python", "-u", "/handler.py"]\n';
const BASE = 'FROM python:3.12-slim\n';

it('ends with 1 and names line, rule and fix when the Dockerfile cannot be built (row 8)', async () => {
  write({ Dockerfile: `${BASE}ADD handler.py .\n${COMMAND}`, 'src/handler.py': 'import t\nt.from_pretrained("acme/big")\n' });
  const plain = await runCli(['lint', dir]);
  expect(plain.code).toBe(1);
  expect(plain.stdout).toContain(
    "Dockerfile:2: error: 'handler.py' does not exist in the build context [missing-source]\n  did you mean 'src/handler.py'?",
  );
  const json = JSON.parse((await runCli(['lint', dir, '--json'])).stdout) as { findings: { rule: string; line: number }[] };
  expect(json.findings.map(({ rule, line }) => `${rule}@${line}`)).toEqual(['missing-source@2', 'add-for-copy@2', 'download-at-start@3']);
});

it('lets warnings pass, unless it is strict', async () => {
  write({ Dockerfile: `FROM python\nCOPY handler.py .\n${COMMAND}`, 'handler.py': '' });
  expect(await runCli(['lint', dir])).toMatchObject({ code: 0, stdout: expect.stringContaining('[unpinned-base]') });
  expect((await runCli(['lint', dir, '--strict'])).code).toBe(1);
  expect(await runCli(['lint', dir, '--strict', '--ignore', 'unpinned-base'])).toMatchObject({
    code: 0,
    stdout: 'Dockerfile: nothing to say\n',
  });
});

it('knows what .dockerignore keeps out, and the one that belongs to another Dockerfile', async () => {
  write({
    'data/a.bin': '',
    'data/b.bin': '',
    '.dockerignore': 'data\n!data/b.bin\n',
    'gpu.Dockerfile': `${BASE}COPY data/b.bin data/a.bin /\n${COMMAND}`,
  });
  const lint = () => runCli(['lint', dir, '--dockerfile', 'gpu.Dockerfile']);
  expect(await lint()).toMatchObject({
    code: 1,
    stdout: expect.stringContaining("'data/a.bin' is kept out of the context by .dockerignore"),
  });
  write({ 'gpu.Dockerfile.dockerignore': 'other\n' });
  expect((await lint()).code).toBe(0);
});

it('does not go into what .dockerignore leaves out as a whole, nor where a link leads', async () => {
  write({ Dockerfile: `${BASE}COPY src /\n${COMMAND}`, 'src/a': '', '.dockerignore': '*\n!src\n' });
  // Nobody can read it: its name is not UTF-8.
  mkdirSync(Buffer.concat([Buffer.from(`${dir}/data-`), Buffer.from([0xff])]));
  symlinkSync('absent.py', join(dir, 'src/handler.py'));
  expect(await runCli(['lint', dir])).toMatchObject({ code: 0, stdout: 'Dockerfile: nothing to say\n' });
  write({ '.dockerignore': 'other\n' });
  expect(await runCli(['lint', dir])).toMatchObject({ code: 2, stderr: expect.stringContaining('name it in .dockerignore') });
});

it('warns of each fault of the base, the command and the sources, with its line (row 8)', async () => {
  write({ Dockerfile: 'FROM python:latest\nWORKDIR /\nADD absent.py \\\n  src /\nCMD ["python", "/handler.py"]\n', 'src/handler.py': '' });
  const { code, stdout } = await runCli(['lint', dir]);
  expect(code).toBe(1);
  for (const line of [
    "Dockerfile:1: warning: 'python:latest' is whatever is newest [unpinned-base]",
    "Dockerfile:3: error: 'absent.py' does not exist in the build context [missing-source]",
    "Dockerfile:5: warning: python runs without '-u', so its output waits in a buffer [buffered-output]",
  ])
    expect(stdout).toContain(line);
  write({ Dockerfile: `${BASE}COPY src /\n` });
  expect((await runCli(['lint', dir])).stdout).toContain(
    'Dockerfile:1: warning: the last stage has neither CMD nor ENTRYPOINT [missing-command]',
  );
});

it('reads the start script and the handler that it ends in for downloads (row 5)', async () => {
  write({
    Dockerfile: `${BASE}COPY start.sh src /\nCMD ["/start.sh"]\n`,
    'start.sh': '#!/bin/sh\nexec python -u /handler.py\n',
    'src/handler.py': 'import t\nt.AutoModel.from_pretrained("acme/big")\n',
  });
  expect(await runCli(['lint', dir])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(
      'Dockerfile:3: warning: src/handler.py:2 downloads a model, and no RUN does so before [download-at-start]',
    ),
  });
});

it('lists its rules', async () => {
  expect((await runCli(['lint', '--rules'])).stdout).toMatch(/missing-source +error +the build ends/);
  const { rules } = JSON.parse((await runCli(['lint', '--rules', '--json'])).stdout) as { rules: { name: string }[] };
  expect(rules.map(({ name }) => name)).toContain('buffered-output');
});

it('looks at the Dockerfile that wherry.yaml names, and at files only', async () => {
  write({ 'wherry.yaml': 'dockerfile: docker/Dockerfile\n', 'docker/Dockerfile': 'FROM\n' });
  expect(await runCli(['lint', dir])).toMatchObject({ code: 1, stdout: expect.stringContaining('docker/Dockerfile:1: error: FROM names') });
  expect(await runCli(['lint', dir, '--dockerfile', '.'])).toMatchObject({ code: 2, stderr: expect.stringContaining('it is a directory') });
  expect(await runCli(['lint', join(dir, 'wherry.yaml')])).toMatchObject({ code: 4, stderr: expect.stringContaining('not a directory') });
});

it('refuses an unknown rule and a directory without a Dockerfile', async () => {
  expect(await runCli(['lint', dir])).toMatchObject({ code: 4, stderr: expect.stringContaining('error NOT_FOUND') });
  write({ Dockerfile: BASE });
  expect(await runCli(['lint', dir, '--ignore', 'missing-suorce'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("did you mean 'missing-source'?"),
  });
});
