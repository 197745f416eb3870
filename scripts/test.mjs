// `npm test`: install what is missing, build, run every test. Arguments go to Vitest.
import { build } from './build.mjs';
import { ensureInstalled, run } from './setup.mjs';

ensureInstalled({ development: true });
await build();
process.exit(run('npx', ['vitest', 'run', ...process.argv.slice(2)]));
