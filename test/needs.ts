import { spawnSync } from 'node:child_process';

/** Whether an outside program is there. Throws when it is absent but WHERRY_TEST_REQUIRE lists it: then skipping would hide a failure. */
export function needs(name: string): boolean {
  if (spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0) return true;
  const required = (process.env['WHERRY_TEST_REQUIRE'] ?? '').split(',').map((entry) => entry.trim());
  if (required.includes(name)) throw new Error(`'${name}' is required by WHERRY_TEST_REQUIRE but cannot be run`);
  return false;
}
