import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Digest } from '../../src/oci/digest.js';
import { planFork } from '../../src/runtime/process/fork/plan.js';
import { ForkServers } from '../../src/runtime/process/fork/servers.js';
import { endLeftovers, lifeOf, markedPids } from '../../src/runtime/process/members.js';
import { createOutbox } from '../../src/runtime/process/output.js';
import { MARKER } from '../../src/runtime/process/protocol.js';
import { type Supervised, superviseWorker } from '../../src/runtime/process/supervised.js';
import type { ImageName } from '../../src/runtime/runtime.js';
import { buildSupervisor, canFork, type ForkStage, OBEDIENT, openForkStage, told, WAIT } from './forked.js';
import { listen, specOf, within } from './runtime.js';

describe.skipIf(!canFork)('a forked worker', () => {
  let buildDir: string;
  let supervisorEntry: string;
  let stage: ForkStage;
  let image: ImageName;

  beforeAll(async () => {
    buildDir = mkdtempSync(join(tmpdir(), 'wherry-supervisor-'));
    supervisorEntry = await buildSupervisor(buildDir);
  });
  afterAll(() => rmSync(buildDir, { recursive: true, force: true }));
  beforeEach(async () => {
    stage = await openForkStage(supervisorEntry);
    image = stage.image(OBEDIENT);
    await stage.warm(image, told(WAIT));
  });
  afterEach(() => stage.close());

  /** Starts a worker that waits; gives its pid and that of its fork server. */
  async function start(workerId: string, ...statements: readonly string[]): Promise<readonly number[]> {
    expect(await stage.start(workerId, image, told(...statements, 'print(os.getpid(), os.getppid())', WAIT))).toBe('fork');
    return ((await stage.linesOf(workerId))[0] ?? '').split(' ').map(Number);
  }

  it('lives on when its fork server dies, its end is told, and another server forks the next', async () => {
    const [, server = 0] = await start('w-1');
    process.kill(server, 'SIGKILL');
    await vi.waitFor(() => expect(stage.said.join()).toContain('ended by itself'), within);
    expect(await stage.runtime.list()).toEqual(['w-1']);
    expect(await stage.start('w-2', image, told(WAIT))).toBe('spawn');
    await vi.waitFor(() => expect(stage.said.filter((text) => text.includes('is ready'))).toHaveLength(2), within);
    await start('w-3');
    for (const id of ['w-1', 'w-2', 'w-3']) await stage.runtime.stopWorker(id, 0);
    await vi.waitFor(() => expect(stage.heard.exit('w-1')).toEqual({ exitCode: null, signal: null }), within);
    expect(stage.heard.exit('w-3')).toEqual({ exitCode: null, signal: 'SIGKILL' });
  });

  it('is spawned when its fork server dies while it forks, and nothing runs twice', async () => {
    const [, server = 0] = await start('w-0');
    // It cannot answer: what is asked of it meanwhile ends with it.
    process.kill(server, 'SIGSTOP');
    const ids = ['w-1', 'w-2', 'w-3'];
    const starting = Promise.all(ids.map((id) => stage.start(id, image, told('print("up")', WAIT))));
    await vi.waitFor(() => expect(readdirSync(join(stage.dataDir, 'workers')).length).toBe(4), within);
    process.kill(server, 'SIGKILL');
    expect(await starting).toContain('spawn');
    for (const id of ids) {
      await stage.linesOf(id);
      expect(stage.membersOf(id)).toHaveLength(1);
      await stage.runtime.stopWorker(id, 0);
    }
    await stage.runtime.stopWorker('w-0', 0);
  });

  it('is not waited for in vain when its fork server does not tell its end', async () => {
    const [pid = 0, server = 0] = await start('w-1');
    process.kill(server, 'SIGSTOP');
    process.kill(pid, 'SIGKILL');
    await vi.waitFor(() => expect(stage.heard.exit('w-1')).toEqual({ exitCode: null, signal: null }), within);
    expect(await stage.runtime.list()).toEqual([]);
  });

  it('ends with the supervisor when that is killed, and its exit is told (I8)', async () => {
    await start('w-1');
    for (const pid of stage.supervisors()) process.kill(pid, 'SIGKILL');
    await vi.waitFor(() => expect(stage.heard.exit('w-1')).toEqual({ exitCode: null, signal: null }), within);
    expect(markedPids(`${stage.instanceId}/`)).toEqual([]);
    await stage.warm(image, told(WAIT));
    await start('w-2');
    await stage.runtime.stopWorker('w-2', 0);
  });

  it('is ended before the first start when supervisor and server died together (I8)', async () => {
    await start('w-1');
    await stage.runtime.stop();
    for (const pid of stage.supervisors()) process.kill(pid, 'SIGKILL');
    await vi.waitFor(() => expect(stage.supervisors()).toEqual([]), within);
    expect(stage.membersOf('w-1')).toHaveLength(1);
    await stage.reopen().start(listen().events);
    expect(markedPids(`${stage.instanceId}/`)).toEqual([]);
  });

  it('is adopted by the next server, which learns how it ends and forks the next one', async () => {
    const [pid = 0] = await start('w-1', 'import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))');
    await stage.runtime.stop();
    const next = stage.reopen();
    const heard = listen();
    await next.start(heard.events);
    expect(await next.list()).toEqual(['w-1']);
    expect(lifeOf(pid)).toBeDefined();
    expect((await next.startWorker(specOf('w-2', image, told(WAIT)))).path).toBe('fork');
    await next.stopWorker('w-1', 10_000);
    await vi.waitFor(() => expect(heard.exit('w-1')).toEqual({ exitCode: 5, signal: null }), within);
    await next.stopWorker('w-2', 0);
  });
});

describe.skipIf(!canFork)('a forked worker where there are no cgroups', () => {
  let dir: string;
  let forks: ForkServers;
  let workers: Supervised[];
  const said: string[] = [];
  const instanceId = `test-${process.pid}-plain`;
  const outbox = createOutbox(() => {});

  beforeEach(() => {
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'wherry-forks-')));
    writeFileSync(join(dir, 'handler.py'), OBEDIENT);
    const note = (text: string) => said.push(text);
    forks = new ForkServers({ dir: join(dir, 'forks'), instanceId, cgroups: null, socket: join(dir, 'io.sock'), note, now: Date.now });
    workers = [];
  });
  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.stop(0)));
    await forks.stop();
    expect(markedPids(`${instanceId}/`)).toEqual([]);
    rmSync(dir, { recursive: true, force: true });
  });

  async function start(workerId: string, ...statements: readonly string[]): Promise<Supervised> {
    const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
    const argv = [python, '-u', '-m', 'wherry', `${dir}/handler.py:handler`];
    const shared = { PYTHONPATH: join(process.cwd(), 'sdk/python'), PYTHONDONTWRITEBYTECODE: '1' };
    const program = join(process.cwd(), 'src/runtime/process/fork/program');
    const image = `sha256:${'0'.repeat(64)}` as Digest;
    const fork = planFork({ image, sealId: '', program, app: dir, argv, env: shared, own: ['DO'], limits: {} });
    const cwd = join(dir, workerId);
    mkdirSync(cwd);
    const env = { ...shared, DO: statements.join('\n'), [MARKER]: `${instanceId}/${workerId}` };
    const order = { workerId, argv, env, cwd, dir: cwd, limits: {}, ...(fork && { fork }) };
    const worker = await superviseWorker(order, { cgroups: null, outbox, forks, now: Date.now });
    workers.push(worker);
    return worker;
  }

  it('is found by its mark with all its children, and nothing of it is left', async () => {
    const first = await start('w-1', WAIT);
    expect(first.path).toBe('spawn');
    await first.stop(0);
    await vi.waitFor(() => expect(said.join()).toContain('is ready'), within);
    const away = 'import time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1000)\n    os._exit(0)\nos.wait()';
    const second = await start('w-2', away, WAIT);
    expect(second.path).toBe('fork');
    const members = () => markedPids(`${instanceId}/w-2\0`);
    await vi.waitFor(() => expect(members()).toHaveLength(2), within);
    expect(members()).toContain(second.pid);
    await second.stop(0);
    expect(members()).toEqual([]);
    expect((await start('w-3', WAIT)).path).toBe('fork');
  });

  it('is ended with its server when nobody knows them any more (I8)', async () => {
    await (await start('w-1', WAIT)).stop(0);
    await vi.waitFor(async () => expect((await start(`w-${workers.length + 1}`, WAIT)).path).toBe('fork'), within);
    await endLeftovers(instanceId, []);
    expect(markedPids(`${instanceId}/`)).toEqual([]);
  });
});
