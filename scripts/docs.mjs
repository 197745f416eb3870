// `npm run docs`: writes docs/cli.md out of the command table, and the schemas of wherry.yaml and of test files out of theirs. Unit tests compare them.
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
    "export { formatCliPage } from './src/cli/page.ts'; export { COMMANDS } from './src/cli/program.ts'; export { WHERRY_SCHEMA } from './src/project/schema.ts'; export { TEST_SCHEMAS } from './src/check/schemas.ts';";
  const shared = { bundle: true, format: 'esm', platform: 'node', target: 'node20', packages: 'external', logLevel: 'warning' };
  await build({ ...shared, stdin: { contents, resolveDir: ROOT, loader: 'ts' }, outfile });
  const { COMMANDS, formatCliPage, WHERRY_SCHEMA, TEST_SCHEMAS } = await import(pathToFileURL(outfile).href);
  writeFileSync(join(ROOT, 'docs/cli.md'), formatCliPage(COMMANDS));
  const schemas = {
    wherry: WHERRY_SCHEMA,
    ...Object.fromEntries(Object.entries(TEST_SCHEMAS).map(([form, schema]) => [`tests-${form}`, schema])),
  };
  for (const [name, schema] of Object.entries(schemas))
    writeFileSync(join(ROOT, `schema/${name}.schema.json`), `${JSON.stringify(schema, null, 2)}\n`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.exitCode = run('npx', ['biome', 'format', '--write', '--log-level=error', 'schema']);
