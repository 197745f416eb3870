import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { DockerRuntime, DockerRuntimeOptions } from '../../src/runtime/docker.js';
import type { RuntimeEvents, WorkerSpec } from '../../src/runtime/runtime.js';
import { type Engine, openEngine } from '../conformance/engine.js';
import { needs } from '../needs.js';
import { pidsWith, until } from '../stage.js';
import { type ImageHouse, openImageHouse } from './docker-images.js';
import { type OpenedContainers, openContainers } from './docker-runtime.js';
import { describeRuntime, listen, specOf, type Told, within } from './runtime.js';

const FOREVER = 'setInterval(() => {}, 1000);';

// Skipped where no Docker Engine is installed; WHERRY_TEST_REQUIRE=dockerd makes its absence a failure.
describe.skipIf(!needs('dockerd'))('containers of a real engine', () => {
  let engine: Engine;
  let house: ImageHouse;
  beforeAll(async () => {
    [engine, house] = await Promise.all([openEngine('--live-restore'), openImageHouse()]);
  }, 90_000);
  afterAll(async () => {
    await house?.close();
    await engine?.close();
  });

  const open = (more: Partial<DockerRuntimeOptions> = {}) => openContainers({ engine, house }, more);
  describeRuntime('docker', open);

  describe('the docker runtime', () => {
    let opened: OpenedContainers;
    let runtime: DockerRuntime;
    let told: Told;
    beforeEach(async () => {
      opened = await open();
      runtime = opened.runtime;
      told = listen();
      await runtime.start(told.events);
    });
    afterEach(() => opened.close());

    /** Starts a worker and waits for its first line. */
    async function startAndRead(workerId: string, script: string, more: Partial<WorkerSpec> = {}): Promise<string> {
      await runtime.startWorker(specOf(workerId, house.image(script), more));
      await vi.waitFor(() => expect(told.lines(workerId).length).toBeGreaterThan(0), within);
      return told.lines(workerId)[0] ?? '';
    }
    const ended = (workerId: string) => vi.waitFor(() => expect(told.exit(workerId)).toBeDefined(), within);
    const containerOf = (workerId: string) => `wherry-${workerId}`;

    it('sets the limits of memory, processor and processes (S11)', async () => {
      const script = `        const read = (...names) => names.map((name) => '/sys/fs/cgroup/' + name).filter(fs.existsSync).map((name) => fs.readFileSync(name, 'utf8').trim())[0];
        console.log([read('memory/memory.limit_in_bytes', 'memory.max'), read('pids/pids.max', 'pids.max'),
          read('cpu/cpu.cfs_quota_us', 'cpu.max').split(' ')[0]].join());`;
      const line = await startAndRead('w-1', script, { resources: { memoryBytes: 256 * 1024 * 1024, cpu: 0.5 } });
      expect(line).toBe(`${256 * 1024 * 1024},1024,50000`);
      await ended('w-1');
    });

    it('gives each container the GPUs that are its own, and no others (row 89)', async () => {
      const script = `console.log(process.env.NVIDIA_VISIBLE_DEVICES); ${FOREVER}`;
      const seen = [];
      for (const gpus of [['GPU-b'], ['GPU-c', '3'], []]) seen.push(await startAndRead(`w-${gpus.length}`, script, { gpus }));
      expect(seen).toEqual(['GPU-b', 'GPU-c,3', 'undefined']);
      await Promise.all([0, 1, 2].map((count) => runtime.stopWorker(`w-${count}`, 0)));
    });

    it('says that memory ran out, and how much there was (C6)', async () => {
      const script = 'const kept = []; for (;;) kept.push(Buffer.alloc(4 * 1024 * 1024, 1));';
      await runtime.startWorker(specOf('w-1', house.image(script), { resources: { memoryBytes: 64 * 1024 * 1024 } }));
      await ended('w-1');
      expect(told.exit('w-1')).toEqual({ exitCode: null, signal: 'SIGKILL', cause: 'was killed: out of memory, limit 64 MiB' });
      await vi.waitFor(() => expect(told.notes('w-1')).toContain('killed: out of memory, limit 64 MiB'), within);
    });

    it('leaves no process behind that changed its session, and no volume that the image asks for (A4)', async () => {
      const script = `        spawn(process.execPath, ['-e', '${FOREVER}'], { detached: true, stdio: 'ignore' }).unref(); console.log('up');`;
      const env = { MARK: randomUUID() };
      const image = house.image(script, { Volumes: { '/kept': {} } });
      await runtime.startWorker(specOf('w-1', image, { env }));
      await ended('w-1');
      expect(pidsWith(env.MARK)).toEqual([]);
    });

    it('tells a pull step by step, and how many bytes came; the next start finds the image', async () => {
      const image = house.image(`console.log('${randomUUID()}')`, { Labels: { once: 'only' } });
      await engine.docker('image', 'prune', '--all', '--force');
      const first = await runtime.startWorker(specOf('w-1', image));
      expect(first).toMatchObject({ path: 'pull', isCached: false });
      expect(first.bytes).toBeGreaterThan(1024 * 1024);
      expect(first.preparedAt).toBeLessThanOrEqual(first.madeAt);
      expect(told.notes('w-1').at(-1)).toMatch(/^pulled \d+\.\d MiB in \d+\.\d s$/);
      expect(await runtime.startWorker(specOf('w-2', image))).toMatchObject({ path: 'create', isCached: true, bytes: 0 });
      await Promise.all([ended('w-1'), ended('w-2')]);
    });

    it('pulls once for many starts at a time', async () => {
      const image = house.image(`console.log('${randomUUID()}')`);
      const before = house.sent.length;
      const ids = ['w-1', 'w-2', 'w-3'];
      await Promise.all(ids.map((id) => runtime.startWorker(specOf(id, image))));
      await Promise.all(ids.map(ended));
      expect(house.sent.slice(before).filter((path) => path.endsWith(`/manifests/${image.digest}`)).length).toBeLessThanOrEqual(2);
    });

    it('is refused a pull without the credential, and tells no secret', async () => {
      const stranger = await open({ pullCredentials: () => ({ username: 'wherry', password: 'wrong-secret' }) });
      await stranger.runtime.start(told.events);
      const refused = stranger.runtime.startWorker(specOf('w-1', house.image(`'${randomUUID()}'`)));
      await expect(refused).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
      const { message } = (await refused.catch((thrown: unknown) => thrown)) as Error;
      expect(message).toMatch(/unauthorized|no basic auth/i);
      expect(message).not.toContain('wrong-secret');
      await stranger.close();
    });

    it('refuses a command that the image does not have', async () => {
      // One that needs no init before it: with one, the start succeeds and the init ends with 127.
      const image = house.image('', { Entrypoint: ['/no/such/init'] });
      await expect(runtime.startWorker(specOf('w-1', image))).rejects.toMatchObject({ code: 'RUNTIME_REFUSED' });
      expect(await runtime.list()).toEqual([]);
    });

    it('tells each line once over many servers, long ones and those of both streams', async () => {
      const script = `let n = 0; const timer = setInterval(() => {
        console.log('out ' + n); console.error('err ' + n); if (n % 20 === 0) console.log('long ' + n + 'x'.repeat(20000));
        if (++n === 160) clearInterval(timer); }, 10);`;
      await runtime.startWorker(specOf('w-1', house.image(script)));
      const heard = [told];
      while (heard.every((each) => each.exit('w-1') === undefined)) {
        const before = heard.at(-1)?.lines('w-1').length ?? 0;
        await vi.waitFor(() => {
          const last = heard.at(-1);
          expect(last?.exit('w-1') !== undefined || (last?.lines('w-1').length ?? 0) > before).toBe(true);
        }, within);
        await runtime.stop();
        if (heard.some((each) => each.exit('w-1') !== undefined)) break;
        runtime = opened.reopen();
        const next = listen();
        heard.push(next);
        await runtime.start(next.events);
      }
      expect(heard.length).toBeGreaterThan(2);
      const lines = heard.flatMap((each) => each.lines('w-1'));
      const numbered = (prefix: string) =>
        lines.filter((line) => line.startsWith(prefix)).map((line) => Number.parseInt(line.slice(prefix.length), 10));
      const upTo = (end: number, step = 1) => Array.from({ length: end / step }, (_, index) => index * step);
      expect(numbered('out ')).toEqual(upTo(160));
      expect(numbered('err ')).toEqual(upTo(160));
      expect(numbered('long ')).toEqual(upTo(160, 20));
      expect(lines.find((line) => line.startsWith('long 0'))).toMatch(/x \[\d+ bytes more\]$/);
      await runtime.start(listen().events);
    });

    it('keeps what was not taken for the next server', async () => {
      let isTaking = false;
      const events: RuntimeEvents = {
        ...told.events,
        output: async (event) => {
          if (!isTaking) throw new Error('not now');
          await told.events.output(event);
        },
        exit: (event) => {
          if (!isTaking) throw new Error('not now');
          told.events.exit(event);
        },
      };
      await runtime.stop();
      runtime = opened.reopen();
      await runtime.start(events);
      await runtime.startWorker(specOf('w-1', house.image("console.log('kept'); process.exitCode = 3;")));
      await vi.waitFor(async () => expect(await runtime.list()).toEqual([]), within);
      await runtime.stop();
      isTaking = true;
      runtime = opened.reopen();
      await runtime.start(events);
      expect(told.exit('w-1')).toEqual({ exitCode: 3, signal: null });
      expect(told.lines('w-1')).toEqual(['kept']);
    });

    it('freezes a worker, thaws it, and ends a frozen one', async () => {
      const script = `let n = 0; setInterval(() => console.log('tick ' + n++), 20); process.on('SIGTERM', () => process.exit(4));`;
      await startAndRead('w-1', script);
      const { memoryBytes } = await runtime.freezeWorker('w-1');
      expect(memoryBytes).toBeGreaterThan(5 * 1024 * 1024);
      expect((await runtime.freezeWorker('w-1')).memoryBytes).toBeGreaterThan(0);
      expect(await runtime.list()).toEqual(['w-1']);
      const frozen = told.lines('w-1').length;
      await runtime.thawWorker('w-1');
      await runtime.thawWorker('w-1');
      await vi.waitFor(() => expect(told.lines('w-1').length).toBeGreaterThan(frozen + 1), within);
      await runtime.freezeWorker('w-1');
      await runtime.stopWorker('w-1', 10_000);
      expect(told.exit('w-1')).toEqual({ exitCode: 4, signal: null });
      await startAndRead('w-2', script);
      await runtime.freezeWorker('w-2');
      await runtime.stopWorker('w-2', 0);
      expect(told.exit('w-2')).toEqual({ exitCode: null, signal: 'SIGKILL' });
      await expect(runtime.freezeWorker('w-2')).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
    });

    it('asks a worker once to end, also when the next server asks again', async () => {
      const script = `let n = 0; process.on('SIGTERM', () => console.log('asked ' + ++n)); console.log('up'); ${FOREVER}`;
      await startAndRead('w-1', script);
      const first = runtime.stopWorker('w-1', 60_000).catch(() => {});
      await vi.waitFor(() => expect(told.lines('w-1')).toEqual(['up', 'asked 1']), within);
      await runtime.stop();
      await first;
      runtime = opened.reopen();
      await runtime.start(told.events);
      await runtime.stopWorker('w-1', 300);
      expect(told.lines('w-1')).toEqual(['up', 'asked 1']);
      expect(told.exit('w-1')?.signal).toBe('SIGKILL');
    });

    it('takes workers for lost that somebody else ended or removed', async () => {
      await startAndRead('w-1', `console.log('up'); ${FOREVER}`);
      await startAndRead('w-2', `console.log('up'); ${FOREVER}`);
      await engine.docker('kill', containerOf('w-1'));
      await engine.docker('rm', '--force', containerOf('w-2'));
      await Promise.all([ended('w-1'), ended('w-2')]);
      expect([told.exit('w-1'), told.exit('w-2')]).toEqual(Array(2).fill({ exitCode: null, signal: null }));
      await vi.waitFor(() => expect(told.notes('w-1').at(-1)).toMatch(/signal that this server did not send/), within);
    });

    it('keeps workers over the death of the engine, with their lines (A7, live-restore)', async () => {
      await startAndRead(
        'w-1',
        "console.log('before'); process.on('SIGTERM', () => { console.log('after'); process.exit(0); }); setInterval(() => {}, 1000);",
      );
      await engine.halt('SIGKILL');
      await vi.waitFor(() => expect(runtime.list()).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' }), within);
      const image = house.image('');
      await expect(runtime.startWorker(specOf('w-2', image))).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
      await expect(runtime.stopWorker('w-1', 0)).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
      await engine.resume();
      await vi.waitFor(async () => expect(await runtime.list()).toEqual(['w-1']), within);
      await runtime.stopWorker('w-1', 10_000);
      expect(told.exit('w-1')).toEqual({ exitCode: 0, signal: null });
      expect(told.lines('w-1')).toEqual(['before', 'after']);
    });

    it('removes what it pulled and nobody needs, and no image that has another name too', async () => {
      const [kept, named, gone] = ['kept', 'named', 'gone'].map((text) => house.image(`console.log('${text} ${randomUUID()}')`));
      if (!kept || !named || !gone) throw new Error('unreachable');
      for (const image of [kept, named, gone]) await runtime.prepare(image);
      const referenceOf = ({ repository, digest }: WorkerSpec['image']) => `${house.registry}/${repository}@${digest}`;
      await engine.docker('tag', referenceOf(named), 'mine:1');
      await runtime.forgetImages(new Set());
      // What was prepared a moment ago belongs to a deploy that is under way.
      expect(await engine.docker('image', 'inspect', '--format', 'there', referenceOf(gone))).toBe('there');
      await runtime.stop();
      runtime = opened.reopen();
      await runtime.start(told.events);
      await runtime.forgetImages(new Set([kept.digest]));
      expect(await engine.docker('image', 'inspect', '--format', 'there', referenceOf(kept), 'mine:1')).toBe('there\nthere');
      await expect(engine.docker('image', 'inspect', referenceOf(gone))).rejects.toThrow(/no such image/i);
      await engine.docker('rmi', 'mine:1');
    });

    it('gives each endpoint a network of its own, which goes a while after its last worker', async () => {
      await runtime.stop();
      runtime = opened.reopen({ networkLingerMs: 100 });
      await runtime.start(told.events);
      for (const [id, endpointId] of [
        ['w-1', 'one'],
        ['w-2', 'one'],
        ['w-3', 'two'],
      ] as const)
        await startAndRead(id, `console.log('up'); ${FOREVER}`, { endpointId });
      const networks = await Promise.all(
        ['w-1', 'w-2', 'w-3'].map((id) => engine.docker('inspect', '--format', '{{.HostConfig.NetworkMode}}', containerOf(id))),
      );
      expect(networks[0]).toBe(networks[1]);
      expect(networks[0]).not.toBe(networks[2]);
      expect(await runtime.urlFor('one')).toMatch(/^http:\/\/10\.\d+\.\d+\.1:1$/);
      for (const id of ['w-1', 'w-2', 'w-3']) await runtime.stopWorker(id, 0);
      const label = `label=dev.wherry.instance=${opened.instanceId}`;
      await vi.waitFor(async () => expect(await engine.docker('network', 'ls', '--quiet', '--filter', label)).toBe(''), within);
    });

    it('makes a network anew that somebody removed', async () => {
      await startAndRead('w-1', "console.log('up');");
      await ended('w-1');
      await engine.docker(
        'network',
        'rm',
        await engine.docker('network', 'ls', '--quiet', '--filter', `label=dev.wherry.instance=${opened.instanceId}`),
      );
      await startAndRead('w-2', "console.log('up');");
      await ended('w-2');
    });

    it('leaves containers of others alone, and stops what it does not know of its own', async () => {
      const other = await open();
      await other.runtime.start(told.events);
      await other.runtime.startWorker(specOf('w-other', house.image(`console.log('up'); ${FOREVER}`)));
      expect(await runtime.list()).toEqual([]);
      await runtime.stopWorker('w-never', 0);
      expect(await other.runtime.list()).toEqual(['w-other']);
      await other.close();
    });

    it('says on which port of this machine a port of the worker is, and keeps a volume beyond its worker (rows 86, 87)', async () => {
      const write = "import fs from 'node:fs'; fs.appendFileSync('/kept/file', 'x'); console.log(fs.readFileSync('/kept/file', 'utf8'));";
      const volumes = [`kept:/kept`];
      const user = { User: '65534' };
      // An engine tells the ports of what runs.
      const first = specOf('w-1', house.image(`${write} ${FOREVER}`, user), { ports: ['8000/http'], volumes });
      const { handle } = await runtime.startWorker(first);
      expect(handle['port 8000/tcp']).toBeGreaterThan(0);
      await until(() => told.lines('w-1').length > 0, 'the first worker to write');
      await runtime.stopWorker('w-1', 0);
      await ended('w-1');
      await runtime.startWorker(specOf('w-2', house.image(write, user), { volumes }));
      await ended('w-2');
      expect([told.lines('w-1'), told.lines('w-2')]).toEqual([['x'], ['xx']]);
    });
  });

  it('starts without an engine, and says what to do', async () => {
    const opened = await open({ address: 'unix:///nowhere/docker.sock' });
    await opened.runtime.start(listen().events);
    const image = house.image('');
    for (const call of [opened.runtime.list(), opened.runtime.accept(image), opened.runtime.startWorker(specOf('w-1', image))])
      await expect(call).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE', hint: expect.stringContaining('wherry doctor') });
    await opened.runtime.forgetImages(new Set());
    await opened.close();
  });
});
