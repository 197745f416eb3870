// Warm /runsync (1 and 64 clients) and durable /run submits (64 clients) beside a bare node:http echo, same generator, payload, connections.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cpuMs } from '../processes.mjs';
import { call, median, openServer, pin, quantile, ROOT, spread, until } from '../stage.mjs';
import { fsyncMs, rowPerCommit } from './disk.mjs';

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

async function sideBySide(echo, ours, { runs, ...shape }) {
  const rows = { echo: [], ours: [] };
  for (let run = 0; run < runs; run++) {
    rows.echo.push(await load(echo, shape));
    rows.ours.push(await load(ours, shape));
  }
  return { rows, echo: (field) => rows.echo.map((row) => row[field]), ours: (field) => rows.ours.map((row) => row[field]) };
}

async function measureRunsync(echo, server, runs) {
  const { url, key, pid } = server;
  const runsync = { url: `${url}/v2/empty/runsync`, key, pid };
  await load(runsync, { clients: 1, count: 300 });
  await load(echo, { clients: 1, count: 300 });
  const one = await sideBySide(echo, runsync, { runs, clients: 1, count: 500 });
  const flush = fsyncMs(server.dataDir);
  const echoP50 = median(one.echo('p50'));
  const oursP50 = median(one.ours('p50'));
  console.log(
    `runsync, 1 client    echo p50 ${spread(one.echo('p50'))}  ours p50 ${spread(one.ours('p50'))}  p99 ${spread(one.ours('p99'))}`,
  );
  console.log(
    `  fsync of 4 KiB ${flush.toFixed(2)} ms × 2 on the path; ratio ${(oursP50 / echoP50).toFixed(2)}, without the flushes ${((oursP50 - 2 * flush) / echoP50).toFixed(2)} (target: at most 4.00)  path: warm worker`,
  );
  const many = await sideBySide(echo, runsync, { runs, clients: 64, count: 2000 });
  console.log(
    `runsync, 64 clients  echo ${spread(many.echo('perSecond'), '/s')}  ours ${spread(many.ours('perSecond'), '/s')}  one worker, concurrency 1`,
  );
}

async function measureRun(echo, server, runs) {
  const { url, key, pid } = server;
  const run = { url: `${url}/v2/parked/run`, key, pid };
  await load(run, { clients: 64, count: 2000 });
  const submits = await sideBySide(echo, run, { runs, clients: 64, count: 6000 });
  const ratio = median(submits.rows.ours.map((row, index) => row.perSecond / submits.rows.echo[index].perSecond));
  console.log(
    `durable run, 64      echo ${spread(submits.echo('perSecond'), '/s')}  ours ${spread(submits.ours('perSecond'), '/s')}  ratio ${ratio.toFixed(2)} (target: at least 0.40)`,
  );
  console.log(
    `  server CPU a request: echo ${median(submits.echo('cpuUs')).toFixed(0)} µs, ours ${median(submits.ours('cpuUs')).toFixed(0)} µs; one row per commit ${rowPerCommit(server.dataDir, body).toFixed(0)} rows/s`,
  );
}

function writeProject(dir, text) {
  writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => null;\n');
  writeFileSync(join(dir, 'wherry.yaml'), `handler: handler.mjs:handler\nbase: scratch\n${text}`);
}

/** `isQuick`: three runs instead of five. */
export async function measureWarm({ isQuick }) {
  const runs = isQuick ? 3 : 5;
  const server = await openServer();
  const echo = await openEcho();
  const project = mkdtempSync(join(tmpdir(), 'wherry-bench-project-'));
  try {
    console.log(
      `dispatch: ${runs} runs each, medians (spread); Node ${process.versions.node}; generator on core 0, echo/server on core 1: ${pin(0).length > 0}`,
    );
    console.log(
      'conditions: queue limit off for the parked endpoint; echo is one process without storage; ours is server + one worker process, every accept and every result flushed to disk',
    );
    writeProject(project, 'name: empty\nscale: { min: 1, max: 1, idle: 1h }\n');
    server.cli('deploy', project);
    await until(async () => (await call(`${server.url}/v2/empty/health`, server)).workers.idle === 1);
    await measureRunsync(echo, server, runs);
    writeProject(project, 'name: parked\nscale: { min: 0, max: 1 }\n');
    server.cli('deploy', project);
    await server.park('parked');
    await measureRun(echo, server, runs);
  } finally {
    echo.close();
    await server.close();
    rmSync(project, { recursive: true, force: true });
  }
}
