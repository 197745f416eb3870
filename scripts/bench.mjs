// `npm run bench [-- NAME… --FLAG…]`: builds, then runs the named benchmarks of bench/ one after another, or all; each gets the flags.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { ensureBenchServices } from './services.mjs';
import { ensureInstalled, ROOT, run } from './setup.mjs';

const all = readdirSync(join(ROOT, 'bench'))
  .filter((file) => /^[a-z-]+\.bench\.mjs$/.test(file))
  .map((file) => file.replace('.bench.mjs', ''));
const words = process.argv.slice(2);
if (words.includes('--help')) {
  console.log(`npm run bench [-- NAME... --FLAG...]: all benchmarks, or the named ones: ${all.join(', ')}; their flags are at their top`);
  process.exit(0);
}
const flags = words.filter((word) => word.startsWith('--'));
const asked = words.filter((word) => !word.startsWith('--'));
const unknown = asked.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  console.error(`bench: no benchmark '${unknown[0]}'; there are ${all.join(', ')}`);
  process.exit(2);
}
ensureInstalled({ development: true });
await build();
const named = asked.length > 0 ? asked : all;
if (named.includes('dispatch')) ensureBenchServices();
for (const name of named) {
  const code = run('node', [`bench/${name}.bench.mjs`, ...flags]);
  if (code !== 0) process.exit(code);
}
