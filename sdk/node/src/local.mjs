// Local mode: no server; one job from `--test_input '<json>'` or test_input.json, the result on stdout, exit 0 or 1.
import { readFileSync } from 'node:fs';
import { runHandler } from './worker.mjs';

/** Runs the handler once and ends the process. */
export async function runOnce(handler) {
  const job = { id: 'local_test', ...readInput() };
  if (job.input === undefined || job.input === null) fail("the test input has no 'input'");
  const { body } = await runHandler(handler, job);
  process.stdout.write(`${body}\n`);
  process.exit('error' in JSON.parse(body) ? 1 : 0);
}

function readInput() {
  const flag = process.argv.indexOf('--test_input');
  try {
    return JSON.parse(flag >= 0 ? process.argv[flag + 1] : readFileSync('test_input.json', 'utf8'));
  } catch (error) {
    return fail(`no test input: ${error.message}; pass --test_input '{"input": …}' or write test_input.json`);
  }
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
