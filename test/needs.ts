import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Whether an outside program is there. Throws when it is absent but WHERRY_TEST_REQUIRE lists it: then skipping would hide a failure. */
export function needs(name: string, isThere = () => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0): boolean {
  if (isThere()) return true;
  const required = (process.env['WHERRY_TEST_REQUIRE'] ?? '').split(',').map((entry) => entry.trim());
  if (required.includes(name)) throw new Error(`'${name}' is required by WHERRY_TEST_REQUIRE but cannot be run`);
  return false;
}

/** Whether this process may mount a file system of its own (root with that capability); `mount` in WHERRY_TEST_REQUIRE. */
export function needsMount(): boolean {
  return needs('mount', () => {
    const dir = mkdtempSync(join(tmpdir(), 'wherry-mount-'));
    try {
      if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir], { stdio: 'ignore' }).status !== 0) return false;
      return spawnSync('umount', [dir], { stdio: 'ignore' }).status === 0;
    } finally {
      rmdirSync(dir);
    }
  });
}
