import { access, constants, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { openClock } from './base/clock.js';
import { systemCodeOf, toWherryError, WherryError } from './base/errors.js';
import { silentLog } from './base/log.js';
import { readRuntimeSettings } from './compose-docker.js';
import { readNode } from './compose-node.js';
import { type Environment, readPort, readServerFile } from './compose-settings.js';
import { type Check, examineEngine, judge } from './runtime/docker/examine.js';
import { detectCgroups, hasController, removeGroups } from './runtime/process/cgroup.js';
import { readConfinement } from './runtime/process/confine.js';
import { resolveInterpreter } from './runtime/process/interpreter.js';

export type { Check } from './runtime/docker/examine.js';

export interface Examined {
  readonly dataDir: string;
  readonly environment: Environment;
}

const OLDEST_NODE = [20, 19] as const;
const DEFAULT_PORT = 7070;
/** Below this much free space a deploy of an ordinary image may fail. */
const SCARCE_BYTES = 2 * 1024 ** 3;

/** Looks at everything a server on this machine needs, without starting one. Never rejects. */
export async function examine(examined: Examined): Promise<readonly Check[]> {
  const groups = await Promise.all([
    checkNode(),
    checkDataDir(examined.dataDir),
    checkPort(examined),
    checkCgroups(),
    checkConfinement(),
    checkLabels(examined.environment),
    checkPython(examined.environment),
    checkEngine(examined.environment),
  ]);
  return groups.flat();
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isNew = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  return judge(isNew, 'node', {
    found: `${process.versions.node} at ${process.execPath}`,
    fix: `install Node ${OLDEST_NODE.join('.')} or newer`,
    otherwise: 'fail',
  });
}

async function checkDataDir(dataDir: string): Promise<Check> {
  const place = await nearestExisting(dataDir);
  try {
    await access(place, constants.W_OK | constants.X_OK);
  } catch {
    return {
      name: 'data directory',
      status: 'fail',
      found: `${place} cannot be written to`,
      fix: 'choose another with --data or WHERRY_DATA',
    };
  }
  const { bavail, bsize } = await statfs(place);
  const free = bavail * bsize;
  return judge(free >= SCARCE_BYTES, 'data directory', {
    found: `${dataDir}${place === dataDir ? '' : ' (not there yet)'}, ${(free / 1024 ** 3).toFixed(1)} GiB free`,
    fix: 'free disk space: images and logs need it',
  });
}

async function nearestExisting(dir: string): Promise<string> {
  for (let place = dir; ; place = dirname(place)) {
    try {
      await access(place, constants.F_OK);
      return place;
    } catch (thrown) {
      if (systemCodeOf(thrown) !== 'ENOENT' || place === dirname(place)) return place;
    }
  }
}

async function checkPort({ dataDir, environment }: Examined): Promise<Check> {
  try {
    const running = await readServerFile(dataDir);
    if (running && (await answers(running.url))) return { name: 'port', status: 'ok', found: `a server runs at ${running.url}` };
    const port = readPort(environment, 'WHERRY_PORT') ?? DEFAULT_PORT;
    const isFree = await canListen(environment['WHERRY_HOST'] ?? '127.0.0.1', port);
    const isChosen = environment['WHERRY_PORT'] !== undefined;
    return judge(isFree, 'port', {
      found: `${port} is ${isFree ? 'free' : 'taken by another program'}`,
      fix: isChosen ? 'choose another with --port or WHERRY_PORT' : 'nothing: a new data directory takes the next free one',
      otherwise: isChosen ? 'fail' : 'warn',
    });
  } catch (thrown) {
    return { name: 'port', status: 'fail', found: toWherryError(thrown).message, fix: 'set WHERRY_PORT to a number from 0 to 65535' };
  }
}

async function answers(url: string): Promise<boolean> {
  return fetch(`${url}/api/docs`, { signal: AbortSignal.timeout(2_000) }).then(
    () => true,
    () => false,
  );
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

function checkCgroups(): Check {
  const probe = detectCgroups(`doctor-${process.pid}`);
  removeGroups(probe?.bases.map(({ dir }) => dir) ?? []);
  const there = (['memory', 'cpu', 'pids'] as const).filter((controller) => hasController(probe, controller));
  return judge(there.length === 3, 'limits of processes', {
    found: there.length === 0 ? 'no writable cgroup: process workers have no limits' : `cgroups with ${there.join(', ')}`,
    fix: 'run the server where it may make cgroups (as a systemd unit with Delegate=yes), or run workers in containers',
  });
}

function checkConfinement(): Check {
  const { hasNoNewPrivileges, hasFileLimit } = readConfinement();
  const kept = [...(hasNoNewPrivileges ? ['no new privileges'] : []), ...(hasFileLimit ? ['open files'] : [])];
  return judge(hasNoNewPrivileges && hasFileLimit, 'confinement of processes', {
    found: kept.length === 0 ? 'process workers may gain rights and open any number of files' : kept.join(', '),
    fix: 'install setpriv (Debian: util-linux), or run workers in containers',
  });
}

/** What releases that ask for GPUs, CUDA or labels are held against. */
async function checkLabels(environment: Environment): Promise<Check> {
  try {
    const { labels, isGpuIgnored } = await readNode(environment);
    const found = Object.entries(labels).map(([key, values]) => `${key}=${values.join(', ')}`);
    const ignored = isGpuIgnored ? '; GPUs are ignored (WHERRY_GPU)' : '';
    return { name: 'node labels', status: 'ok', found: `${found.length === 0 ? 'none' : found.join('; ')}${ignored}` };
  } catch (thrown) {
    const { message, hint = 'correct the setting' } = toWherryError(thrown);
    return { name: 'node labels', status: 'fail', found: message, fix: hint };
  }
}

async function checkPython({ PATH: searchPath = '/usr/local/bin:/usr/bin:/bin' }: Environment): Promise<Check> {
  try {
    return { name: 'python', status: 'ok', found: await resolveInterpreter('python@3', { searchPath, log: silentLog }) };
  } catch {
    return {
      name: 'python',
      status: 'warn',
      found: 'no python3 of 3.9 or newer',
      fix: 'install it for Python handlers without containers',
    };
  }
}

/** Without a name and without a socket there is no engine, which is no fault: processes do. */
async function checkEngine(environment: Environment): Promise<readonly Check[]> {
  try {
    const { names, engine } = readRuntimeSettings(environment);
    const runtimes: Check = { name: 'runtimes', status: 'ok', found: `${names.join(', then ')} (WHERRY_RUNTIME)` };
    if (engine === undefined) return [runtimes, { name: 'docker engine', status: 'ok', found: 'none: workers are processes' }];
    const checks = await examineEngine({ address: engine, hasWorkerHost: Boolean(environment['WHERRY_WORKER_HOST']) }, openClock().now);
    // One that was only found does not have to work.
    const isWanted = Boolean(environment['WHERRY_RUNTIME']?.includes('docker') || environment['WHERRY_DOCKER_HOST']);
    return [runtimes, ...checks.map((check) => (check.status === 'fail' && !isWanted ? { ...check, status: 'warn' as const } : check))];
  } catch (thrown) {
    const { message, hint = 'correct the setting' } = thrown instanceof WherryError ? thrown : toWherryError(thrown);
    return [{ name: 'runtimes', status: 'fail', found: message, fix: hint }];
  }
}
