// `npm run bench [-- NAME…]`: builds, then runs the named benchmarks of bench/ one after another, or all.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { ensureInstalled, ROOT, run } from './setup.mjs';

ensureInstalled({ development: true });
await build();
const all = readdirSync(join(ROOT, 'bench'))
  .filter((file) => /^[a-z-]+\.bench\.mjs$/.test(file))
  .map((file) => file.replace('.bench.mjs', ''));
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  console.error(`bench: no benchmark '${unknown[0]}'; there are ${all.join(', ')}`);
  process.exit(2);
}
for (const name of asked.length > 0 ? asked : all) {
  const code = run('node', [`bench/${name}.bench.mjs`]);
  if (code !== 0) process.exit(code);
}
