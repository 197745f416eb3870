import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAIN } from '../stage.js';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const BIG_MIB = 600;
const ALLOWED_GROWTH_MIB = 120;

/**
 * Writes, at exit, the peak of the memory that the process held. VmHWM and not getrusage's maxrss: that one also counts what the parent
 * held at the fork, and the parent is a test runner larger than what is measured.
 */
const PRELOAD = `
import { readFileSync, writeFileSync } from 'node:fs';
process.on('exit', () => writeFileSync(process.env.PEAK_FILE, /VmHWM:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]));
`;

// Linux only: elsewhere there is no /proc to read the peak from.
describe.skipIf(process.platform !== 'linux')('the memory of a build', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'wherry-memory-'));
    writeFileSync(join(dir, 'preload.mjs'), PRELOAD);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  /** Builds a project with a file of so many MiB, each the same random block: too far apart for gzip to find the repetition. */
  async function buildWith(sizeMib: number): Promise<{ readonly peakMib: number; readonly layerBytes: number }> {
    const project = mkdtempSync(join(dir, 'project-'));
    const peakFile = join(dir, 'peak');
    writeFileSync(join(project, 'wherry.yaml'), 'name: big\nhandler: handler.py:handler\nbase: scratch\n');
    writeFileSync(join(project, 'handler.py'), 'def handler(job):\n    return 1\n');
    const block = randomBytes(MIB);
    const file = openSync(join(project, 'model.bin'), 'w');
    for (let written = 0; written < sizeMib; written++) writeSync(file, block);
    closeSync(file);
    const { stdout } = await run(
      process.execPath,
      ['--import', join(dir, 'preload.mjs'), MAIN, 'build', project, '--json', '--data', join(project, '.wherry')],
      { env: { ...process.env, PEAK_FILE: peakFile } },
    );
    const { layers } = JSON.parse(stdout) as { layers: { role: string; size: number }[] };
    rmSync(project, { recursive: true, force: true });
    return { peakMib: Number(readFileSync(peakFile, 'utf8')) / 1024, layerBytes: layers.find(({ role }) => role === 'code')?.size ?? 0 };
  }

  it('does not grow with the size of the files', async () => {
    const small = await buildWith(1);
    const big = await buildWith(BIG_MIB);
    expect(small.peakMib).toBeGreaterThan(10);
    expect(big.layerBytes).toBeGreaterThan(BIG_MIB * MIB);
    expect(big.peakMib - small.peakMib).toBeLessThan(ALLOWED_GROWTH_MIB);
  }, 180_000);
});
