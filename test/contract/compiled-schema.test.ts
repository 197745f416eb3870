import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { matchesSchema } from '../../src/project/schema-check.js';

const dir = mkdtempSync(join(tmpdir(), 'wherry-schema-'));
let compiled: typeof matchesSchema;
beforeAll(async () => {
  const { compiledSchema } = (await import(new URL('../../scripts/compiled.mjs', import.meta.url).href)) as { compiledSchema: Plugin };
  const outfile = join(dir, 'check.mjs');
  const entryPoints = ['src/project/schema-check.ts'];
  const banner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" };
  await build({ entryPoints, outfile, banner, bundle: true, format: 'esm', platform: 'node', plugins: [compiledSchema] });
  ({ matchesSchema: compiled } = await import(pathToFileURL(outfile).href));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it.each([
  { name: 'echo', scale: { min: 0, idle: '5s' }, env: { A: 1 } },
  { name: 'E', scale: { min: -1, idle: 5 }, env: { '1A': [] } },
  { nmae: 'echo', platforms: 'linux/amd64', tests: [1] },
  'text',
  null,
])('the bundled check of wherry.yaml says of %j what the schema says', (value) => {
  expect(compiled(value)).toBe(matchesSchema(value));
  expect(compiled.errors).toEqual(matchesSchema.errors);
});
