import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { lifeOf, markedPids } from '../../src/runtime/process/members.js';
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
