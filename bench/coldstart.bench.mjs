// Cold starts beside what the machine can do at best, a part for each way. `--only=zero|thaw` for one part.
import { measureThaw } from './coldstart/thaw.mjs';
import { measureZero } from './coldstart/zero.mjs';

const PARTS = { zero: measureZero, thaw: measureThaw };
const only = process.argv
  .slice(2)
  .find((flag) => flag.startsWith('--only='))
  ?.slice('--only='.length);
if (only !== undefined && !(only in PARTS))
  throw new Error(`bench: coldstart has no part '${only}'; there are ${Object.keys(PARTS).join(', ')}`);
for (const [name, measure] of Object.entries(PARTS)) if (only === undefined || only === name) await measure();
