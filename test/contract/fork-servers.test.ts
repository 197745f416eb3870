import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Digest } from '../../src/oci/digest.js';
import { planFork } from '../../src/runtime/process/fork/plan.js';
import { ForkServers } from '../../src/runtime/process/fork/servers.js';
import { endLeftovers, markedPids } from '../../src/runtime/process/members.js';
import { createOutbox } from '../../src/runtime/process/output.js';
import { MARKER, type SpawnOrder } from '../../src/runtime/process/protocol.js';
import { type Supervised, superviseWorker } from '../../src/runtime/process/supervised.js';
import { canFork, OBEDIENT, WAIT } from './forked.js';
import { within } from './runtime.js';

describe.skipIf(!canFork)('fork servers where there are no cgroups', () => {
  const instanceId = `test-${process.pid}-plain`;
  const outbox = createOutbox(() => {});
  let dir: string;
  let forks: ForkServers;
  let workers: Supervised[];
  let said: string[];

  beforeEach(() => {
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-forks-')));
    writeFileSync(join(dir, 'handler.py'), OBEDIENT);
    workers = [];
    said = [];
    forks = open(Number.POSITIVE_INFINITY);
  });
  afterEach(async () => {
    await end();
    rmSync(dir, { recursive: true, force: true });
  });

  function open(mostBytes: number): ForkServers {
    const note = (text: string) => said.push(text);
    const options = { dir: join(dir, 'forks'), instanceId, cgroups: null, socket: join(dir, 'forks.sock'), mostBytes };
    return new ForkServers({ ...options, note, now: Date.now });
  }

  async function end(): Promise<void> {
    await Promise.all(workers.map((worker) => worker.stop(0)));
    await forks.stop();
    expect(markedPids(`${instanceId}/`)).toEqual([]);
  }

  /** Equal but for a variable that all workers of a plan have in common. */
  function order(workerId: string, level: string, ...statements: readonly string[]): SpawnOrder {
    const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
    const argv = [python, '-u', '-m', 'wherry', `${dir}/handler.py:handler`];
    const shared = { PYTHONPATH: join(process.cwd(), 'sdk/python'), PYTHONDONTWRITEBYTECODE: '1', LEVEL: level };
    const program = join(process.cwd(), 'src/runtime/process/fork/program');
    const image = `sha256:${'0'.repeat(64)}` as Digest;
    const fork = planFork({ image, sealId: '', program, app: dir, argv, env: shared, own: ['DO'], limits: {} });
    const cwd = join(dir, workerId);
    mkdirSync(cwd);
    const env = { ...shared, DO: statements.join('\n'), [MARKER]: `${instanceId}/${workerId}` };
    return { workerId, argv, env, cwd, dir: cwd, limits: {}, ...(fork && { fork }) };
  }

  async function start(started: SpawnOrder): Promise<Supervised> {
    const worker = await superviseWorker(started, { cgroups: null, outbox, forks, now: Date.now });
    workers.push(worker);
    return worker;
  }

  /** Spawns a worker and ends it: its fork server begins. */
  async function warm(workerId: string, level: string, until: string): Promise<void> {
    const first = await start(order(workerId, level, WAIT));
    expect(first.path).toBe('spawn');
    await first.stop(0);
    await vi.waitFor(() => expect(said.at(-1)).toContain(until), within);
  }

  it('fork workers that are found by their mark with all their children, so that nothing of them is left', async () => {
    await warm('w-1', 'a', 'is ready');
    const away = 'import time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1000)\n    os._exit(0)\nos.wait()';
    const second = await start(order('w-2', 'a', away, WAIT));
    expect(second.path).toBe('fork');
    const members = () => markedPids(`${instanceId}/w-2\0`);
    await vi.waitFor(() => expect(members()).toHaveLength(2), within);
    expect(members()).toContain(second.pid);
    await second.stop(0);
    expect(members()).toEqual([]);
    expect((await start(order('w-3', 'a', WAIT))).path).toBe('fork');
  });

  it('are ended with their workers when nobody knows them any more (I8)', async () => {
    await warm('w-1', 'a', 'is ready');
    expect((await start(order('w-2', 'a', WAIT))).path).toBe('fork');
    await endLeftovers(instanceId, []);
    expect(markedPids(`${instanceId}/`)).toEqual([]);
  });

  it('hold no more memory than they may: the one used longest ago ends, and one that is too large is given up', async () => {
    await warm('w-1', 'a', 'is ready');
    const megabytes = Number(/(\d+) MB/.exec(said[0] ?? '')?.[1]);
    await end();
    forks = open(megabytes * 1.5e6);
    await warm('w-2', 'a', 'is ready');
    await warm('w-3', 'b', 'has ended');
    expect((await start(order('w-4', 'b', WAIT))).path).toBe('fork');
    expect((await start(order('w-5', 'a', WAIT))).path).toBe('spawn');
    await end();
    said = [];
    forks = open(1e6);
    await warm('w-6', 'a', 'has ended');
    const given = order('w-7', 'a', WAIT);
    expect((await start(given)).path).toBe('spawn');
    expect(given.fork && forks.remark(given.fork, 'spawn')).toMatch(/^spawned, not forked: the fork server holds \d+ MB, and all of them/);
  });

  it('leave a worker to be spawned when they cannot mark it', async () => {
    await warm('w-1', 'a', 'is ready');
    expect((await start(order(`w-${'x'.repeat(60)}`, 'a', WAIT))).path).toBe('spawn');
  });
});
