// `npm start`: install what running needs, build, then the quickstart (`wherry up`) in this very process.
import { ensureInstalled, ROOT } from './setup.mjs';

const startedAt = Date.now();
ensureInstalled({ development: false });
const { build } = await import('./build.mjs');
await build();
if (process.stderr.isTTY || process.argv.includes('--once'))
  console.error(`wherry: installed and built in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
process.argv.splice(1, process.argv.length, `${ROOT}dist/main.js`, 'up', ...process.argv.slice(2));
await import('../dist/main.js');
