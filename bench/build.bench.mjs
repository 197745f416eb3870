// First build, unchanged rebuild, and a code-only rebuild with push, of a Node project with 10 MB of dependencies, beside the bundler alone.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build as bundle } from 'esbuild';
import { median, openServer, spread } from './stage.mjs';

const RUNS = 7;

function writeProject(dir) {
  writeFileSync(join(dir, 'wherry.yaml'), 'name: big\nhandler: handler.mjs:handler\nbase: scratch\n');
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'big', dependencies: { heavy: '1.0.0' } }));
  const heavy = join(dir, 'node_modules/heavy');
  mkdirSync(heavy, { recursive: true });
  writeFileSync(join(heavy, 'package.json'), JSON.stringify({ name: 'heavy', version: '1.0.0', main: 'index.js' }));
  writeFileSync(join(heavy, 'index.js'), 'module.exports = () => 1;\n');
  for (let file = 0; file < 500; file++)
    writeFileSync(join(heavy, `part-${file}.js`), `module.exports = '${randomBytes(10_240).toString('hex')}';\n`);
}

function writeCode(dir, n) {
  writeFileSync(join(dir, 'handler.mjs'), `import heavy from 'heavy';\nexport const handler = () => ${n} + heavy();\n`);
}

const server = await openServer();
const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-build-'));
try {
  writeProject(dir);
  writeCode(dir, 0);
  const timed = async (work) => {
    const at = performance.now();
    await work();
    return performance.now() - at;
  };
  const phasesOf = (command) => JSON.parse(server.cli(command, dir, '--json')).phases.reduce((sum, { ms }) => sum + ms, 0);
  console.log(
    `build: ${RUNS} runs, medians (spread); 10 MB of dependencies in 501 files; command = whole CLI process, work = its own phases`,
  );
  console.log(`first build          command ${(await timed(() => server.cli('build', dir))).toFixed(0)} ms (one run, nothing cached)`);
  console.log(`unchanged rebuild    command ${spread(await each(() => timed(() => server.cli('build', dir))))}`);
  server.cli('push', dir);
  let n = 1;
  const command = [];
  const work = [];
  const bundler = [];
  for (let run = 0; run < RUNS; run++) {
    writeCode(dir, n++);
    bundler.push(
      await timed(() =>
        bundle({
          entryPoints: [join(dir, 'handler.mjs')],
          bundle: true,
          packages: 'external',
          platform: 'node',
          format: 'esm',
          write: false,
        }),
      ),
    );
    command.push(await timed(() => work.push(phasesOf('push'))));
  }
  console.log(`code-only + push     command ${spread(command)}  work ${spread(work)}  bundler alone ${spread(bundler)}`);
  console.log(
    `  work above the bundler ${(median(work) - median(bundler)).toFixed(0)} ms (target: at most 150)  path: dependency and SDK layers cached, one blob pushed`,
  );
  async function each(job) {
    const times = [];
    for (let run = 0; run < RUNS; run++) times.push(await job());
    return times;
  }
} finally {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
}
