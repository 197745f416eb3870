// `npm run docs`: writes docs/cli.md out of the command table, and the schema of wherry.yaml out of its fields. Unit tests compare them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureInstalled, ROOT, run } from './setup.mjs';

ensureInstalled({ development: true });
const { build } = await import('esbuild');
// Inside node_modules, so that the packages the table's modules import are found.
const dir = mkdtempSync(join(ROOT, 'node_modules', '.wherry-docs-'));
try {
  const outfile = join(dir, 'page.mjs');
  const contents =
    "export { formatCliPage } from './src/cli/page.ts'; export { COMMANDS } from './src/cli/program.ts'; export { WHERRY_SCHEMA } from './src/project/schema.ts';";
  const shared = { bundle: true, format: 'esm', platform: 'node', target: 'node20', packages: 'external', logLevel: 'warning' };
  await build({ ...shared, stdin: { contents, resolveDir: ROOT, loader: 'ts' }, outfile });
  const { COMMANDS, formatCliPage, WHERRY_SCHEMA } = await import(pathToFileURL(outfile).href);
  writeFileSync(join(ROOT, 'docs/cli.md'), formatCliPage(COMMANDS));
  writeFileSync(join(ROOT, 'schema/wherry.schema.json'), `${JSON.stringify(WHERRY_SCHEMA, null, 2)}\n`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.exitCode = run('npx', ['biome', 'format', '--write', '--log-level=error', 'schema']);
