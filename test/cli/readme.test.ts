import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, ROOT, runCli, type Stage } from '../stage.js';

const run = promisify(execFile);
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
const commands = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => (block ?? '').trim().split('\n'));

let stage: Stage;
let work: string;
beforeAll(async () => {
  stage = await openStage();
  work = mkdtempSync(join(tmpdir(), 'wherry-readme-'));
});
afterAll(async () => {
  await stage.close();
  rmSync(work, { recursive: true, force: true });
});

describe('the README', () => {
  it('fits on two screens', () => {
    expect(readme.split('\n').length).toBeLessThan(80);
  });

  it('names only commands that are run here', () => {
    expect(commands.filter((command) => !/^(npm start|npm test|wherry )/.test(command))).toEqual([]);
  });

  it('npm start answers from both examples and prints commands that work when pasted (row B17)', async () => {
    const data = join(work, 'data');
    const { stdout } = await run('npm', ['start', '--', '--once', '--data', data, '--port', '0'], { cwd: ROOT });
    expect(stdout).toContain('"Hello, Ada!"');
    expect(stdout).toMatch(/hello-node r1 sha256:[0-9a-f]{64}/);
    expect(existsSync(join(data, 'admin.key'))).toBe(true);
    const second = await run('npm', ['start', '--', '--once', '--data', data, '--port', '0'], { cwd: ROOT });
    expect(second.stdout).toContain('"Hello, Ada!"');
    expect(second.stdout).not.toContain('admin key');
  });

  it('prints a curl that works against a running server', async () => {
    await stage.cli('deploy', join(ROOT, 'examples/hello-node'));
    const command = `curl -s ${stage.url}/v2/hello-node/runsync -H "Authorization: $(cat '${stage.dataDir}/admin.key')" -d '{"input":{"name":"Grace"}}'`;
    const { stdout } = await run('sh', ['-c', command]);
    expect(JSON.parse(stdout)).toMatchObject({ status: 'COMPLETED', output: { message: 'Hello, Grace!' } });
  });

  it('npm test is the script that runs this', () => {
    expect(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))).toMatchObject({ scripts: { test: 'node scripts/test.mjs' } });
  });

  it('shows next steps that work one after another', async () => {
    for (const command of commands.filter((line) => line.startsWith('wherry '))) {
      const result = await runCli([...command.split(' ').slice(1), '--data', stage.dataDir], { cwd: work });
      expect(result.code, `${command}: ${result.stderr}`).toBe(0);
    }
  });
});
