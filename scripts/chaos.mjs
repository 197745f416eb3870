// `npm run chaos [-- --minutes M --seed N --rate R]`: builds the product, then kills it under load and judges what is left (docs/reliability.md).
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from './build.mjs';
import { ensureInstalled, ROOT, run } from './setup.mjs';

ensureInstalled({ development: false });
await build();
const { build: bundle } = await import('esbuild');
const dir = mkdtempSync(join(ROOT, 'dist', 'chaos-'));
const outfile = join(dir, 'main.mjs');
await bundle({
  entryPoints: [join(ROOT, 'test/chaos/main.ts')],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  logLevel: 'warning',
  // The fixture finds the project from its own place.
  define: { 'import.meta.url': JSON.stringify(pathToFileURL(join(ROOT, 'test/stage.ts')).href) },
});
const code = run('node', ['--max-old-space-size=4096', outfile, ...process.argv.slice(2)]);
rmSync(dir, { recursive: true, force: true });
process.exitCode = code;
