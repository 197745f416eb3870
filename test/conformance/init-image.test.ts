import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { runCli } from '../stage.js';
import { type Engine, openEngine } from './engine.js';
import { findPython, loadPythonBase } from './python-base.js';

const python = findPython();

// Skipped where no Docker Engine, or no Python with pip, setuptools and wheel to make a base image of, is installed.
describe.skipIf(!needs('dockerd') || python === undefined)('the Dockerfile that init writes', () => {
  let engine: Engine;
  let dir: string;
  let project: string;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'wherry-init-'));
    project = join(dir, 'greeter');
    const made = await runCli(['init', project]);
    if (made.code !== 0) throw new Error(made.stderr);
    engine = await openEngine();
    const reference = /^FROM (\S+)$/m.exec(readFileSync(join(project, 'Dockerfile'), 'utf8'))?.[1] ?? '';
    await loadPythonBase(engine, { python: python ?? '', reference });
    expect(readFileSync(join(project, 'builder/requirements.txt'), 'utf8')).toBe('runpod\n');
    await engine.docker('build', '--network', 'none', '--tag', 'greeter', project);
  }, 120_000);
  afterAll(async () => {
    await engine?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('builds an image whose command answers the test input of the project (row 2)', async () => {
    const printed = await engine.docker('run', '--rm', '--volume', `${join(project, 'test_input.json')}:/test_input.json:ro`, 'greeter');
    expect(JSON.parse(printed)).toEqual({ output: { message: 'Hello, Ada!' } });
  });

  it('builds an image whose handler takes another input and has the requirements installed', async () => {
    const input = JSON.stringify({ input: {} });
    const printed = await engine.docker('run', '--rm', 'greeter', 'python', '-u', '/handler.py', '--test_input', input);
    expect(JSON.parse(printed)).toEqual({ output: { message: 'Hello, world!' } });
    expect(await engine.docker('run', '--rm', 'greeter', 'pip', 'freeze')).toContain('runpod==');
  });
});
