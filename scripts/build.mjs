// Bundles src to dist: `main.js` (with one chunk per lazily imported part) and `supervisor.js`, which stands alone, with `fork-server`.
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { compiledSchema, undiciParts } from './compiled.mjs';
import { ensureInstalled, ROOT } from './setup.mjs';

export async function build() {
  const { build: bundle } = await import('esbuild');
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
  const shared = {
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    // Bundled, packages load in a fraction of the time; what the command line seldom or never needs stays outside, and so does what finds its own files.
    external: ['esbuild', 'fastify', '@fastify/*', 'pino', 'typebox', '@photostructure/sqlite', 'xmlbuilder2'],
    banner: { js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);" },
    legalComments: 'linked',
    outdir: join(ROOT, 'dist'),
    logLevel: 'warning',
    plugins: [compiledSchema, undiciParts],
  };
  await bundle({
    ...shared,
    entryPoints: [join(ROOT, 'src/main.ts')],
    splitting: true,
    chunkNames: 'parts/[name]-[hash]',
    define: { __WHERRY_VERSION__: JSON.stringify(version) },
  });
  // Python, which the supervisor starts.
  const isSource = (path) => !path.endsWith('__pycache__');
  cpSync(join(ROOT, 'src/runtime/process/fork/program'), join(ROOT, 'dist/fork-server'), { recursive: true, filter: isSource });
  await bundle({ ...shared, entryPoints: { supervisor: join(ROOT, 'src/runtime/process/supervisor.ts') } });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  ensureInstalled({ development: false });
  await build();
}
