import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Built, readFiles } from '../built-files.js';
import { runCli } from '../stage.js';

let dir: string;
let dataDir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-kept-'));
  dataDir = join(dir, 'data');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function project(name: string, code: string): string {
  mkdirSync(join(dir, name), { recursive: true });
  writeFileSync(join(dir, name, 'wherry.yaml'), `name: ${name}\nhandler: handler.py:handler\n`);
  writeFileSync(join(dir, name, 'handler.py'), `def handler(job):\n    return '${code}'\n`);
  return join(dir, name);
}

const tryBuild = (path: string, env: NodeJS.ProcessEnv = {}) => runCli(['build', path, '--json', '--data', dataDir], { env });
async function build(path: string, env: NodeJS.ProcessEnv = {}): Promise<Built> {
  const { code, stdout, stderr } = await tryBuild(path, env);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Built;
}

const codeOf = ({ layers }: Built) => layers.find(({ role }) => role === 'code')?.digest ?? '';
const isThere = (digest: string) => existsSync(join(dataDir, 'images/blobs/sha256', digest.slice(7)));
const stamp = () => join(dataDir, 'images/collected');

/** As if nothing had been used for so many days. */
function passDays(days: number): void {
  const at = Date.now() / 1000 - days * 86_400;
  for (const folder of ['images', 'images/blobs/sha256', 'cache/layers'])
    for (const name of readdirSync(join(dataDir, folder))) utimesSync(join(dataDir, folder, name), at, at);
}

it('removes what nothing used for a week after a build that made something, and keeps the last build of each project', async () => {
  const before = await build(project('one', 'before'));
  const last = await build(project('one', 'last'));
  passDays(8);
  await build(project('two', 'other'));
  expect([before, last].map(codeOf).map(isThere)).toEqual([false, true]);
  expect((await build(join(dir, 'one'))).layers.every(({ isCached }) => isCached)).toBe(true);
  const inspected = await runCli(['image', 'inspect', './one', '--json', '--data', dataDir], { cwd: dir });
  expect(inspected.code, inspected.stderr).toBe(0);
});

it('never makes a build wait that changes nothing', async () => {
  const before = await build(project('one', 'before'));
  await build(project('one', 'last'));
  passDays(8);
  const due = statSync(stamp()).mtimeMs;
  await build(join(dir, 'one'));
  expect(statSync(stamp()).mtimeMs).toBe(due);
  expect(isThere(codeOf(before))).toBe(true);
});

it('keeps no more than WHERRY_BUILD_CACHE, but what was used within a day', async () => {
  const one = await build(project('one', 'last'));
  passDays(2);
  const two = await build(project('two', 'other'), { WHERRY_BUILD_CACHE: '1KiB' });
  expect([one, two].map(codeOf).map(isThere)).toEqual([false, true]);
  expect(await runCli(['image', 'inspect', './one', '--data', dataDir], { cwd: dir })).toMatchObject({ code: 4 });
  expect((await build(join(dir, 'one'))).digest).toBe(one.digest);
  expect(await tryBuild(project('two', 'more'), { WHERRY_BUILD_CACHE: 'much' })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('WHERRY_BUILD_CACHE'),
  });
});

it('takes nothing from builds of other projects that are under way', async () => {
  const names = ['one', 'two', 'three', 'four'];
  for (const name of names) await build(project(name, 'before'));
  for (let round = 0; round < 3; round++) {
    passDays(8);
    // Half of them make something, and may collect; the others find everything.
    const built = await Promise.all(names.map((name, index) => build(project(name, index % 2 === 0 ? `round ${round}` : 'before'))));
    for (const each of built) expect([...(await readFiles(dataDir, each)).keys()]).toContain('wherry/app/handler.py');
  }
});
