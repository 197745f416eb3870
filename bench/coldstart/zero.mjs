// From zero (process runtime): submit to answer with no worker, beside a bare interpreter that connects, GETs once and POSTs once.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { call, median, openServer, spread, until } from '../stage.mjs';

const RUNS = 11;
const PEERS = {
  node: (port) => `import { request } from 'node:http';
const call = (method, path, body) => new Promise((done) => request({ port: ${port}, host: '127.0.0.1', method, path }, (answer) => { answer.resume(); answer.on('end', done); }).end(body));
await call('GET', '/take'); await call('POST', '/done', '{"output":null}');`,
  python: (port) => `import http.client, json, os, sys, threading, signal, time
c = http.client.HTTPConnection('127.0.0.1', ${port})
c.request('GET', '/take'); json.loads(c.getresponse().read() or b'{}')
c.request('POST', '/done', json.dumps({'output': None})); c.getresponse().read()`,
};

function hasPython() {
  return spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))']).status === 0;
}

/** The resolved interpreter, never a version manager's shim: the same that the runtime would start. */
function interpreterOf(kind) {
  if (kind === 'node') return process.execPath;
  return spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).stdout.trim();
}

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
  return {
    port: server.address().port,
    done: () =>
      new Promise((resolve) => {
        onDone = resolve;
      }),
    close: () => server.close(),
  };
}

async function peer(kind, dir, { stub, interpreter }) {
  const file = join(dir, kind === 'node' ? 'peer.mjs' : 'peer.py');
  writeFileSync(file, PEERS[kind](stub.port));
  const startedAt = performance.now();
  const done = stub.done();
  const child = spawn(interpreter, [file], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await done;
  const ms = performance.now() - startedAt;
  await ended;
  return ms;
}

async function ours(endpoint, { url, key }) {
  await until(async () => (await call(`${url}/api/v1/endpoints/${endpoint}/workers`, { key })).items.length === 0);
  const startedAt = performance.now();
  const job = await call(`${url}/v2/${endpoint}/runsync`, { key, method: 'POST', body: '{"input":null}' });
  if (job.status !== 'COMPLETED') throw new Error(`coldstart: ${JSON.stringify(job)}`);
  return performance.now() - startedAt;
}

export async function measureZero() {
  const server = await openServer({ isPinned: false, environment: { WHERRY_FORK_SERVER: 'off' } });
  const stub = await openStub();
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-cold-'));
  try {
    console.log(
      `coldstart: ${RUNS} runs each, medians (spread); path: spawned, nothing warm (no worker existed before each request); nothing pinned`,
    );
    for (const kind of ['node', ...(hasPython() ? ['python'] : [])]) {
      const name = `cold-${kind}`;
      const file = kind === 'node' ? 'handler.mjs' : 'handler.py';
      rmSync(join(dir, 'handler.mjs'), { force: true });
      writeFileSync(join(dir, file), kind === 'node' ? 'export const handler = () => null;\n' : 'def handler(job):\n    return None\n');
      writeFileSync(join(dir, 'wherry.yaml'), `name: ${name}\nhandler: ${file}:handler\nbase: scratch\nscale: { idle: 1s, keep: none }\n`);
      server.cli('deploy', dir);
      const rows = [];
      const interpreter = interpreterOf(kind);
      for (let run = 0; run < RUNS; run++)
        rows.push({ peer: await peer(kind, dir, { stub, interpreter }), ours: await ours(name, server) });
      const ratio = median(rows.map((row) => row.ours)) / median(rows.map((row) => row.peer));
      console.log(
        `${kind.padEnd(7)} peer ${spread(rows.map((row) => row.peer))}  ours ${spread(rows.map((row) => row.ours))}  ratio ${ratio.toFixed(2)} (target: at most 1.50)`,
      );
    }
  } finally {
    stub.close();
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
