import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Digest } from '../../src/oci/digest.js';
import type { Runtime, RuntimeEvents, WorkerSpec } from '../../src/runtime/runtime.js';

export interface OpenedRuntime {
  /** Not started yet. */
  readonly runtime: Runtime;
  /** A second object over the same data, as after a restart of the server. */
  reopen(): Runtime;
  /** Makes an image whose handler is this script (an ES module for Node). */
  image(script: string): WorkerSpec['image'];
  /** An image that this runtime must refuse, or null when it runs any. */
  readonly foreign: WorkerSpec['image'] | null;
  /** Whether a process of the host still runs. */
  isAlive(pid: number): boolean;
  close(): Promise<void>;
}

/** What a runtime told, kept in order. */
export interface Told {
  readonly events: RuntimeEvents;
  readonly order: readonly string[];
  lines(workerId: string): readonly string[];
  dropped(workerId: string): number;
  /** Steps of the runtime itself. */
  notes(workerId: string): readonly string[];
  exit(workerId: string): Omit<Parameters<RuntimeEvents['exit']>[0], 'workerId'> | undefined;
}

export function listen(): Told {
  const order: string[] = [];
  const lines = new Map<string, string[]>();
  const dropped = new Map<string, number>();
  const notes = new Map<string, string[]>();
  const exits = new Map<string, ReturnType<Told['exit']>>();
  return {
    order,
    lines: (workerId) => lines.get(workerId) ?? [],
    dropped: (workerId) => dropped.get(workerId) ?? 0,
    exit: (workerId) => exits.get(workerId),
    notes: (workerId) => notes.get(workerId) ?? [],
    events: {
      output(event) {
        order.push(`output ${event.workerId}`);
        lines.set(event.workerId, [...(lines.get(event.workerId) ?? []), ...event.lines.map(({ text }) => text)]);
        dropped.set(event.workerId, (dropped.get(event.workerId) ?? 0) + event.dropped);
      },
      exit({ workerId, exitCode, signal, cause }) {
        order.push(`exit ${workerId}`);
        exits.set(workerId, { exitCode, signal, ...(cause !== undefined && { cause }) });
      },
      note: ({ workerId, text }) => notes.set(workerId, [...(notes.get(workerId) ?? []), text]),
    },
  };
}

export function specOf(workerId: string, image: WorkerSpec['image'], more: Partial<WorkerSpec> = {}): WorkerSpec {
  const nothing = { env: {}, ownEnv: [], args: null, resources: {}, gpus: [], ports: [], volumes: [], models: [], isHardened: false };
  return { workerId, endpointId: 'e1', release: 1, image, ...nothing, ...more };
}

export const within = { timeout: 15_000, interval: 10 };
const FOREVER = 'setInterval(() => {}, 1000);';

/** Every runtime keeps these promises; a driver's own cases lie in its own file. */
export function describeRuntime(name: string, open: () => Promise<OpenedRuntime>): void {
  describe(`Runtime ${name}`, () => {
    let opened: OpenedRuntime;
    let runtime: Runtime;
    let told: Told;

    beforeEach(async () => {
      opened = await open();
      runtime = opened.runtime;
      told = listen();
      await runtime.start(told.events);
    });
    afterEach(() => opened.close());

    it('gives a worker the variables of its spec and tells its lines before its exit code', async () => {
      const image = opened.image('console.log(process.env.GIVEN); console.error("second"); process.exitCode = 7;');
      await runtime.startWorker(specOf('w-env', image, { env: { GIVEN: 'yes' } }));
      await vi.waitFor(() => expect(told.exit('w-env')).toEqual({ exitCode: 7, signal: null }), within);
      expect([...told.lines('w-env')].sort()).toEqual(['second', 'yes']);
      expect(told.order.at(-1)).toBe('exit w-env');
    });

    it('tells lines while the worker still runs', async () => {
      await runtime.startWorker(specOf('w-lines', opened.image(`console.log('first'); ${FOREVER}`)));
      await vi.waitFor(() => expect(told.lines('w-lines')).toEqual(['first']), within);
      expect(await runtime.list()).toEqual(['w-lines']);
      await runtime.stopWorker('w-lines', 0);
    });

    it('passes the arguments of the spec to the worker', async () => {
      await runtime.startWorker(specOf('w-args', opened.image('console.log(process.argv.slice(2).join());'), { args: ['a', 'b c'] }));
      await vi.waitFor(() => expect(told.exit('w-args')?.exitCode).toBe(0), within);
      expect(told.lines('w-args')).toEqual(['a,b c']);
    });

    it('lets a worker end by itself on SIGTERM', async () => {
      await runtime.startWorker(
        specOf('w-term', opened.image(`process.on('SIGTERM', () => process.exit(3)); console.log('up'); ${FOREVER}`)),
      );
      await vi.waitFor(() => expect(told.lines('w-term')).toEqual(['up']), within);
      await runtime.stopWorker('w-term', 10_000);
      await vi.waitFor(() => expect(told.exit('w-term')).toEqual({ exitCode: 3, signal: null }), within);
    });

    it('leaves the children of a worker alone while it may still finish', async () => {
      const script = `import { spawn } from 'node:child_process';
        process.on('SIGTERM', () => console.log('asked'));
        const child = spawn('sleep', ['1']);
        child.on('exit', (code, signal) => { console.log('child ' + code + ' ' + signal); process.exit(0); });
        child.on('spawn', () => console.log('up'));`;
      await runtime.startWorker(specOf('w-child', opened.image(script)));
      await vi.waitFor(() => expect(told.lines('w-child')).toEqual(['up']), within);
      await runtime.stopWorker('w-child', 10_000);
      await vi.waitFor(() => expect(told.exit('w-child')).toEqual({ exitCode: 0, signal: null }), within);
      expect(told.lines('w-child')).toEqual(['up', 'asked', 'child 0 null']);
    });

    it('kills a worker that ignores SIGTERM when the grace is over', async () => {
      await runtime.startWorker(
        specOf('w-kill', opened.image(`process.on('SIGTERM', () => console.log('no')); console.log('up'); ${FOREVER}`)),
      );
      await vi.waitFor(() => expect(told.lines('w-kill')).toEqual(['up']), within);
      await runtime.stopWorker('w-kill', 200);
      expect(await runtime.list()).toEqual([]);
      await vi.waitFor(() => expect(told.exit('w-kill')).toEqual({ exitCode: null, signal: 'SIGKILL' }), within);
      expect(told.lines('w-kill')).toContain('no');
    });

    it('stops a worker that is gone, or never was, without complaint', async () => {
      await runtime.startWorker(specOf('w-gone', opened.image('')));
      await vi.waitFor(() => expect(told.exit('w-gone')?.exitCode).toBe(0), within);
      await runtime.stopWorker('w-gone', 0);
      await runtime.stopWorker('w-never', 0);
    });

    it('bounds a flood of lines and tells how many were dropped', async () => {
      const script = "let n = 0; for (; n < 50000; n += 1) process.stdout.write('line ' + n + '\\n');";
      await runtime.startWorker(specOf('w-flood', opened.image(script)));
      await vi.waitFor(() => expect(told.exit('w-flood')?.exitCode).toBe(0), within);
      expect(told.dropped('w-flood')).toBeGreaterThan(0);
      expect(told.lines('w-flood').length + told.dropped('w-flood')).toBe(50_000);
      expect(told.lines('w-flood')[0]).toBe('line 0');
    });

    it('adopts running workers after a restart and tells what happened meanwhile', async () => {
      const talk = `setTimeout(() => { console.log('later'); process.exitCode = 5; }, 300); console.log('up');`;
      await runtime.startWorker(specOf('w-stays', opened.image(`console.log('up'); ${FOREVER}`)));
      await runtime.startWorker(specOf('w-ends', opened.image(talk)));
      await vi.waitFor(() => expect([told.lines('w-ends'), told.lines('w-stays')]).toEqual([['up'], ['up']]), within);
      await runtime.stop();
      const next = opened.reopen();
      const heard = listen();
      await next.start(heard.events);
      expect(await next.list()).toContain('w-stays');
      await vi.waitFor(() => expect(heard.exit('w-ends')).toEqual({ exitCode: 5, signal: null }), within);
      expect(heard.lines('w-ends')).toEqual(['later']);
      await next.stopWorker('w-stays', 0);
      await vi.waitFor(() => expect(heard.exit('w-stays')?.signal).toBe('SIGKILL'), within);
    });

    describe('freezing', () => {
      const TICKS = "let n = 0; setInterval(() => console.log('tick ' + n++), 20);";

      beforeEach((context) => {
        if (!runtime.capabilities.freeze) context.skip('this runtime declares that it cannot freeze');
      });

      /** What `workerId` says while another worker ticks `count` times. */
      async function linesDuring(workerId: string, count: number): Promise<number> {
        const before = told.lines(workerId).length;
        const goal = told.lines('w-clock').length + count;
        await vi.waitFor(() => expect(told.lines('w-clock').length).toBeGreaterThanOrEqual(goal), within);
        return told.lines(workerId).length - before;
      }

      async function startTicking(...ids: readonly string[]): Promise<void> {
        for (const id of ids) await runtime.startWorker(specOf(id, opened.image(TICKS)));
        for (const id of ids) await vi.waitFor(() => expect(told.lines(id).length).toBeGreaterThan(2), within);
      }

      it('suspends a worker, which keeps its memory, and lets it go on where it was; both may be repeated', async () => {
        await startTicking('w-cold', 'w-clock');
        await runtime.thawWorker('w-cold');
        expect((await runtime.freezeWorker('w-cold')).memoryBytes).toBeGreaterThan(1_000_000);
        expect((await runtime.freezeWorker('w-cold')).memoryBytes).toBeGreaterThan(1_000_000);
        // What it had said before may still be on its way: an engine may read its log only now and then.
        await vi.waitFor(async () => expect(await linesDuring('w-cold', 20)).toBe(0), within);
        expect(await linesDuring('w-cold', 20)).toBe(0);
        expect(await runtime.list()).toContain('w-cold');
        for (let n = 0; n < 2; n++) await runtime.thawWorker('w-cold');
        await vi.waitFor(async () => expect(await linesDuring('w-cold', 5)).toBeGreaterThan(0), within);
        expect(told.lines('w-cold')).toEqual(told.lines('w-cold').map((_, n) => `tick ${n}`));
        for (const id of ['w-cold', 'w-clock']) await runtime.stopWorker(id, 0);
      });

      it('refuses for a worker that does not run', async () => {
        await expect(runtime.freezeWorker('w-never')).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
        await expect(runtime.thawWorker('w-never')).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
      });

      it('lets a frozen worker end by itself when it is stopped with grace, and kills it without', async () => {
        const script = `process.on('SIGTERM', () => { console.log('asked'); process.exit(3); }); console.log('up'); ${FOREVER}`;
        for (const id of ['w-soft', 'w-hard']) {
          await runtime.startWorker(specOf(id, opened.image(script)));
          await vi.waitFor(() => expect(told.lines(id)).toEqual(['up']), within);
          await runtime.freezeWorker(id);
        }
        await runtime.stopWorker('w-soft', 10_000);
        await vi.waitFor(() => expect(told.exit('w-soft')).toEqual({ exitCode: 3, signal: null }), within);
        expect(told.lines('w-soft')).toEqual(['up', 'asked']);
        await runtime.stopWorker('w-hard', 0);
        await vi.waitFor(() => expect(told.exit('w-hard')).toEqual({ exitCode: null, signal: 'SIGKILL' }), within);
        expect(told.lines('w-hard')).toEqual(['up']);
        expect(await runtime.list()).toEqual([]);
      });

      it('adopts a frozen worker after a restart: it stays frozen, and goes on when it is thawed', async () => {
        await startTicking('w-cold', 'w-clock');
        await runtime.freezeWorker('w-cold');
        await linesDuring('w-cold', 10);
        await runtime.stop();
        const said = told.lines('w-cold').length;
        runtime = opened.reopen();
        const before = told;
        told = listen();
        await runtime.start(told.events);
        expect(await runtime.list()).toContain('w-cold');
        expect(await linesDuring('w-cold', 20)).toBe(0);
        expect((await runtime.freezeWorker('w-cold')).memoryBytes).toBeGreaterThan(1_000_000);
        await runtime.thawWorker('w-cold');
        await vi.waitFor(() => expect(told.lines('w-cold')[0]).toBe(`tick ${said}`), within);
        expect(before.exit('w-cold')).toBeUndefined();
        for (const id of ['w-cold', 'w-clock']) await runtime.stopWorker(id, 0);
      });
    });

    it('refuses an image that it cannot run and names a runtime that can', async (context) => {
      if (opened.foreign === null) return context.skip('this runtime runs any image');
      await expect(runtime.prepare(opened.foreign)).rejects.toMatchObject({
        code: 'RUNTIME_REFUSED',
        hint: expect.stringContaining('runtime'),
      });
    });

    it('may be stopped twice and before start', async () => {
      const other = opened.reopen();
      await other.stop();
      await runtime.stop();
      await runtime.stop();
    });
  });
}

/** A digest made of one repeated hex digit pattern, for images of tests. */
export function fakeDigest(hex: string): Digest {
  return `sha256:${hex.padEnd(64, '0')}` as Digest;
}
