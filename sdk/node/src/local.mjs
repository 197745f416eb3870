// Local mode: no server; one job from `--test_input '<json>'` or test_input.json, the result on stdout, exit 0 or 1.
import { readFileSync } from 'node:fs';
import { isGenerator, runGenerator, runHandler } from './results.mjs';

/** Runs the handler once and ends the process. A generator is read to its end, and its chunks are the output. */
export async function runOnce(handler) {
  const job = { id: 'local_test', ...readInput() };
  if (job.input === undefined || job.input === null) fail("the test input has no 'input'");
  const context = { signal: new AbortController().signal };
  const run = isGenerator(handler)
    ? runGenerator(handler, job, { aggregate: true, send: () => {}, context })
    : runHandler(handler, job, context);
  const { body } = await run;
  process.stdout.write(`${body}\n`);
  process.exit('error' in JSON.parse(body) ? 1 : 0);
}

/** True for `--test_input`, with its value behind an equals sign or in the next argument. */
function isTestInput(argument) {
  return argument.split('=')[0] === '--test_input';
}

function readInput() {
  const place = process.argv.findIndex(isTestInput);
  const given = process.argv[place]?.split('=').slice(1).join('=') || process.argv[place + 1];
  try {
    return JSON.parse(place >= 0 ? given : readFileSync('test_input.json', 'utf8'));
  } catch (error) {
    return fail(`no test input: ${error.message}; pass --test_input '{"input": …}' or write test_input.json`);
  }
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
