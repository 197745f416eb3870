// What importing the Python SDK costs, as a multiple of importing http.client; and `wherry --version` beside `node -e 0`.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { median, ROOT, spread } from './stage.mjs';

const RUNS = 21;

/** Seconds that one statement takes in a fresh interpreter, measured inside it. */
function importMs(statement) {
  const program = `import time; t = time.perf_counter(); ${statement}; print(time.perf_counter() - t)`;
  const { stdout } = spawnSync('python3', ['-c', program], {
    encoding: 'utf8',
    env: { ...process.env, PYTHONPATH: join(ROOT, 'sdk/python') },
  });
  return Number(stdout) * 1000;
}

function wallMs(args) {
  const at = performance.now();
  spawnSync(process.execPath, args);
  return performance.now() - at;
}

const sdk = [];
const peer = [];
const version = [];
const bare = [];
for (let run = 0; run < RUNS; run++) {
  peer.push(importMs('import http.client'));
  sdk.push(importMs('import wherry.serverless'));
  bare.push(wallMs(['-e', '0']));
  version.push(wallMs([join(ROOT, 'dist/main.js'), '--version']));
}
console.log(`import: ${RUNS} runs each, medians (spread); every run a fresh process`);
console.log(
  `import wherry.serverless  ${spread(sdk)}  http.client ${spread(peer)}  ratio ${(median(sdk) / median(peer)).toFixed(2)} (target: at most 1.30)`,
);
console.log(
  `wherry --version          ${spread(version)}  node -e 0 ${spread(bare)}  ratio ${(median(version) / median(bare)).toFixed(2)} (target: at most 1.50)`,
);
