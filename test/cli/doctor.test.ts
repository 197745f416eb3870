import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../stage.js';

interface Check {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly found: string;
  readonly fix?: string;
}

describe('wherry doctor', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'wherry-doctor-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  async function examine(env: NodeJS.ProcessEnv) {
    const { code, stdout } = await runCli(['doctor', '--json', '--data', join(dir, 'new')], { env });
    const { checks } = JSON.parse(stdout) as { checks: Check[] };
    return { code, checks, named: (name: string) => checks.find((check) => check.name === name) };
  }

  it('looks at the machine and finds nothing that fails when processes are enough', async () => {
    const { code, checks, named } = await examine({ WHERRY_RUNTIME: 'process' });
    expect(code).toBe(0);
    expect(named('node')).toMatchObject({ status: 'ok', found: expect.stringContaining(process.versions.node) });
    expect(named('data directory')?.found).toContain('not there yet');
    expect(named('docker engine')?.found).toContain('none');
    for (const { status, fix } of checks) expect(fix === undefined).toBe(status === 'ok');
  });

  it('fails, with the fix, when the engine that is asked for is not there', async () => {
    const gone = { WHERRY_DOCKER_HOST: `unix://${join(dir, 'docker.sock')}` };
    const { code, named } = await examine({ WHERRY_RUNTIME: 'docker', ...gone });
    expect(code).toBe(1);
    expect(named('docker engine')).toMatchObject({
      status: 'fail',
      found: expect.stringContaining('no such socket'),
      fix: expect.any(String),
    });
    const printed = await runCli(['doctor', '--data', dir], { env: gone });
    expect(printed.stdout).toMatch(/fail {2}docker engine[^\n]*\n +fix {2}start the engine/);
  });

  it('warns only when the engine was merely found', async () => {
    const { code, named } = await examine({
      WHERRY_RUNTIME: '',
      WHERRY_DOCKER_HOST: '',
      DOCKER_HOST: `unix://${join(dir, 'docker.sock')}`,
    });
    expect([code, named('docker engine')?.status]).toEqual([0, 'warn']);
  });

  it('names a setting that is none', async () => {
    const { code, named } = await examine({ WHERRY_RUNTIME: 'podman' });
    expect([code, named('runtimes')]).toEqual([1, expect.objectContaining({ status: 'fail', found: expect.stringContaining("'podman'") })]);
  });
});
