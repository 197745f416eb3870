// Installs what is missing, and only then: a stamp in node_modules remembers which lock file was installed and how.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STAMP = join(ROOT, 'node_modules', '.wherry-installed');

/** Makes sure the locked packages are there; `development` adds the tools for tests. Exits with npm's code when npm fails. */
export function ensureInstalled({ development }) {
  checkNode();
  const lock = createHash('sha256')
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .digest('hex');
  const stamp = existsSync(STAMP) ? readFileSync(STAMP, 'utf8') : '';
  if (stamp === `${lock} all` || (!development && stamp === `${lock} run`)) return;
  console.error(`wherry: installing packages (${development ? 'with test tools' : 'only what running needs'})`);
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--prefer-offline'];
  if (!development) args.push('--omit=dev');
  const npm = spawnSync('npm', args, { cwd: ROOT, stdio: ['ignore', 2, 2] });
  if (npm.status !== 0) {
    console.error(`wherry: npm ${args.join(' ')} failed; run it again by hand to see why`);
    process.exit(npm.status ?? 1);
  }
  writeFileSync(STAMP, `${lock} ${development ? 'all' : 'run'}`);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  console.error(`wherry: needs Node 20.19 or newer, this is ${process.versions.node}`);
  process.exit(2);
}

/** Runs a command in the project's folder with its output shown; gives the exit code. */
export function run(command, args, env = {}) {
  const child = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } });
  return child.status ?? 1;
}
