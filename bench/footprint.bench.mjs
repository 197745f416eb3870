// What the server costs when nothing happens, and how much memory 100,000 queued jobs take.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { findProcesses, rssMb, sumCpuMs } from './processes.mjs';
import { call, openServer, until } from './stage.mjs';

const IDLE_S = 30;
const JOBS = 100_000;
const CLIENTS = 64;
const body = JSON.stringify({ input: { text: 'x'.repeat(180) } });

/** CPU share of the server and of all it started, over IDLE_S seconds in which nobody asks for anything. */
async function measureIdle({ pid, dataDir }) {
  const others = findProcesses(dataDir).filter((other) => other !== pid);
  const before = { server: sumCpuMs([pid]), others: sumCpuMs(others) };
  await delay(IDLE_S * 1000);
  const share = (cpu) => `${((cpu / (IDLE_S * 1000)) * 100).toFixed(3)} %`;
  const used = { server: sumCpuMs([pid]) - before.server, others: sumCpuMs(others) - before.others };
  console.log(
    `idle, one endpoint, no worker   server ${share(used.server)} of a core over ${IDLE_S} s (target: below 0.5 %)  supervisor ${share(used.others)} (${others.length} process)  RSS ${rssMb(pid).toFixed(0)} MB`,
  );
}

async function measureQueued({ url, key, pid }) {
  const before = rssMb(pid);
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  let left = JOBS;
  let peak = before;
  const startedAt = performance.now();
  const submit = async () => {
    while (left-- > 0) {
      await call(`${url}/v2/parked/run`, { key, method: 'POST', body, agent });
      if (left % 1_000 === 0) peak = Math.max(peak, rssMb(pid));
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, submit));
  agent.destroy();
  const seconds = (performance.now() - startedAt) / 1000;
  const { jobs } = await call(`${url}/v2/parked/health`, { key });
  console.log(
    `${jobs.inQueue} queued jobs, 200 bytes   RSS ${rssMb(pid).toFixed(0)} MB, at most ${peak.toFixed(0)} MB while they came (target: below 300 MB), ${before.toFixed(0)} MB before  submitted in ${seconds.toFixed(0)} s by ${CLIENTS} clients`,
  );
}

const server = await openServer();
const project = mkdtempSync(join(tmpdir(), 'wherry-bench-project-'));
try {
  console.log('footprint: one run; memory is VmRSS in 10^6 bytes');
  writeFileSync(join(project, 'handler.mjs'), 'export const handler = () => null;\n');
  writeFileSync(
    join(project, 'wherry.yaml'),
    'name: parked\nhandler: handler.mjs:handler\nbase: scratch\nscale: { min: 0, max: 1, idle: 1s, keep: none }\n',
  );
  server.cli('deploy', project);
  await until(async () => (await call(`${server.url}/api/v1/endpoints/parked/workers`, server)).items.length === 0);
  await measureIdle(server);
  await server.park('parked');
  await measureQueued(server);
} finally {
  await server.close();
  rmSync(project, { recursive: true, force: true });
}
