// Starts and stops the peer: Redis on a free port with a directory of its own, the HTTP front, the worker processes.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pin, ROOT } from '../stage.mjs';

const DIR = join(ROOT, 'bench/peer');
const INSTALL = ['install', '--no-package-lock', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];

/** Installs BullMQ and ioredis into bench/peer when they are not there; throws with the command to run by hand. */
export function ensurePeer() {
  if (spawnSync('redis-server', ['--version']).status !== 0) {
    throw new Error("bench: 'redis-server' is missing; install the Debian package redis-server, or run `-- dispatch --only=warm`");
  }
  const { dependencies } = JSON.parse(readFileSync(join(DIR, 'package.json'), 'utf8'));
  const isThere = Object.entries(dependencies).every(([name, version]) => {
    const file = join(DIR, 'node_modules', name, 'package.json');
    return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === version;
  });
  if (isThere) return;
  console.error('bench: installing BullMQ into bench/peer');
  if (spawnSync('npm', INSTALL, { cwd: DIR, stdio: ['ignore', 2, 2] }).status === 0) return;
  throw new Error(`bench: BullMQ could not be installed; run \`npm ${INSTALL.join(' ')}\` in bench/peer to see why`);
}

/** Redis with an append-only file, the front and `workers` worker processes, all on the core that our server gets too. */
export async function openPeer() {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-bench-redis-'));
  const port = await findPort();
  const redisArgs = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--appendonly', 'yes', '--save', '', '--daemonize', 'no'];
  const redis = start('redis-server', redisArgs);
  await redis.line(/Ready to accept connections/);
  const name = 'bench';
  const front = start(process.execPath, [join(DIR, 'front.mjs'), String(port), name]);
  const frontPort = (await front.line(/^\d+$/m))[0];
  let workers = [];
  const stopWorkers = async () => {
    await Promise.all(workers.map((worker) => worker.stop()));
    workers = [];
  };
  return {
    url: `http://127.0.0.1:${frontPort}`,
    /** Pids of what answers and keeps (front and Redis) and of the workers. */
    pids: () => ({ server: [redis.pid, front.pid], workers: workers.map(({ pid }) => pid) }),
    setFsync: (policy) => configure(port, policy),
    /** Replaces the worker processes. */
    async setWorkers(count) {
      await stopWorkers();
      workers = Array.from({ length: count }, () => start(process.execPath, [join(DIR, 'worker.mjs'), String(port), name]));
      await Promise.all(workers.map((worker) => worker.line(/^ready$/m)));
    },
    async close() {
      await stopWorkers();
      await front.stop();
      await redis.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Redis changes its flush policy while it runs, so both can be measured in turn with the same processes. */
function configure(port, policy) {
  const { stdout } = spawnSync('redis-cli', ['-p', String(port), 'config', 'set', 'appendfsync', policy], { encoding: 'utf8' });
  if (stdout.trim() !== 'OK') throw new Error(`bench: redis refused appendfsync ${policy}: ${stdout}`);
}

/** A child on core 1; `line` resolves with the first match in its output, `stop` once it is gone. */
function start(command, args) {
  const [first, ...rest] = [...pin(1), command, ...args];
  const child = spawn(first, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let output = '';
  child.stdout.on('data', (part) => {
    output = (output + part).slice(-10_000);
  });
  const line = (pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(output);
        if (match) resolve(match);
      };
      child.stdout.on('data', look);
      look();
      child.once('exit', () => reject(new Error(`bench: ${command} ended before it was ready:\n${output}`)));
    });
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return { pid: child.pid, line, stop };
}

function findPort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
