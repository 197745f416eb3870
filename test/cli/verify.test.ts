import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, runCli, type Stage } from '../stage.js';

interface Verdict {
  readonly sameDigest: boolean;
  readonly sameContent: boolean;
  readonly differences: readonly string[];
}

const HANDLER = 'def handler(job):\n    return 1\n';

describe('wherry verify', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage();
  });
  afterAll(() => stage.close());

  /** A repository whose project is a directory of it. */
  const commit = (name: string, files: Readonly<Record<string, string>>) => {
    const dir = stage.project(name, files);
    const git = (...args: string[]) => execFileSync('git', ['-C', dir, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args]);
    git('init', '-q');
    git('add', '.');
    git('commit', '-qm', 'one');
    return { dir, git };
  };
  const push = async (dir: string) => (JSON.parse(await stage.cli('push', dir, '--json')) as { reference: string }).reference;

  it('builds the recorded revision again, whatever is in the tree now, and finds the same digest', async () => {
    const { dir, git } = commit('repo', { 'parts/greeter/handler.py': HANDLER });
    const project = join(dir, 'parts/greeter');
    const reference = await push(project);
    writeFileSync(join(project, 'handler.py'), 'def handler(job):\n    return 2\n');
    git('commit', '-qam', 'two');
    writeFileSync(join(project, 'handler.py'), 'def handler(job):\n    return 3\n');
    const verdict = JSON.parse(await stage.cli('verify', reference, project, '--json')) as Verdict;
    expect(verdict).toMatchObject({ sameDigest: true, sameContent: true, differences: [] });
    expect(execFileSync('git', ['-C', dir, 'worktree', 'list'], { encoding: 'utf8' }).trim().split('\n')).toHaveLength(1);
  });

  it('names the layer of an image that claims a revision it was not built from', async () => {
    const { dir } = commit('honest', { 'wherry.yaml': 'name: honest\n', 'handler.py': HANDLER });
    // An ignored file of git is in the build and not in the revision.
    writeFileSync(join(dir, '.git/info/exclude'), 'extra.py\n');
    writeFileSync(join(dir, 'extra.py'), 'BACKDOOR = 1\n');
    const reference = await push(dir);
    const result = await stage.tryCli('verify', reference, dir);
    expect(result.code).toBe(1);
    expect(result.stdout).toContain('is not what is built of revision');
    expect(result.stdout).toMatch(/layer \d \(code\) is sha256:/);
  });

  it('says what to do for an image without a revision, and for a revision of another repository', async () => {
    const { dir } = commit('first', { 'handler.py': HANDLER });
    const reference = await push(dir);
    const other = commit('second', { 'handler.py': `${HANDLER}\n` }).dir;
    const scratch = join(stage.dir, 'scratch');
    mkdirSync(scratch);
    const refused = await runCli(['verify', reference, other, '--data', stage.dataDir], { env: { TMPDIR: scratch } });
    expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining('has no revision') });
    expect(readdirSync(scratch)).toEqual([]);
    const plain = stage.project('plain', { 'handler.py': HANDLER });
    mkdirSync(join(plain, 'more'));
    const unrecorded = await stage.tryCli('verify', await push(plain), plain);
    expect(unrecorded).toMatchObject({ code: 2, stderr: expect.stringContaining('IMAGE_UNVERIFIABLE') });
    expect(readdirSync(other)).not.toContain('worktree');
  });
});
