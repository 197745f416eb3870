// Warm /runsync (1 and 64 clients) and durable /run submits (64 clients) beside a bare node:http echo, same generator, payload, connections.
import { spawn } from 'node:child_process';
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { Agent } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { call, cpuMs, median, openServer, pin, quantile, ROOT, spread, until } from './stage.mjs';

const RUNS = 5;
const body = JSON.stringify({ input: { text: 'x'.repeat(180) } });

async function openEcho() {
  const [command, ...args] = [...pin(1), process.execPath, join(ROOT, 'bench/echo.mjs')];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise((resolve) => child.stdout.once('data', (text) => resolve(String(text).trim())));
  return { url: `http://127.0.0.1:${port}/`, pid: child.pid, close: () => child.kill() };
}

/** Keeps `clients` requests under way until `count` were answered; gives latencies (ms), requests a second and server CPU µs a request. */
async function load({ url, key, pid }, { clients, count }) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const latencies = [];
  let left = count;
  const cpu = cpuMs(pid);
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (left-- > 0) {
        const sentAt = performance.now();
        await call(url, { key, method: 'POST', body, agent });
        latencies.push(performance.now() - sentAt);
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  agent.destroy();
  return { p50: median(latencies), p99: quantile(latencies, 0.99), perSecond: count / seconds, cpuUs: ((cpuMs(pid) - cpu) * 1000) / count };
}

async function sideBySide(echo, ours, shape) {
  const rows = [];
  for (let run = 0; run < RUNS; run++) rows.push({ echo: await load(echo, shape), ours: await load(ours, shape) });
  return rows;
}

function fsyncMs(dir) {
  const file = openSync(join(dir, 'fsync-probe'), 'w');
  const times = Array.from({ length: 50 }, () => {
    writeSync(file, Buffer.alloc(4096));
    const at = performance.now();
    fsyncSync(file);
    return performance.now() - at;
  });
  closeSync(file);
  return median(times);
}

/** One row per commit with fsync, on the same disk: what grouping saves. */
function rowPerCommit(dir) {
  const sqlite = (() => {
    try {
      return createRequire(import.meta.url)('node:sqlite');
    } catch {
      return createRequire(import.meta.url)('@photostructure/sqlite');
    }
  })();
  const db = new sqlite.DatabaseSync(join(dir, 'rows.db'));
  db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE job (id INTEGER PRIMARY KEY, input TEXT)');
  const insert = db.prepare('INSERT INTO job (input) VALUES (?)');
  const at = performance.now();
  for (let row = 0; row < 1000; row++) insert.run(body);
  const perSecond = 1000 / ((performance.now() - at) / 1000);
  db.close();
  return perSecond;
}

const server = await openServer();
const echo = await openEcho();
const project = mkdtempSync(join(tmpdir(), 'wherry-bench-project-'));
try {
  mkdirSync(project, { recursive: true });
  writeFileSync(join(project, 'handler.mjs'), 'export const handler = () => null;\n');
  writeFileSync(
    join(project, 'wherry.yaml'),
    'name: empty\nhandler: handler.mjs:handler\nbase: scratch\nscale: { min: 1, max: 1, idle: 1h }\n',
  );
  server.cli('deploy', project);
  const { url, key, pid } = server;
  await until(async () => (await call(`${url}/v2/empty/health`, { key })).workers.idle === 1);
  const runsync = { url: `${url}/v2/empty/runsync`, key, pid };
  await load(runsync, { clients: 1, count: 300 });
  await load(echo, { clients: 1, count: 300 });

  console.log(
    `dispatch: ${RUNS} runs each, medians (spread); Node ${process.versions.node}; generator and echo/server pinned: ${pin(0).length > 0}`,
  );
  console.log(
    'conditions: queue limit off for the parked endpoint; echo is one process without storage; ours is server + one worker process, every accept and every result flushed to disk',
  );
  const one = await sideBySide(echo, runsync, { clients: 1, count: 500 });
  const flush = fsyncMs(server.dataDir);
  const echoP50 = median(one.map(({ echo: { p50 } }) => p50));
  const oursP50 = median(one.map(({ ours: { p50 } }) => p50));
  console.log(
    `runsync, 1 client    echo p50 ${spread(one.map(({ echo: e }) => e.p50))}  ours p50 ${spread(one.map(({ ours: o }) => o.p50))}  p99 ${spread(one.map(({ ours: o }) => o.p99))}`,
  );
  console.log(
    `  fsync of 4 KiB ${flush.toFixed(2)} ms × 2 on the path; ratio ${(oursP50 / echoP50).toFixed(2)}, without the flushes ${((oursP50 - 2 * flush) / echoP50).toFixed(2)} (target: at most 4.00)  path: warm worker`,
  );
  const many = await sideBySide(echo, runsync, { clients: 64, count: 2000 });
  console.log(
    `runsync, 64 clients  echo ${spread(
      many.map(({ echo: e }) => e.perSecond),
      '/s',
    )}  ours ${spread(
      many.map(({ ours: o }) => o.perSecond),
      '/s',
    )}  one worker, concurrency 1`,
  );

  writeFileSync(join(project, 'wherry.yaml'), 'name: parked\nhandler: handler.mjs:handler\nbase: scratch\nscale: { min: 0, max: 1 }\n');
  server.cli('deploy', project);
  await call(`${url}/api/v1/endpoints/parked`, {
    key,
    method: 'PATCH',
    body: JSON.stringify({ settings: { scale: { max: 0 }, limits: { queueJobs: 0 } } }),
  });
  const run = { url: `${url}/v2/parked/run`, key, pid };
  await load(run, { clients: 64, count: 2000 });
  const submits = await sideBySide(echo, run, { clients: 64, count: 6000 });
  const ratio = median(submits.map((row) => row.ours.perSecond / row.echo.perSecond));
  console.log(
    `durable run, 64      echo ${spread(
      submits.map(({ echo: e }) => e.perSecond),
      '/s',
    )}  ours ${spread(
      submits.map(({ ours: o }) => o.perSecond),
      '/s',
    )}  ratio ${ratio.toFixed(2)} (target: at least 0.40)`,
  );
  console.log(
    `  server CPU a request: echo ${median(submits.map(({ echo: e }) => e.cpuUs)).toFixed(0)} µs, ours ${median(submits.map(({ ours: o }) => o.cpuUs)).toFixed(0)} µs; one row per commit ${rowPerCommit(server.dataDir).toFixed(0)} rows/s`,
  );
} finally {
  echo.close();
  await server.close();
  rmSync(project, { recursive: true, force: true });
}
