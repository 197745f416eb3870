// What every benchmark needs: a fresh server process, the CLI, statistics, pinning to a core.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAIN = join(ROOT, 'dist/main.js');

/** Command prefix that pins to a core where taskset is there; said in the output. */
export function pin(core) {
  return spawnSync('taskset', ['-V']).status === 0 ? ['taskset', '-c', String(core)] : [];
}

/** Pins this process too, so that the generator and what it measures never share a core. */
export function pinSelf(core) {
  spawnSync('taskset', ['-apc', String(core), String(process.pid)]);
}

/**
 * Starts `wherry serve` on a fresh data directory; `close` ends it and its workers and removes the directory.
 * `environment` is added to this process's own. Workers inherit the server's core, so a benchmark whose peer is not pinned leaves the server unpinned too.
 */
export async function openServer({ isPinned = true, environment = {} } = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), 'wherry-bench-'));
  const [command, ...args] = [...(isPinned ? pin(1) : []), process.execPath, MAIN, 'serve', '--data', dataDir, '--port', '0'];
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, ...environment } });
  await until(() => existsSync(join(dataDir, 'server.json')));
  const { url } = JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8'));
  const key = readFileSync(join(dataDir, 'admin.key'), 'utf8').trim();
  const cli = (...words) =>
    execFileSync(process.execPath, [MAIN, ...words, '--data', dataDir], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  /** The endpoint keeps what it gets: no worker, no queue limit. */
  const park = (endpoint) =>
    call(`${url}/api/v1/endpoints/${endpoint}`, {
      key,
      method: 'PATCH',
      body: JSON.stringify({ settings: { scale: { max: 0 }, limits: { queueJobs: 0 } } }),
    });
  const close = async () => {
    for (const { id } of (await call(`${url}/api/v1/endpoints`, { key })).items) {
      await call(`${url}/api/v1/endpoints/${id}`, { key, method: 'DELETE' });
    }
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
    rmSync(dataDir, { recursive: true, force: true });
  };
  return { url, key, dataDir, cli, park, pid: child.pid, close };
}

/** One HTTP request; the answer's JSON, or undefined without a body. Throws above 299. */
export function call(url, { key, method = 'GET', body, agent } = {}) {
  return new Promise((resolve, reject) => {
    const headers = {
      ...(key && { authorization: key }),
      ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    };
    const outgoing = request(url, { method, headers, agent }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => {
        const text = Buffer.concat(parts).toString();
        if (answer.statusCode > 299) reject(new Error(`${method} ${url}: ${answer.statusCode} ${text}`));
        else resolve(text ? JSON.parse(text) : undefined);
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

export async function until(condition, limitMs = 30_000) {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error('bench: waited too long');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export function median(values) {
  return quantile(values, 0.5);
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** `12.3 ms (11.9–13.0)`: median and spread. */
export function spread(values, unit = 'ms', digits = 2) {
  const format = (value) => value.toFixed(digits);
  return `${format(median(values))}${unit && ` ${unit}`} (${format(Math.min(...values))}–${format(Math.max(...values))})`;
}
