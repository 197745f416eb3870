import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

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

/** Nobody, on every system. */
export const OTHER_USER = 65_534;

/** Whether programs may be run as another user, who can reach this project; `other-user` in WHERRY_TEST_REQUIRE. */
export function needsOtherUser(): boolean {
  const root = fileURLToPath(new URL('.', import.meta.url));
  const options = { uid: OTHER_USER, gid: OTHER_USER, cwd: '/', stdio: 'ignore' } as const;
  return needs('other-user', () => spawnSync(process.execPath, ['-e', `fs.readdirSync(${JSON.stringify(root)})`], options).status === 0);
}

/** Whether a Python that the SDK knows is there; `python3` in WHERRY_TEST_REQUIRE. */
export function needsPython(): boolean {
  return needs('python3', () => spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))']).status === 0);
}

/** Whether this host can fork workers, which only Linux shows; `fork` in WHERRY_TEST_REQUIRE. */
export function needsFork(): boolean {
  return needsPython() && needs('fork', () => existsSync('/proc/self/mem'));
}

/** Whether an engine can be put into a network of its own (root, `ip netns`); `netns` in WHERRY_TEST_REQUIRE. */
export function needsNetworks(): boolean {
  return needs('netns', () => process.getuid?.() === 0 && spawnSync('ip', ['netns'], { stdio: 'ignore' }).status === 0);
}
