// `npm test`: install what is missing, build, run every test. Arguments go to Vitest.
import { build } from './build.mjs';
import { ensureServices } from './services.mjs';
import { ensureInstalled, run } from './setup.mjs';

ensureInstalled({ development: true });
const services = ensureServices();
await build();
const required = process.env.WHERRY_TEST_REQUIRE ?? services.join(',');
process.exit(run('npx', ['vitest', 'run', ...process.argv.slice(2)], { WHERRY_TEST_REQUIRE: required }));
