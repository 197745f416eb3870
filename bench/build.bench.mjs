// `npm run bench -- build [--runs=N] [--model-mib=N] [--only=python,node,model]`: first build and push, change of the code, no change,
// peak memory and size of the image, beside `docker build` and `docker push` of an equivalent Dockerfile, turn by turn in one run.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openEngine, pushNodeBase, pushPythonBase } from './build/engine.mjs';
import { makeWheels, modelProject, nodeProject, pythonProject } from './build/projects.mjs';
import { call, median, openServer, ROOT, spread } from './stage.mjs';

const { values: flags } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    'model-mib': { type: 'string', default: '500' },
    only: { type: 'string', default: 'python,node,model' },
  },
});
const RUNS = Number(flags.runs);
const MAIN = join(ROOT, 'dist/main.js');
/** The peak that the process held, which is not what its parent held at the fork. */
const PEAK = `import { readFileSync, writeFileSync } from 'node:fs';
process.on('exit', () => writeFileSync(process.env.PEAK_FILE, /VmHWM:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]));\n`;

if (spawnSync('sh', ['-c', 'command -v dockerd']).status !== 0) {
  console.error("build: needs a Docker Engine ('dockerd'; Debian: docker.io) to measure beside");
  process.exit(1);
}
const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-build-'));
const server = await openServer({ isPinned: false });
const host = new URL(server.url).host;
const engine = await openEngine();
engine.logIn({ host, key: server.key });
try {
  writeFileSync(join(dir, 'peak.mjs'), PEAK);
  const wheels = join(dir, 'wheels');
  makeWheels(wheels);
  const bases = { python: `${host}/python-base:1`, node: `${host}/node-base:1` };
  const version = pushPythonBase(engine, { reference: bases.python, wheels });
  pushNodeBase(engine, { reference: bases.node });
  const makers = {
    python: (place) => pythonProject(place, { base: bases.python, version }),
    node: (place) => nodeProject(place, { base: bases.node, scratch: join(dir, 'scratch') }),
    model: (place) => modelProject(place, { base: bases.python, version, modelMib: Number(flags['model-mib']) }),
  };
  const env = { ...process.env, DOCKER_CONFIG: engine.config, PIP_NO_INDEX: '1', PIP_FIND_LINKS: wheels };
  const wherry = (words, more = {}) => {
    const imports = more.PEAK_FILE ? ['--import', join(dir, 'peak.mjs')] : [];
    return execFileSync(process.execPath, [...imports, MAIN, ...words], {
      env: { ...env, ...more },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  };
  const start = each(() => timed(() => wherry(['--version'])));
  console.log(
    `build: beside Docker Engine ${engine.version} with BuildKit, the same registry; whole commands, ${RUNS} runs, medians (spread)`,
  );
  console.log(`process start        ${spread(start)}`);
  for (const name of flags.only.split(',')) await measure(name, makers[name](join(dir, name)), median(start), wherry);
} finally {
  await engine.close();
  await server.close();
  rmSync(dir, { recursive: true, force: true });
}

async function measure(name, project, startMs, wherry) {
  const target = `${host}/bench-${name}:1`;
  const peerTarget = `${host}/peer-${name}:1`;
  const data = ['--data', server.dataDir];
  const peakFile = join(dir, `${name}.peak`);
  const push = (more) => wherry(['push', project.dir, '--to', target, '--json', ...data], more);
  const peerBuild = () =>
    engine.docker('build', '--quiet', '--network', 'none', '-f', join(project.dir, 'peer.Dockerfile'), '-t', peerTarget, project.dir);
  const peerPush = () => {
    peerBuild();
    engine.docker('push', '--quiet', peerTarget);
  };
  const peak = () => Number(readFileSync(peakFile, 'utf8')) / 1024;
  console.log(`\n${name}`);
  const first = timed(() => push({ PEAK_FILE: peakFile }));
  const firstPeak = peak();
  const peerFirst = timed(peerPush);
  console.log(
    `first build + push   ${first.toFixed(0)} ms  docker ${peerFirst.toFixed(0)} ms  ×${(peerFirst / first).toFixed(1)} (one run, nothing cached but the base)`,
  );
  const ours = [];
  const theirs = [];
  let pushed;
  for (let run = 0; run < RUNS; run++) {
    project.write(`change ${run}`);
    ours.push(timed(() => (pushed = JSON.parse(push()))));
    theirs.push(timed(peerPush));
  }
  console.log(
    `code change + push   ${spread(ours)}  docker ${spread(theirs)}  ×${(median(theirs) / median(ours)).toFixed(1)} (target: at least 10)  path: ${pushed.uploaded} blobs sent, ${pushed.skipped} there`,
  );
  const phases = pushed.phases.map((phase) => `${phase.name} ${phase.ms.toFixed(0)}`).join(' · ');
  console.log(`  phases of the last  ${phases} ms`);
  const idle = each(() => timed(() => wherry(['build', project.dir, ...data])));
  const peerIdle = each(() => timed(peerBuild));
  console.log(
    `no change            ${spread(idle)}  above process start ${(median(idle) - startMs).toFixed(0)} ms (target: below 150)  docker ${spread(peerIdle)}`,
  );
  project.write('last');
  push({ PEAK_FILE: peakFile });
  const sizes = await Promise.all([sizeOf(`bench-${name}`), sizeOf(`peer-${name}`)]);
  console.log(`peak memory          first ${firstPeak.toFixed(0)} MiB  code change ${peak().toFixed(0)} MiB (target: below 200)`);
  console.log(`image                ${sizes[0]} bytes compressed  docker ${sizes[1]} bytes`);
}

/** Bytes of config and layers, as the registry has them. */
async function sizeOf(repository) {
  const { config, layers } = await call(`${server.url}/v2/${repository}/manifests/1`, { key: `Bearer ${server.key}` });
  return [config, ...layers].reduce((sum, { size }) => sum + size, 0);
}

function timed(work) {
  const at = performance.now();
  work();
  return performance.now() - at;
}

function each(work) {
  return Array.from({ length: RUNS }, work);
}
