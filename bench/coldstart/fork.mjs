// From zero, Python: a forked worker beside a bare fork server, a spawned one beside a bare interpreter. Each child connects, GETs once and POSTs once.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { call, median, openServer, quantile, spread, until } from '../stage.mjs';

const RUNS = 41;
const QUICK_RUNS = 11;
const READY_ABOVE_FLOOR_MS = 30;
const SPAWN_RATIO = 1.5;

/** Like what a worker imports, which is what a fork server spares it. */
const IMPORTS = 'import http.client, json, os, random, signal, sys, threading, time, urllib.parse';
const TALK = `
def talk(port):
    c = http.client.HTTPConnection('127.0.0.1', port)
    c.request('GET', '/take'); json.loads(c.getresponse().read() or b'{}')
    c.request('POST', '/done', json.dumps({'output': None})); c.getresponse().read()
`;
const BARE = `${IMPORTS}\n${TALK}\ntalk(int(sys.argv[1]))\n`;
const BARE_FORKS = `${IMPORTS}\n${TALK}
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        talk(int(sys.argv[1]))
        os._exit(0)
    os.waitpid(pid, 0)
`;
/** The worker ends after its job: every job starts from zero. */
const HANDLER = 'import http.client, json\n\ndef handler(job):\n    return {"refresh_worker": True, "value": 1}\n';

export async function measureForks({ isQuick = false } = {}) {
  if (process.platform !== 'linux') return console.log('fork: only Linux has fork servers');
  const python = spawnSync('python3', ['-c', 'import sys; print(sys.executable); sys.exit(sys.version_info < (3, 9))'], {
    encoding: 'utf8',
  });
  if (python.status !== 0) return console.log('fork: no Python from 3.9 here');
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-fork-'));
  const opened = [];
  const open = async (thing) => {
    opened.push(await thing);
    return opened.at(-1);
  };
  try {
    const stub = await open(openStub());
    const peers = await open(openPeers(python.stdout.trim(), { dir, port: stub.port }));
    const forks = await open(openSide('fork', dir));
    const spawns = await open(openSide('spawn', dir));
    // The first start makes the fork server; it is ready when a worker was forked.
    await until(async () => (await forks.start()).path === 'fork');
    const rows = [];
    for (let run = 0; run < (isQuick ? QUICK_RUNS : RUNS); run++) {
      rows.push({
        floor: await stub.time(peers.fork),
        fork: await forks.start(),
        bare: await stub.time(peers.spawn),
        spawn: await spawns.start(),
      });
    }
    report(rows);
  } finally {
    for (const { close } of opened.reverse()) await close();
    rmSync(dir, { recursive: true, force: true });
  }
}

function report(rows) {
  for (const way of ['fork', 'spawn']) {
    const others = rows.map((row) => row[way].path).filter((path) => path !== way);
    if (others.length > 0) throw new Error(`coldstart: ${others.length} of ${rows.length} runs were served by ${others[0]}, not by ${way}`);
  }
  const of = (pick) => rows.map(pick);
  const [floor, bare] = [of((row) => row.floor), of((row) => row.bare)];
  const [ready, total] = [of((row) => row.fork.ready), of((row) => row.spawn.ms)];
  const above = quantile(ready, 0.95) - quantile(floor, 0.95);
  const ratio = median(total) / median(bare);
  console.log(
    `coldstart, Python: ${rows.length} runs each in turn, medians (spread); every run served by its own path: fork, spawn; nothing pinned`,
  );
  console.log(
    `fork    floor ${spread(floor)}, a bare fork server's child until its POST is answered; p95 ${quantile(floor, 0.95).toFixed(1)} ms`,
  );
  console.log(`        ours  ${spread(ready)} from the submission to a ready worker; p95 ${quantile(ready, 0.95).toFixed(1)} ms`);
  console.log(`        ours  ${spread(of((row) => row.fork.ms))} from the submission to the answer`);
  console.log(`        p95 until ready less that of the floor: ${above.toFixed(1)} ms (target: at most ${READY_ABOVE_FLOOR_MS})`);
  console.log(`spawn   bare  ${spread(bare)}, an interpreter with the same imports until its POST is answered`);
  console.log(
    `        ours  ${spread(total)} from the submission to the answer; ratio ${ratio.toFixed(2)} (target: at most ${SPAWN_RATIO.toFixed(2)})`,
  );
}

/** One server whose endpoint forks, or spawns, a worker for each job. */
async function openSide(way, dir) {
  const project = join(dir, way);
  mkdirSync(project);
  writeFileSync(join(project, 'handler.py'), HANDLER);
  writeFileSync(join(project, 'wherry.yaml'), `name: ${way}\nhandler: handler.py:handler\nbase: scratch\nscale: { keep: none }\n`);
  const server = await openServer({ isPinned: false, environment: { WHERRY_FORK_SERVER: way === 'fork' ? 'on' : 'off' } });
  const { url, key } = server;
  server.cli('deploy', project);
  const start = async () => {
    await until(async () => (await call(`${url}/api/v1/endpoints/${way}/workers`, { key })).items.length === 0);
    const startedAt = performance.now();
    const job = await call(`${url}/v2/${way}/runsync`, { key, method: 'POST', body: '{"input":null}' });
    const ms = performance.now() - startedAt;
    const { status, timeline } = await call(`${url}/v2/${way}/status/${job.id}`, { key });
    if (status !== 'COMPLETED') throw new Error(`coldstart: ${JSON.stringify(job)}`);
    return { ms, path: timeline?.path, ready: timeline?.ready };
  };
  return { start, close: server.close };
}

/** Takes a child's GET and its POST; `time` says how long after `begin` the POST was answered. */
async function openStub() {
  let onDone = () => {};
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      response.end('{}');
      if (request.url === '/done') onDone();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const time = async (begin) => {
    const done = new Promise((resolve) => {
      onDone = resolve;
    });
    const startedAt = performance.now();
    const over = begin();
    await done;
    const ms = performance.now() - startedAt;
    await over;
    return ms;
  };
  return { port: server.address().port, time, close: () => server.close() };
}

function openPeers(interpreter, { dir, port }) {
  const [bare, forks] = [join(dir, 'bare.py'), join(dir, 'forks.py')];
  writeFileSync(bare, BARE);
  writeFileSync(forks, BARE_FORKS);
  const server = spawn(interpreter, ['-u', forks, String(port)], { stdio: ['pipe', 'inherit', 'inherit'] });
  return {
    fork: () => server.stdin.write('\n'),
    spawn: () => {
      const child = spawn(interpreter, ['-u', bare, String(port)], { stdio: ['ignore', 'inherit', 'inherit'] });
      return new Promise((resolve) => child.once('exit', resolve));
    },
    close: () => {
      server.stdin.end();
      return new Promise((resolve) => server.once('exit', resolve));
    },
  };
}
