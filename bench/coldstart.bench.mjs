// Cold starts beside what the machine can do at best, a part for each way; how soon they are decided; many at once, and what many idle ones cost.
// `--only=zero|fork|thaw|decide|crowd|docker` for one part (docker has its own zero, thaw and crowd), `--quick` for fewer forks.
import { measureCrowd } from './coldstart/crowd.mjs';
import { measureDecide } from './coldstart/decide.mjs';
import { measureDocker } from './coldstart/docker.mjs';
import { measureForks } from './coldstart/fork.mjs';
import { measureThaw } from './coldstart/thaw.mjs';
import { measureZero } from './coldstart/zero.mjs';

const isQuick = process.argv.includes('--quick');
const PARTS = {
  zero: measureZero,
  fork: () => measureForks({ isQuick }),
  thaw: measureThaw,
  decide: measureDecide,
  crowd: measureCrowd,
  docker: measureDocker,
};
const only = process.argv
  .slice(2)
  .find((flag) => flag.startsWith('--only='))
  ?.slice('--only='.length);
if (only !== undefined && !(only in PARTS))
  throw new Error(`bench: coldstart has no part '${only}'; there are ${Object.keys(PARTS).join(', ')}`);
for (const [name, measure] of Object.entries(PARTS)) if (only === undefined || only === name) await measure();
