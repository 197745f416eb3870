/** `npm run chaos`: reads the options, runs, prints the verdict; exit code 1 on a violation. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runChaos } from './run.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string' },
    rate: { type: 'string', default: '50' },
    'in-flight': { type: 'string', default: '300' },
    every: { type: 'string', default: '1000-5000' },
    out: { type: 'string' },
    streams: { type: 'boolean', default: false },
    webhooks: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 1e6));
const [shortest = 1_000, longest = 5_000] = values.every.split('-').map(Number);
const outDir = values.out ?? mkdtempSync(join(tmpdir(), `wherry-chaos-${seed}-`));
const command = `npm run chaos -- --minutes ${values.minutes} --seed ${seed} --rate ${values.rate} --in-flight ${values['in-flight']} --every ${values.every}${values.streams ? ' --streams' : ''}${values.webhooks ? ' --webhooks' : ''}`;
console.log(`${command}\nhistory: ${outDir}`);

const { violations, figures, reasons } = await runChaos({
  seed,
  durationMs: Number(values.minutes) * 60_000,
  rate: Number(values.rate),
  inFlight: Number(values['in-flight']),
  everyMs: [shortest, longest],
  hasStreams: values.streams,
  hasWebhooks: values.webhooks,
  outDir,
  say: (line) => console.log(line),
});
for (const [name, figure] of Object.entries(figures)) console.log(`${name.padEnd(22)} ${figure}`);
for (const [why, count] of reasons) console.log(`${count} failed without the handler's doing: ${why}`);
for (const { invariant, subject, what } of violations.slice(0, 40)) console.log(`VIOLATION ${invariant}: ${subject} ${what}`);
console.log(`${violations.length} violations; seed ${seed}; ${command}`);
process.exitCode = violations.length === 0 ? 0 : 1;
