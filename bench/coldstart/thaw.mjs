// Thaw (process runtime): submit to answer with one frozen worker, beside SIGCONT of a stopped process and one round trip over its socket.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fsyncMs } from '../dispatch/disk.mjs';
import { call, median, openServer, pin, quantile, until } from '../stage.mjs';

const RUNS = 60;
const PEER = `import { createServer } from 'node:net';
const server = createServer((socket) => socket.on('data', (part) => socket.write(part)));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));`;

/** A process that gives back what it gets; stopped before each measurement. */
async function openPeer(dir) {
  const file = join(dir, 'peer.mjs');
  writeFileSync(file, PEER);
  const [command, ...args] = [...pin(1), process.execPath, file];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = await once(child.stdout, 'data');
  const socket = connect(Number(String(port)), '127.0.0.1');
  socket.setNoDelay(true);
  await once(socket, 'connect');
  const trip = async () => {
    child.kill('SIGSTOP');
    await until(() => readFileSync(`/proc/${child.pid}/stat`, 'utf8').includes(') T '));
    const startedAt = performance.now();
    child.kill('SIGCONT');
    socket.write('x');
    await once(socket, 'data');
    return performance.now() - startedAt;
  };
  return {
    trip,
    close: () => {
      socket.destroy();
      child.kill('SIGKILL');
    },
  };
}

async function thaw(name, { url, key }) {
  const isFrozen = ({ state, memoryBytes }) => state === 'FROZEN' && memoryBytes !== null;
  await until(async () => (await call(`${url}/api/v1/endpoints/${name}/workers`, { key })).items.some(isFrozen));
  // What follows a freeze is over then.
  await delay(50);
  const startedAt = performance.now();
  const job = await call(`${url}/v2/${name}/runsync`, { key, method: 'POST', body: '{"input":null}' });
  const answeredMs = performance.now() - startedAt;
  if (job.timeline?.path !== 'thaw') throw new Error(`thaw: ${JSON.stringify(job)}`);
  return { answeredMs, takenMs: job.timeline.take };
}

const show = (values, digits = 2) => `p50 ${median(values).toFixed(digits)}  p95 ${quantile(values, 0.95).toFixed(digits)} ms`;

export async function measureThaw() {
  const server = await openServer();
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-thaw-'));
  const peer = await openPeer(dir);
  try {
    console.log(
      `thaw: ${RUNS} runs each, in turn; path: thaw, as each job's timeline says; server and workers on one core, this on another`,
    );
    const hasPython = spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))']).status === 0;
    for (const kind of ['node', ...(hasPython ? ['python'] : [])]) {
      const name = `thaw-${kind}`;
      const file = kind === 'node' ? 'handler.mjs' : 'handler.py';
      writeFileSync(join(dir, file), kind === 'node' ? 'export const handler = () => null;\n' : 'def handler(job):\n    return None\n');
      writeFileSync(join(dir, 'wherry.yaml'), `name: ${name}\nhandler: ${file}:handler\nbase: scratch\nscale: { max: 1, idle: 100ms }\n`);
      server.cli('deploy', dir);
      await call(`${server.url}/v2/${name}/runsync`, { key: server.key, method: 'POST', body: '{"input":null}' });
      const rows = [];
      for (let run = 0; run < RUNS; run++) rows.push({ peerMs: await peer.trip(), ...(await thaw(name, server)) });
      const of = (field) => rows.map((row) => row[field]);
      console.log(
        `${kind.padEnd(7)} peer ${show(of('peerMs'))}  ours to its take ${show(of('takenMs'), 0)} (target: p95 at most 5 ms)  to the answer ${show(of('answeredMs'))}; a flush takes ${fsyncMs(server.dataDir).toFixed(2)} ms, an answer needs two`,
      );
    }
  } finally {
    peer.close();
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
