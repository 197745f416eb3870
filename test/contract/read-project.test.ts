import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readProject } from '../../src/project/read.js';

/** A fresh directory named `name` with `files` in it, removed when the test ends. */
async function setup(files: Readonly<Record<string, string | Uint8Array>>, name = 'My App') {
  const parent = await realpath(await mkdtemp(join(tmpdir(), 'wherry-project-')));
  onTestFinished(() => rm(parent, { recursive: true, force: true }));
  const dir = join(parent, name);
  await mkdir(dir);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), content);
  }
  return dir;
}

const PYTHON = 'def handler(job):\n    return 1\n';

test('reads a project without a file by convention and says what it chose', async () => {
  const dir = await setup({ 'src/handler.py': PYTHON });
  expect(await readProject(dir)).toEqual({
    dir,
    name: 'my-app',
    handler: { path: 'src/handler.py', function: 'handler', kind: 'python' },
    base: 'scratch',
    interpreter: null,
    platforms: ['linux/amd64'],
    env: {},
    secrets: [],
    args: null,
    ports: [],
    volumes: [],
    resources: {},
    initTimeoutMs: 420_000,
    scale: { min: 0, max: 3, idleMs: 5_000, type: 'queueDelay', value: 4 },
    limits: { executionMs: 600_000, ttlMs: 86_400_000, retentionMs: 1_800_000, retentionSyncMs: 60_000 },
    chosen: ["name: my-app (from the directory's name)", 'handler: src/handler.py:handler (found by convention)'],
    warnings: [],
    hasFile: false,
    include: [],
    budget: { imageBytes: null },
  });
});

test('takes what the file says, in milliseconds and bytes', async () => {
  const file = [
    'name: echo',
    'handler: lib/work.mjs:run',
    'base: node:20-slim',
    'interpreter: node@20',
    'env: { LEVEL: 1.10 }',
    'secrets: [HF_TOKEN]',
    'args: [--fast]',
    'resources: { cpu: 1.5, memory: 512MiB, disk: 2GB, gpu: [A, B] }',
    'models: [acme/tiny, acme/large@v2]',
    'placement: { cuda: 12.10, labels: { rack: 7 } }',
    'scale: { min: 1, max: 2, idle: 1m30s, type: requestCount, value: 2, restAfter: 3d }',
    'limits: { execution: 1s, ttl: 2s, retention: 3s, retentionSync: 4s, init: 5s }',
  ].join('\n');
  const dir = await setup({ 'wherry.yaml': file, 'lib/work.mjs': 'export const run = () => 1;\n' });
  expect(await readProject(dir)).toMatchObject({
    name: 'echo',
    handler: { path: 'lib/work.mjs', function: 'run', kind: 'node' },
    base: 'node:20-slim',
    interpreter: 'node@20',
    env: { LEVEL: '1.10' },
    secrets: ['HF_TOKEN'],
    args: ['--fast'],
    resources: { cpu: 1.5, memoryBytes: 536_870_912, diskBytes: 2_000_000_000, gpu: 'A,B' },
    models: ['acme/tiny', 'acme/large@v2'],
    placement: { cuda: '12.10', labels: { rack: '7' } },
    initTimeoutMs: 5_000,
    scale: { min: 1, max: 2, idleMs: 90_000, type: 'requestCount', value: 2, restAfterMs: 259_200_000 },
    limits: { executionMs: 1_000, ttlMs: 2_000, retentionMs: 3_000, retentionSyncMs: 4_000 },
    chosen: [],
    hasFile: true,
  });
});

test('warns of fields that do nothing yet and of files that are not read', async () => {
  const file =
    'name: echo\nmodels: [a]\nsecrets: [B]\nvolumes: ["a:/b"]\nports: [80/http]\ninclude: [c]\nscale: { keep: none }\nresources: { cpu: 1, gpu: 1 }\n';
  const { warnings } = await readProject(await setup({ 'wherry.yaml': file, 'handler.py': PYTHON }));
  expect(warnings).toEqual(["'ports' in wherry.yaml is for workers in containers; those that are processes do without it"]);
  const other = await readProject(await setup({ 'wherry.yml': 'name: echo\n', 'handler.py': PYTHON }));
  expect(other.warnings).toEqual(['wherry.yml is not read; name it wherry.yaml']);
});

test.each([
  ['My App', 'my-app'],
  ['--x--', 'x-app'],
  ['serverless', 'serverless-app'],
  ['ünï', 'n-app'],
  ['___', 'app'],
  ['a'.repeat(90), 'a'.repeat(58)],
])('makes a legal id of the directory %j', async (name, id) => {
  expect((await readProject(await setup({ 'handler.py': PYTHON }, name))).name).toBe(id);
});

test('refuses a reserved name', async () => {
  const dir = await setup({ 'wherry.yaml': 'name: serverless\n', 'handler.py': PYTHON });
  await expect(readProject(dir)).rejects.toMatchObject({ code: 'NAME_INVALID' });
});

test('suggests the file that was meant', async () => {
  const dir = await setup({ 'wherry.yaml': 'handler: handler.py\n', 'src/handler.py': PYTHON });
  await expect(readProject(dir)).rejects.toMatchObject({ code: 'HANDLER_NOT_FOUND', hint: "did you mean 'src/handler.py'" });
});

test('refuses a handler that is a link out of the project', async () => {
  const dir = await setup({ 'wherry.yaml': 'handler: handler.py\n' });
  await writeFile(join(dir, '..', 'outside.py'), PYTHON);
  await symlink('../outside.py', join(dir, 'handler.py'));
  await expect(readProject(dir)).rejects.toMatchObject({
    code: 'HANDLER_NOT_FOUND',
    message: expect.stringContaining('outside the project'),
  });
});

test.each([
  ['too large', Buffer.alloc(1024 * 1024 + 1, '#'), 'larger than'],
  ['not text', Buffer.from([0x61, 0xff, 0xfe]), 'not UTF-8'],
])('refuses a project file that is %s', async (_, content, message) => {
  const dir = await setup({ 'wherry.yaml': content, 'handler.py': PYTHON });
  await expect(readProject(dir)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(message) });
});

test('refuses an interpreter of another language than the found handler', async () => {
  const dir = await setup({ 'wherry.yaml': 'interpreter: node@20\n', 'handler.py': PYTHON });
  await expect(readProject(dir)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

test('says when the directory is absent or no directory', async () => {
  const dir = await setup({ 'handler.py': PYTHON });
  await expect(readProject(join(dir, 'gone'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('no such directory'),
  });
  await expect(readProject(join(dir, 'handler.py'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('not a directory'),
  });
});
