// `npm run check`: format and lint, types, architecture, unit tests. Stops at the first that fails.
import { ensureInstalled, run } from './setup.mjs';

ensureInstalled({ development: true });
const steps = [
  ['format and lint', 'npx', ['biome', 'check', '--error-on-warnings', '.']],
  ['types', 'npx', ['tsc', '-p', '.']],
  ['architecture', 'node', ['scripts/architecture.mjs']],
  ['unit tests', 'npx', ['vitest', 'run', '--project', 'unit']],
];
for (const [name, command, args] of steps) {
  console.log(`check: ${name}`);
  const code = run(command, args);
  if (code !== 0) {
    console.error(`check: ${name} failed`);
    process.exit(code);
  }
}
