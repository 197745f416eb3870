// How long `wherry test` takes for ten tests of a handler that answers in a millisecond, on a server of its own: the whole command, from the
// start of its process to its end, beside the start of ten interpreters that answer one of them each.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, ROOT, spread } from './stage.mjs';

const RUNS = Number(process.argv.find((flag) => flag.startsWith('--runs='))?.slice('--runs='.length) ?? 7);
const TESTS = 10;

const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-test-'));
const project = join(dir, 'project');
mkdirSync(join(project, '.github'), { recursive: true });
writeFileSync(join(project, 'wherry.yaml'), 'name: quick\nhandler: handler.mjs:handler\nbase: scratch\n');
writeFileSync(
  join(project, 'handler.mjs'),
  "import { setTimeout } from 'node:timers/promises';\nexport const handler = ({ input }) => setTimeout(1, input);\n",
);
const tests = Array.from({ length: TESTS }, (_, number) => ({ input: { number }, output: { number } }));
writeFileSync(join(project, '.github/tests.json'), JSON.stringify(tests));

/** Milliseconds of a command, and its times as it prints them. */
function time(args) {
  const at = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`bench: ${args.join(' ')} exited with ${status}: ${stderr}`);
  return { ms: performance.now() - at, stdout };
}

const whole = [];
const cold = [];
const peer = [];
let path = '';
try {
  for (let run = 0; run < RUNS; run++) {
    const { ms, stdout } = time([join(ROOT, 'dist/main.js'), 'test', project, '--data', join(dir, 'data'), '--json']);
    const { passed, results } = JSON.parse(stdout);
    if (passed !== TESTS) throw new Error(`bench: ${passed} of ${TESTS} tests passed`);
    whole.push(ms);
    cold.push(results[0].job.delayMs);
    path = results[0].job.timeline?.path ?? 'none';
    peer.push(Array.from({ length: TESTS }, () => time(['-e', 'setTimeout(() => {}, 1)']).ms).reduce((sum, each) => sum + each, 0));
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
console.log(`test: ${TESTS} tests a run, ${RUNS} runs, medians (spread); the first run builds, later ones find its layers; path: ${path}`);
console.log(`wherry test      ${spread(whole)}  (target: below 3000 ms), of it the first job's wait for its worker ${spread(cold)}`);
console.log(`${TESTS} interpreters  ${spread(peer)}  ratio ${(median(whole) / median(peer)).toFixed(2)}`);
