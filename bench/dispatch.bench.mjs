// The queue under load: warm requests beside a bare echo, then whole jobs beside BullMQ. `--quick` for fewer runs, `--only=warm|queue` for one part.
import { measureQueue } from './dispatch/queue.mjs';
import { measureWarm } from './dispatch/warm.mjs';
import { pinSelf } from './stage.mjs';

const PARTS = { warm: measureWarm, queue: measureQueue };
const flags = process.argv.slice(2);
const only = flags.find((flag) => flag.startsWith('--only='))?.slice('--only='.length);
if (only !== undefined && !(only in PARTS))
  throw new Error(`bench: dispatch has no part '${only}'; there are ${Object.keys(PARTS).join(', ')}`);
pinSelf(0);
for (const [name, measure] of Object.entries(PARTS)) {
  if (only === undefined || only === name) await measure({ isQuick: flags.includes('--quick') });
}
