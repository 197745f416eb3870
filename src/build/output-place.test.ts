import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { readProject } from '../project/read.js';
import { checkDataPlace, checkOutputPlace } from './output-place.js';

async function setup(files: Readonly<Record<string, string>>) {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-output-')));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, 'app/src'), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, 'app', name), text);
  symlinkSync('app', join(dir, 'link'));
  const project = await readProject(join(dir, 'app'));
  return (path: string) => checkOutputPlace(project, join(dir, path));
}

const HANDLER = { 'wherry.yaml': 'name: app\nhandler: handler.mjs:handler\n', 'handler.mjs': 'export const handler = () => 1;\n' };
const DOCKERFILE = { 'wherry.yaml': 'name: app\ndockerfile: Dockerfile\n', Dockerfile: 'FROM scratch\nCOPY . /\n' };

it.each([HANDLER, DOCKERFILE])('refuses what would be in the next image of %j, by whatever path', async (files) => {
  const check = await setup(files);
  for (const path of ['app', 'app/out', 'app/src/deep/out', 'link/out']) {
    await expect(check(path), path).rejects.toMatchObject({ code: 'USAGE', hint: expect.stringContaining('outside') });
  }
  for (const path of ['out', 'app-out', '..app']) await check(path);
});

it.each([HANDLER, DOCKERFILE])('takes what .dockerignore names in %j', async (files) => {
  const check = await setup({ ...files, '.dockerignore': 'out\nhalf/*\n!half/index.json\n' });
  await check('app/out');
  await check('app/out/below');
  await expect(check('app/half')).rejects.toMatchObject({ code: 'USAGE' });
});

it('takes what a handler image never holds, which an engine would take along', async () => {
  await (await setup(HANDLER))('app/.cache/out');
  await expect((await setup(DOCKERFILE))('app/.cache/out')).rejects.toMatchObject({ code: 'USAGE' });
});

it('refuses a data directory whose keys would be in the image', async () => {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-output-')));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  for (const [name, text] of Object.entries(HANDLER)) writeFileSync(join(dir, name), text);
  const project = await readProject(dir);
  await expect(checkDataPlace(project, join(dir, 'data'))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  await checkDataPlace(project, join(dir, '.wherry'));
  writeFileSync(join(dir, '.dockerignore'), 'data\n');
  await checkDataPlace(project, join(dir, 'data'));
});
