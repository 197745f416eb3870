// Cold starts beside what the machine can do at best, a part for each way. `--only=zero|fork|thaw` for one part, `--quick` for fewer forks.
import { measureForks } from './coldstart/fork.mjs';
import { measureThaw } from './coldstart/thaw.mjs';
import { measureZero } from './coldstart/zero.mjs';

const isQuick = process.argv.includes('--quick');
const PARTS = { zero: measureZero, fork: () => measureForks({ isQuick }), thaw: measureThaw };
const only = process.argv
  .slice(2)
  .find((flag) => flag.startsWith('--only='))
  ?.slice('--only='.length);
if (only !== undefined && !(only in PARTS))
  throw new Error(`bench: coldstart has no part '${only}'; there are ${Object.keys(PARTS).join(', ')}`);
for (const [name, measure] of Object.entries(PARTS)) if (only === undefined || only === name) await measure();
