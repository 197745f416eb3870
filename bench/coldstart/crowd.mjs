// From no worker to fifty that work, and what the server costs while they are idle.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sumCpuMs } from '../processes.mjs';
import { call, openServer, until } from '../stage.mjs';

const WORKERS = 50;
const IDLE_S = 30;
/** Jobs last until there are as many workers as jobs. */
const HANDLER = 'export const handler = ({ input }) => new Promise((done) => setTimeout(done, input.ms));\n';
const LONG_MS = 120_000;

async function grow({ url, key }) {
  const at = `${url}/v2/crowd`;
  const body = JSON.stringify({ input: { ms: LONG_MS } });
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: WORKERS }, () => call(`${at}/run`, { key, method: 'POST', body })));
  const submittedMs = performance.now() - startedAt;
  let firstMs;
  await until(async () => {
    const { running } = (await call(`${at}/health`, { key })).workers;
    if (running > 0) firstMs ??= performance.now() - startedAt;
    return running === WORKERS;
  }, 300_000);
  return { submittedMs, firstMs, allMs: performance.now() - startedAt };
}

/** Every worker has nothing to do and stays. */
async function calm({ url, key }) {
  const { items } = await call(`${url}/api/v1/endpoints/crowd/jobs?limit=1000`, { key });
  const scale = { min: WORKERS, idleMs: 3_600_000 };
  await call(`${url}/api/v1/endpoints/crowd`, { key, method: 'PATCH', body: JSON.stringify({ settings: { scale } }) });
  for (const { id, status } of items) if (status === 'IN_PROGRESS') await call(`${url}/v2/crowd/cancel/${id}`, { key, method: 'POST' });
  await until(async () => (await call(`${url}/v2/crowd/health`, { key })).workers.idle === WORKERS, 120_000);
  await delay(3_000);
}

export async function measureCrowd() {
  const server = await openServer({ isPinned: false });
  await measureCrowdOn(server, { runtime: 'process', base: 'scratch' }).finally(() => server.close());
}

/** `base` holds Node where the runtime needs it to. */
export async function measureCrowdOn(server, { runtime, base }) {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-crowd-'));
  try {
    writeFileSync(join(dir, 'handler.mjs'), HANDLER);
    const scale = `scale: { max: ${WORKERS}, idle: 10s, type: requestCount, value: 1, keep: none }`;
    writeFileSync(join(dir, 'wherry.yaml'), `name: crowd\nhandler: handler.mjs:handler\nbase: ${base}\nruntime: ${runtime}\n${scale}\n`);
    server.cli('deploy', dir);
    await until(async () => (await call(`${server.url}/api/v1/endpoints/crowd/workers`, server)).items.length === 0);
    const { host } = await call(`${server.url}/api/v1/status`, server);
    const { submittedMs, firstMs, allMs } = await grow(server);
    const rate = (WORKERS - 1) / ((allMs - firstMs) / 1_000);
    console.log(
      `crowd, ${runtime}: 0 to ${WORKERS} workers in ${(allMs / 1_000).toFixed(1)} s (submitted in ${submittedMs.toFixed(0)} ms, the first after ${(firstMs / 1_000).toFixed(2)} s, then ${rate.toFixed(1)} a second; at most ${host.startLimit} start at once; one run)`,
    );
    await calm(server);
    const before = sumCpuMs([server.pid]);
    await delay(IDLE_S * 1_000);
    const share = ((sumCpuMs([server.pid]) - before) / (IDLE_S * 1_000)) * 100;
    console.log(`crowd, ${runtime}: ${WORKERS} idle workers   server ${share.toFixed(2)} % of a core over ${IDLE_S} s (target: below 2 %)`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
