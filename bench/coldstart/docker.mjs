// Containers: from zero beside `docker run`, thaw beside unpause, from no worker to fifty. An engine of its own, the image is there.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openEngine, pushNodeBase } from '../build/engine.mjs';
import { call, median, openServer, quantile, spread, until } from '../stage.mjs';
import { measureCrowdOn } from './crowd.mjs';

const ZERO_RUNS = 11;
const THAW_RUNS = 30;
const HANDLER = 'export const handler = () => null;\n';

/** An engine, a server whose workers are its containers, and a base of this machine's Node. */
async function openSite() {
  const engine = await openEngine();
  const server = await openServer({
    isPinned: false,
    environment: { WHERRY_RUNTIME: 'docker,process', WHERRY_DOCKER_HOST: engine.address },
  });
  const { host } = new URL(server.url);
  engine.logIn({ host, key: server.key });
  // The CLI reads the base with the same credentials.
  process.env.DOCKER_CONFIG = engine.config;
  const base = `${host}/node-base:1`;
  pushNodeBase(engine, { reference: base });
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-docker-'));
  const deploy = (name, scale) => {
    writeFileSync(join(dir, 'handler.mjs'), HANDLER);
    writeFileSync(join(dir, 'wherry.yaml'), `name: ${name}\nhandler: handler.mjs:handler\nbase: ${base}\nruntime: docker\n${scale}\n`);
    return JSON.parse(server.cli('deploy', dir, '--json')).digest;
  };
  const close = async () => {
    await server.close();
    await engine.close();
    rmSync(dir, { recursive: true, force: true });
  };
  return { engine, server, host, base, deploy, close };
}

const workersOf = async (name, { url, key }) => (await call(`${url}/api/v1/endpoints/${name}/workers`, { key })).items;

/** Milliseconds from a request with no worker until its worker took it. */
async function zeroOurs(name, server) {
  await until(async () => (await workersOf(name, server)).length === 0);
  await delay(500);
  const job = await call(`${server.url}/v2/${name}/runsync`, { key: server.key, method: 'POST', body: '{"input":null}' });
  if (job.timeline?.path !== 'create') throw new Error(`coldstart: ${JSON.stringify(job)}`);
  return job.timeline.take;
}

/** Milliseconds of `docker run` of the same image until its first request reaches a stub, in a network of the same kind. */
async function openZeroPeer({ docker, config, address }, image) {
  docker('network', 'create', 'peer');
  const gateway = docker('network', 'inspect', '--format', '{{(index .IPAM.Config 0).Gateway}}', 'peer').trim();
  let onRequest = () => {};
  const stub = createServer((incoming, answer) => {
    onRequest();
    incoming.resume();
    // A long poll that finds nothing.
    setTimeout(() => answer.writeHead(204).end(), 1_000);
  });
  await new Promise((resolve) => stub.listen(0, gateway, resolve));
  const base = `http://${gateway}:${stub.address().port}`;
  const variables = {
    RUNPOD_WEBHOOK_GET_JOB: `${base}/take/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/done/$RUNPOD_POD_ID/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=CPU`,
    RUNPOD_POD_ID: 'peer',
    RUNPOD_AI_API_KEY: 'none',
  };
  const flags = Object.entries(variables).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  const trip = async () => {
    const reached = new Promise((resolve) => {
      onRequest = resolve;
    });
    const startedAt = performance.now();
    const child = spawn(
      'docker',
      ['-H', address, '--config', config, 'run', '--rm', '--name', 'peer', '--network', 'peer', ...flags, image],
      {
        stdio: 'ignore',
      },
    );
    await reached;
    const ms = performance.now() - startedAt;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    docker('rm', '--force', 'peer');
    await ended;
    return ms;
  };
  const close = () => {
    stub.closeAllConnections();
    stub.close();
    docker('network', 'rm', 'peer');
  };
  return { trip, close };
}

async function measureZeroOn({ engine, server, host, deploy }) {
  const digest = deploy('zero', 'scale: { max: 1, idle: 1s, keep: none }');
  const peer = await openZeroPeer(engine, `${host}/zero@${digest}`);
  try {
    const rows = [];
    for (let run = 0; run < ZERO_RUNS; run++) rows.push({ ours: await zeroOurs('zero', server), peer: await peer.trip() });
    const [ours, peers] = [rows.map((row) => row.ours), rows.map((row) => row.peer)];
    const ratio = median(ours) / median(peers);
    console.log(
      `docker zero: ${ZERO_RUNS} runs each, in turn, image there, bridge networks; path: create; peer docker run ${spread(peers)}  ours to its take ${spread(ours)}  ratio ${ratio.toFixed(2)} (target: at most 1.20)`,
    );
  } finally {
    peer.close();
  }
}

/** One call of the Engine API; milliseconds. */
function callEngine(address, method, path) {
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: address.slice('unix://'.length), method, path }, (answer) => {
      answer.resume();
      answer.on('end', () =>
        answer.statusCode < 300 ? resolve(performance.now() - startedAt) : reject(new Error(`${path}: ${answer.statusCode}`)),
      );
    });
    sent.on('error', reject);
    sent.end();
  });
}

async function thawOurs(name, server) {
  await until(async () => (await workersOf(name, server)).some(({ state, memoryBytes }) => state === 'FROZEN' && memoryBytes !== null));
  await delay(100);
  const job = await call(`${server.url}/v2/${name}/runsync`, { key: server.key, method: 'POST', body: '{"input":null}' });
  if (job.timeline?.path !== 'thaw') throw new Error(`thaw: ${JSON.stringify(job)}`);
  return job.timeline.take;
}

async function measureThawOn({ engine, server, host, deploy }) {
  const digest = deploy('thaw', 'scale: { max: 1, idle: 100ms, keep: freeze }');
  await call(`${server.url}/v2/thaw/runsync`, { key: server.key, method: 'POST', body: '{"input":null}' });
  engine.docker(
    'run',
    '--detach',
    '--name',
    'still',
    '--network',
    'none',
    '--entrypoint',
    '/usr/local/bin/node',
    `${host}/thaw@${digest}`,
    '-e',
    'setInterval(() => {}, 1000)',
  );
  const rows = [];
  for (let run = 0; run < THAW_RUNS; run++) {
    const ours = await thawOurs('thaw', server);
    await callEngine(engine.address, 'POST', '/containers/still/pause');
    rows.push({ ours, peer: await callEngine(engine.address, 'POST', '/containers/still/unpause') });
  }
  engine.docker('rm', '--force', 'still');
  const show = (values) => `p50 ${median(values).toFixed(1)}  p95 ${quantile(values, 0.95).toFixed(1)} ms`;
  console.log(
    `docker thaw: ${THAW_RUNS} runs each, in turn; path: thaw; peer unpause ${show(rows.map((row) => row.peer))}  ours to its take ${show(rows.map((row) => row.ours))} (target: p95 at most 50 ms)`,
  );
}

export async function measureDocker() {
  const site = await openSite();
  try {
    console.log(`docker: engine ${site.engine.version}, one run of each part after another; nothing pinned`);
    await measureZeroOn(site);
    await measureThawOn(site);
    for (const name of ['zero', 'thaw'])
      await call(`${site.server.url}/api/v1/endpoints/${name}`, { key: site.server.key, method: 'DELETE' });
    await measureCrowdOn(site.server, { runtime: 'docker', base: site.base });
  } finally {
    await site.close();
  }
}
