// End to end: submit, run by a worker process, answer to a waiting client; beside the same front over BullMQ and Redis.
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensurePeer, openPeer } from '../peer/open.mjs';
import { sumCpuMs } from '../processes.mjs';
import { call, median, openServer, pin, quantile, spread } from '../stage.mjs';
import { createOurs, createPeerSide } from './sides.mjs';

const WORKERS = [1, 4, 16];
/** Jobs a run, by number of clients. */
const CLIENTS = { 1: 400, 8: 1_500, 64: 3_000 };
const QUICK_CELLS = ['1/1', '8/4', '64/16'];
const body = JSON.stringify({ input: { text: 'x'.repeat(180) } });

/** Each client submits a job, then holds one wait for its end, and starts again. Latencies (ms) cover both requests. */
async function load(side, { clients, jobs }) {
  const { url, key } = side.target();
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const { server, workers } = side.pids();
  const before = { server: sumCpuMs(server), workers: sumCpuMs(workers) };
  const latencies = [];
  let left = jobs;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (left-- > 0) {
        const sentAt = performance.now();
        const { id } = await call(`${url}/run`, { key, method: 'POST', body, agent });
        const job = await call(`${url}/status-sync/${id}`, { key, agent });
        if (job.status !== 'COMPLETED') throw new Error(`bench: ${side.name}: ${JSON.stringify(job)}`);
        latencies.push(performance.now() - sentAt);
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  agent.destroy();
  return {
    perSecond: jobs / seconds,
    p50: median(latencies),
    p95: quantile(latencies, 0.95),
    p99: quantile(latencies, 0.99),
    serverUs: ((sumCpuMs(server) - before.server) * 1000) / jobs,
    workersUs: ((sumCpuMs(workers) - before.workers) * 1000) / jobs,
  };
}

/** Jobs for each fresh worker process before it counts: for the first thousand or two, compiling is what would be measured. */
const WARM_UP_JOBS = 2_000;

/** The same for both sides: the peer's processes serve both flush policies, so they are warmed once, with the faster. */
async function warmUp(ours, everysec, workers) {
  for (const side of [ours, everysec]) {
    side.prepare();
    await load(side, { clients: 64, jobs: WARM_UP_JOBS * workers });
  }
}

/** Runs of each side in turn, so that a slow moment of the machine meets all of them. */
async function interleave(sides, shape, runs) {
  const rows = new Map(sides.map((side) => [side, []]));
  for (let run = 0; run < runs; run++) {
    for (const side of sides) {
      side.prepare();
      rows.get(side).push(await load(side, shape));
    }
  }
  return rows;
}

function print(cell, rows) {
  const column = (side, field) => rows.get(side).map((row) => row[field]);
  for (const side of rows.keys()) {
    const [p50, p95, p99] = ['p50', 'p95', 'p99'].map((field) => column(side, field));
    const cpu = `CPU a job: server ${median(column(side, 'serverUs')).toFixed(0)} + workers ${median(column(side, 'workersUs')).toFixed(0)} µs`;
    console.log(
      `${cell}  ${side.name.padEnd(15)} ${spread(column(side, 'perSecond'), '/s', 0)}  p50 ${spread(p50, '')}  p95 ${spread(p95, '')}  p99 ${spread(p99)}  ${cpu}`,
    );
  }
  const [ours, always] = [...rows.keys()];
  const rate = judge(column(ours, 'perSecond'), column(always, 'perSecond'));
  const tail = judge(
    column(always, 'p99').map((ms) => 1 / ms),
    column(ours, 'p99').map((ms) => 1 / ms),
  );
  console.log(`${cell}  ours to bullmq always: jobs/s × ${rate} (target: at least 1.00), p99 × ${tail} (target: at most 1.00)`);
}

/** Ratio of the medians, and whether it stands outside the spread of both. */
function judge(left, right) {
  const isApart = Math.min(...left) > Math.max(...right) || Math.max(...left) < Math.min(...right);
  return `${(median(left) / median(right)).toFixed(2)}${isApart ? '' : ' within the spread'}`;
}

function printConditions(sides, runs) {
  console.log(
    `queue: ${runs} runs each, in turn, medians (spread); each client submits, then holds one /status-sync; latency covers both; times in ms`,
  );
  console.log(
    `conditions: one worker process a worker on both sides, one job at a time, handler returns null, input of 200 bytes; results kept; ${WARM_UP_JOBS} jobs a worker before; client on core 0, everything else of both sides on core 1: ${pin(0).length > 0}`,
  );
  console.log('  ours checks a key, a worker token, limits and the job state; the peer has a bare front without keys');
  for (const { name, durability } of sides) console.log(`  ${name}: ${durability}`);
}

/** `isQuick`: three cells with three runs each instead of nine with five. Needs redis-server and the network once, for BullMQ. */
export async function measureQueue({ isQuick }) {
  ensurePeer();
  const runs = isQuick ? 3 : 5;
  const peer = await openPeer();
  const server = await openServer();
  const project = mkdtempSync(join(tmpdir(), 'wherry-bench-project-'));
  const ours = createOurs(server, project);
  const everysec = createPeerSide(peer, 'everysec');
  const sides = [ours, createPeerSide(peer, 'always'), everysec];
  try {
    printConditions(sides, runs);
    for (const workers of WORKERS) {
      const cells = Object.entries(CLIENTS).filter(([clients]) => !isQuick || QUICK_CELLS.includes(`${clients}/${workers}`));
      if (cells.length === 0) continue;
      await Promise.all([ours.setWorkers(workers), peer.setWorkers(workers)]);
      await warmUp(ours, everysec, workers);
      for (const [clients, jobs] of cells) {
        const rows = await interleave(sides, { clients: Number(clients), jobs }, runs);
        print(`${clients.padStart(2)} clients, ${String(workers).padStart(2)} workers`, rows);
      }
      console.log(`  path: ${await ours.warmWorkers()} of ${workers} workers warm before and after; none was started`);
    }
  } finally {
    await server.close();
    await peer.close();
    rmSync(project, { recursive: true, force: true });
  }
}
