// From the commit of a job to the decision to start a worker for it, as each job's own timeline says: many endpoints without a worker, each asked once a round.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fsyncMs } from '../dispatch/disk.mjs';
import { call, openServer, quantile, until } from '../stage.mjs';

const ENDPOINTS = 20;
const ROUNDS = 10;

async function makeEndpoints({ url, key, cli }, dir) {
  const scale = { min: 0, max: 1, idleMs: 100, keep: 'none' };
  writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => null;\n');
  writeFileSync(
    join(dir, 'wherry.yaml'),
    'name: decide-0\nhandler: handler.mjs:handler\nbase: scratch\nscale: { max: 1, idle: 100ms, keep: none }\n',
  );
  cli('deploy', dir);
  const post = (path, body) => call(`${url}/api/v1/endpoints${path}`, { key, method: 'POST', body: JSON.stringify(body) });
  for (let n = 1; n < ENDPOINTS; n++) {
    await post('', { id: `decide-${n}`, settings: { scale } });
    await post(`/decide-${n}/releases`, { from: { endpointId: 'decide-0', number: 1 } });
    await call(`${url}/api/v1/endpoints/decide-${n}/rollouts/1?waitMs=30000`, { key });
  }
}

/** Milliseconds until the decision; undefined when a worker was there already. */
async function decide(n, { url, key }) {
  await until(async () => (await call(`${url}/api/v1/endpoints/decide-${n}/workers`, { key })).items.length === 0);
  const job = await call(`${url}/v2/decide-${n}/runsync`, { key, method: 'POST', body: '{"input":null}' });
  if (job.status !== 'COMPLETED') throw new Error(`decide: ${JSON.stringify(job)}`);
  return job.timeline?.decide;
}

function report(title, values, flushMs) {
  const shown = [0.5, 0.99].map((share) => `p${share * 100} ${quantile(values, share)} ms`).join('  ');
  console.log(
    `${title.padEnd(24)} ${shown}  most ${Math.max(...values)} ms  (${values.length} cold jobs; target: p99 at most 20 ms); the job's own flush, which is part of it, takes ${flushMs.toFixed(1)} ms`,
  );
}

export async function measureDecide() {
  const server = await openServer();
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-decide-'));
  try {
    await makeEndpoints(server, dir);
    const all = Array.from({ length: ENDPOINTS }, (_, n) => n);
    const known = (values) => values.filter((value) => value !== undefined);
    const single = [];
    for (let round = 0; round < ROUNDS; round++) for (const n of all) single.push(await decide(n, server));
    report('decide, one at a time', known(single), fsyncMs(server.dataDir));
    const together = [];
    for (let round = 0; round < ROUNDS; round++) together.push(...(await Promise.all(all.map((n) => decide(n, server)))));
    report(`decide, ${ENDPOINTS} at once`, known(together), fsyncMs(server.dataDir));
  } finally {
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
