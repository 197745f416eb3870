import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dueKeyOf } from '../../src/domain/delivery.js';
import { DEFAULT_SETTINGS, type Endpoint } from '../../src/domain/endpoint.js';
import { DEFAULT_SPEC, WHOLE_ROLLOUT } from '../../src/domain/release.js';
import { boundKeyOf } from '../../src/domain/template.js';
import type { Worker, WorkerStart } from '../../src/domain/worker.js';
import { digestOf } from '../../src/oci/digest.js';
import type { NewJob, RecordRange, Store } from '../../src/store/store.js';

export interface OpenedStore {
  readonly store: Store;
  /** Opens the same data again, after `store.close()`. */
  reopen(): Promise<Store>;
  remove(): void;
}

export const NOW = 1_700_000_000_000;

export function endpointOf(id: string, more: Partial<Endpoint> = {}): Endpoint {
  const none = { activeRelease: null, pausedReason: null, labels: {}, expiresAt: null };
  return { id, name: id, type: 'queue', settings: DEFAULT_SETTINGS, createdAt: NOW, ...none, ...more };
}

export function jobOf(id: string, more: Partial<NewJob> = {}): NewJob {
  return {
    id,
    endpointId: 'e1',
    input: '{"n":1}',
    extras: null,
    isSync: false,
    priority: 'normal',
    webhook: null,
    batchId: null,
    idempotencyKey: null,
    executionTimeoutMs: 10_000,
    expiresAt: NOW + 60_000,
    pinnedRelease: null,
    ...more,
  };
}

const startOf = (at: number): WorkerStart => ({
  path: 'spawn',
  preparedAt: at + 1,
  madeAt: at + 1,
  startedAt: at + 2,
  bytes: 0,
  isCached: true,
});

export function workerOf(id: string, more: Partial<Worker> = {}): Worker {
  return {
    id,
    endpointId: 'e1',
    release: 1,
    state: 'INITIALIZING',
    tokenHash: 'x',
    runtime: 'process',
    handle: null,
    gpus: null,
    isCandidate: false,
    createdAt: NOW,
    admittedAt: NOW,
    start: null,
    readyAt: null,
    lastSeenAt: null,
    idleSince: null,
    frozenAt: null,
    memoryBytes: null,
    thaws: null,
    stoppedAt: null,
    exitCode: null,
    reason: null,
    ...more,
  };
}

const claimOf = (workerId: string, limit = 1) => ({ endpointId: 'e1', workerId, release: 1, limit, leaseUntil: NOW + 35_000, now: NOW });
export const COMPLETED = { state: 'COMPLETED', output: '1', error: null } as const;
const CANCELLED = { state: 'CANCELLED', output: null, error: null } as const;

/** The contract of a Store, run over every driver. */
export function describeStore(name: string, open: () => Promise<OpenedStore>): void {
  describe(`store: ${name}`, () => {
    let opened: OpenedStore;
    let store: Store;

    beforeEach(async () => {
      opened = await open();
      store = opened.store;
      await store.addEndpoint(endpointOf('e1'));
    });

    afterEach(async () => {
      await store.close();
      opened.remove();
    });

    const settle = async (jobId: string, workerId: string) =>
      (await store.settle({ jobId, workerId, endpointId: 'e1', outcome: COMPLETED, retainUntil: NOW + 1000, now: NOW + 5 }))?.job;

    it('refuses a taken endpoint id', async () => {
      await expect(store.addEndpoint(endpointOf('e1'))).rejects.toMatchObject({ code: 'NAME_TAKEN' });
    });

    it('hands out the oldest job first and low priority last', async () => {
      await store.addWorker(workerOf('w1'));
      await store.enqueue(jobOf('low', { priority: 'low' }), NOW);
      await store.enqueue(jobOf('a'), NOW);
      await store.enqueue(jobOf('b'), NOW);
      const jobs = await store.claim(claimOf('w1', 5));
      expect(jobs.map(({ id }) => id)).toEqual(['a', 'b', 'low']);
      expect(jobs[0]).toMatchObject({ state: 'IN_PROGRESS', attempt: 1, workerId: 'w1', release: 1 });
      expect((await store.getWorker('w1'))?.state).toBe('RUNNING');
    });

    it('makes low-priority jobs normal that waited too long, and then in their old order', async () => {
      await store.addWorker(workerOf('w1'));
      await store.enqueue(jobOf('starved', { priority: 'low' }), NOW);
      await store.enqueue(jobOf('normal'), NOW + 1);
      await store.enqueue(jobOf('patient', { priority: 'low' }), NOW + 2);
      expect(await store.promote('e1', NOW - 1)).toBe(0);
      expect(await store.promote('e1', NOW + 1)).toBe(1);
      expect(await store.promote('e1', NOW + 1)).toBe(0);
      expect((await store.claim(claimOf('w1', 5))).map(({ id }) => id)).toEqual(['starved', 'normal', 'patient']);
    });

    it('returns nothing when nothing is queued or the worker drains', async () => {
      await store.addWorker(workerOf('w1'));
      expect(await store.claim(claimOf('w1'))).toEqual([]);
      await store.enqueue(jobOf('a'), NOW);
      await store.changeWorker({ id: 'w1', state: 'DRAINING' });
      expect(await store.claim(claimOf('w1'))).toEqual([]);
    });

    it('gives each job to exactly one of many workers', async () => {
      const workers = Array.from({ length: 20 }, (_, n) => `w${n}`);
      await Promise.all(workers.map((id) => store.addWorker(workerOf(id))));
      await Promise.all(Array.from({ length: 10 }, (_, n) => store.enqueue(jobOf(`j${n}`), NOW)));
      const claimed = (await Promise.all(workers.map((id) => store.claim(claimOf(id))))).flat();
      expect(claimed.map(({ id }) => id).sort()).toEqual(Array.from({ length: 10 }, (_, n) => `j${n}`));
    });

    it('settles once, frees the worker and counts', async () => {
      await store.addWorker(workerOf('w1'));
      await store.enqueue(jobOf('a'), NOW);
      await store.claim(claimOf('w1'));
      expect(await settle('a', 'other')).toBeUndefined();
      expect(await settle('a', 'w1')).toMatchObject({ state: 'COMPLETED', output: '1', finishedAt: NOW + 5 });
      expect(await settle('a', 'w1')).toBeUndefined();
      expect(await store.getWorker('w1')).toMatchObject({ state: 'IDLE', idleSince: NOW + 5 });
      expect(await store.sampleQueue('e1')).toMatchObject({ completed: 1, failed: 0, inProgress: 0, inQueue: 0 });
    });

    it('reaches one terminal state when a cancel races a result', async () => {
      await store.addWorker(workerOf('w1'));
      for (let n = 0; n < 50; n++) {
        await store.enqueue(jobOf(`j${n}`), NOW);
        await store.claim(claimOf('w1'));
        const end = { jobId: `j${n}`, outcome: CANCELLED, from: ['IN_QUEUE', 'IN_PROGRESS'] as const, retainUntil: NOW, now: NOW };
        const both = await Promise.all(n % 2 ? [store.end(end), settle(`j${n}`, 'w1')] : [settle(`j${n}`, 'w1'), store.end(end)]);
        expect(both.filter(Boolean)).toHaveLength(1);
      }
    });

    it('requeues at the front and never to the same worker', async () => {
      await store.addWorker(workerOf('w1'));
      await store.addWorker(workerOf('w2'));
      await store.enqueue(jobOf('a'), NOW);
      await store.claim(claimOf('w1'));
      await store.enqueue(jobOf('b'), NOW);
      expect(await store.requeue({ jobId: 'a', workerId: 'w2' }, 'lost', NOW)).toBeUndefined();
      expect(await store.requeue({ jobId: 'a', workerId: 'w1' }, 'lost', NOW)).toMatchObject({ state: 'IN_QUEUE' });
      expect((await store.claim(claimOf('w1'))).map(({ id }) => id)).toEqual(['b']);
      expect((await store.claim(claimOf('w2'))).map(({ id, attempt }) => [id, attempt])).toEqual([['a', 2]]);
      expect((await store.sampleQueue('e1')).retried).toBe(1);
    });

    it('removes an endpoint with its jobs and keys, and no other key', async () => {
      const keyOf = (id: string, endpointId: string | null) =>
        ({ id, name: id, scope: endpointId ? 'endpoint' : 'admin', endpointId, hash: 'x', isEnabled: true, createdAt: NOW }) as const;
      for (const [id, endpointId] of [
        ['own', 'e1'],
        ['other', 'e2'],
        ['all', null],
      ] as const)
        await store.putRecord('key', id, keyOf(id, endpointId));
      await store.enqueue(jobOf('a'), NOW);
      await store.removeEndpoint('e1');
      expect(await store.getJob('a')).toBeUndefined();
      expect((await store.listRecords('key')).map(({ id }) => id)).toEqual(['all', 'other']);
      await store.addEndpoint(endpointOf('e1'));
    });

    it('removes an endpoint with what binds it to a template, and the template when it is its own and nobody else has it', async () => {
      const content = { image: 'a:1', credential: null, spec: DEFAULT_SPEC };
      const saved = { ...content, gpu: { count: 0, kinds: [] } };
      const bound = [
        ['e1', 'own'],
        ['e3', 'shared'],
        ['e4', 'lent'],
        ['e5', 'lent'],
      ] as const;
      for (const [endpointId, templateId] of bound) {
        if (endpointId !== 'e1') await store.addEndpoint(endpointOf(endpointId));
        await store.putRecord('template', templateId, { ...content, id: templateId, name: templateId, extras: {}, createdAt: NOW });
        const isOwn = templateId === 'own' || endpointId === 'e4';
        await store.putRecord('binding', endpointId, { templateId, isOwn, saved, extras: {} });
        await store.putRecord('bound-endpoint', boundKeyOf({ templateId, endpointId }), {});
      }
      for (const endpointId of ['e1', 'e3', 'e4']) {
        await store.removeEndpoint(endpointId);
        expect(await store.getRecord('binding', endpointId)).toBeUndefined();
      }
      expect((await store.listRecords('template')).map(({ id }) => id)).toEqual(['lent', 'shared']);
      expect((await store.listRecords('bound-endpoint')).map(({ id }) => id)).toEqual(['lent/e5']);
    });

    it('lists jobs without their texts, which may be large', async () => {
      await store.enqueue(jobOf('a', { expiresAt: NOW + 1, extras: '{"more":1}' }), NOW);
      for (const [job] of [await store.listJobs({ endpointId: 'e1', limit: 1 }), await store.listOverdue(NOW + 2, 1)]) {
        expect(job).toMatchObject({ id: 'a', state: 'IN_QUEUE' });
        expect(job).not.toHaveProperty('input');
        expect(JSON.stringify(job)).not.toMatch(/"n"|more/);
      }
    });

    it('gives an ended job a new run without what the last one left, once and only while it is kept', async () => {
      await store.addWorker(workerOf('w1'));
      await store.addWorker(workerOf('w2'));
      await store.enqueue(jobOf('a'), NOW);
      await store.claim(claimOf('w1'));
      await store.report({ jobId: 'a', workerId: 'w1', chunks: ['1'] });
      const failed = { state: 'FAILED', output: '2', error: '"no"' } as const;
      await store.settle({ jobId: 'a', workerId: 'w1', endpointId: 'e1', outcome: failed, retainUntil: NOW + 1000, now: NOW });
      expect(await store.requeue({ jobId: 'a', workerId: null }, 'retry', NOW + 1000)).toBeUndefined();
      const again = await store.requeue({ jobId: 'a', workerId: null }, 'retry', NOW + 9);
      expect(again).toMatchObject({
        state: 'IN_QUEUE',
        queuedAt: NOW + 9,
        submittedAt: NOW,
        attempt: 0,
        chunks: 0,
        output: null,
        error: null,
      });
      expect(await store.requeue({ jobId: 'a', workerId: null }, 'retry', NOW + 9)).toBeUndefined();
      expect((await store.readChunks({ jobId: 'a', after: null })).chunks).toEqual([]);
      expect(await store.claim(claimOf('w1'))).toEqual([]);
      const claimable = (id: string) => store.listJobs({ endpointId: 'e1', claimableBy: { id, release: 1, isCandidate: false }, limit: 1 });
      expect(await claimable('w1')).toEqual([]);
      expect(await claimable('w2')).toMatchObject([{ id: 'a' }]);
      expect((await store.claim(claimOf('w2'))).map(({ id }) => id)).toEqual(['a']);
    });

    it('gives a worker its next job in the same step as its result, unless it drains, holds another one, or the result does not count', async () => {
      await store.addWorker(workerOf('w1'));
      for (const id of ['a', 'b', 'c', 'd']) await store.enqueue(jobOf(id), NOW);
      await store.claim(claimOf('w1'));
      const moments = { outcome: COMPLETED, retainUntil: NOW + 1000, now: NOW + 5, endpointId: 'e1', workerId: 'w1' };
      const next = { release: 1, leaseUntil: NOW + 900 };
      const settled = await store.settle({ jobId: 'a', next, ...moments });
      expect(settled?.job).toMatchObject({ id: 'a', state: 'COMPLETED' });
      expect(settled?.next).toMatchObject({
        id: 'b',
        state: 'IN_PROGRESS',
        workerId: 'w1',
        attempt: 1,
        leaseUntil: NOW + 900,
        claimedAt: NOW + 5,
      });
      expect(await store.getWorker('w1')).toMatchObject({ state: 'RUNNING', idleSince: null });
      expect(await store.settle({ jobId: 'a', next, ...moments })).toBeUndefined();
      await store.claim(claimOf('w1'));
      expect(await store.settle({ jobId: 'b', next, ...moments })).toMatchObject({ job: { id: 'b' }, next: undefined });
      await store.changeWorker({ id: 'w1', state: 'DRAINING' });
      expect(await store.settle({ jobId: 'c', next, ...moments })).toMatchObject({ job: { id: 'c' }, next: undefined });
      expect((await store.getJob('d'))?.state).toBe('IN_QUEUE');
    });

    it('delivers each chunk of a stream once, and shows all of them to one that counts by itself', async () => {
      await store.addWorker(workerOf('w1'));
      await store.enqueue(jobOf('a'), NOW);
      expect(await store.report({ jobId: 'a', workerId: 'w1', chunks: ['0'] })).toBeUndefined();
      await store.claim(claimOf('w1'));
      expect(await store.report({ jobId: 'a', workerId: 'w1', chunks: ['1', '2'] })).toEqual({ chunks: 2, streamBytes: 2 });
      expect(await store.readChunks({ jobId: 'a', after: 'delivered' })).toEqual({
        chunks: ['1', '2'],
        mark: { workerId: 'w1', number: 2 },
      });
      await store.report({ jobId: 'a', workerId: 'w1', chunks: ['3'] });
      const readers = await Promise.all([1, 2].map(() => store.readChunks({ jobId: 'a', after: 'delivered' })));
      expect(readers.flatMap(({ chunks }) => chunks)).toEqual(['3']);
    });

    it('gives a reader what follows its mark as often as it asks, and the whole stream when the job began anew', async () => {
      const jobId = 'a';
      for (const id of ['w1', 'w2']) await store.addWorker(workerOf(id));
      await store.enqueue(jobOf(jobId), NOW);
      expect(await store.readChunks({ jobId, after: null })).toEqual({ chunks: [], mark: { workerId: '', number: 0 } });
      await store.claim(claimOf('w1'));
      await store.report({ jobId, workerId: 'w1', chunks: ['1', '2', '3'] });
      await store.readChunks({ jobId, after: 'delivered' });
      const after = { workerId: 'w1', number: 1 };
      for (const _time of [1, 2]) {
        expect(await store.readChunks({ jobId, after })).toEqual({ chunks: ['2', '3'], mark: { workerId: 'w1', number: 3 } });
      }
      await store.requeue({ jobId, workerId: 'w1' }, 'lost', NOW + 1);
      expect(await store.readChunks({ jobId, after })).toEqual({ chunks: [], mark: after });
      await store.claim(claimOf('w2'));
      await store.report({ jobId, workerId: 'w2', chunks: ['4'] });
      expect(await store.readChunks({ jobId, after })).toEqual({ chunks: ['4'], mark: { workerId: 'w2', number: 1 } });
    });

    it('makes one job of an idempotency key until its record goes', async () => {
      const keyed = (id: string) => jobOf(id, { idempotencyKey: 'k' });
      const made = await Promise.all(['a', 'b', 'c'].map((id) => store.enqueue(keyed(id), NOW)));
      expect(made.map(({ id }) => id)).toEqual(['a', 'a', 'a']);
      await store.end({ jobId: 'a', outcome: CANCELLED, from: ['IN_QUEUE'], retainUntil: NOW + 5, now: NOW });
      expect((await store.enqueue(keyed('d'), NOW + 4)).id).toBe('a');
      expect((await store.enqueue(keyed('e'), NOW + 5)).id).toBe('e');
    });

    it('keeps of a job past its retention only that it was, and that for an hour', async () => {
      await store.enqueue(jobOf('a', { extras: '{"s3Config":{}}', webhook: 'http://x.test/' }), NOW);
      await store.end({
        jobId: 'a',
        outcome: { state: 'FAILED', output: '1', error: '2' },
        from: ['IN_QUEUE'],
        retainUntil: NOW + 900,
        now: NOW,
      });
      await store.shortenRetention('a', NOW + 5);
      await store.shortenRetention('a', NOW + 500);
      expect(await store.sweep(NOW + 6, 9)).toEqual({ buried: 1, isMore: false });
      expect(await store.sweep(NOW + 7, 9)).toEqual({ buried: 0, isMore: false });
      const empty = { input: 'null', extras: null, output: null, error: null, webhook: null };
      expect(await store.getJob('a')).toMatchObject({ state: 'FAILED', retainUntil: NOW + 5, ...empty });
      expect(await store.listJobs({ endpointId: 'e1', limit: 9 })).toEqual([]);
      await store.sweep(NOW + 3_600_006, 9);
      expect(await store.getJob('a')).toBeUndefined();
    });

    it('purges queued jobs and leaves running ones', async () => {
      await store.addWorker(workerOf('w1'));
      await store.enqueue(jobOf('a'), NOW);
      await store.claim(claimOf('w1'));
      await store.enqueue(jobOf('b'), NOW);
      expect(await store.purge('e1', NOW, NOW)).toEqual(['b']);
      expect((await store.getJob('a'))?.state).toBe('IN_PROGRESS');
    });

    it('lists jobs whose lease, execution time or ttl passed, and sweeps what retention left behind', async () => {
      await store.addWorker(workerOf('w1'));
      await store.enqueue(jobOf('a'), NOW);
      await store.claim(claimOf('w1'));
      await store.enqueue(jobOf('b', { expiresAt: NOW + 1 }), NOW);
      expect(await store.listOverdue(NOW, 10)).toEqual([]);
      expect((await store.listOverdue(NOW + 2, 10)).map(({ id }) => id)).toEqual(['b']);
      expect((await store.listOverdue(NOW + 10_001, 10)).map(({ id }) => id).sort()).toEqual(['a', 'b']);
      expect(await store.listOverdue(NOW + 10_001, 1)).toHaveLength(1);
      await settle('a', 'w1');
      expect((await store.sweep(NOW + 1000, 9)).buried).toBe(0);
      expect((await store.sweep(NOW + 1001, 9)).buried).toBe(1);
    });

    it('sweeps and removes many records in parts', async () => {
      for (const id of ['a', 'b', 'c']) await store.enqueue(jobOf(id), NOW);
      await store.purge('e1', NOW + 1, NOW);
      expect(await store.sweep(NOW + 2, 2)).toEqual({ buried: 2, isMore: true });
      expect(await store.sweep(NOW + 2, 2)).toEqual({ buried: 1, isMore: false });
      expect(await store.sweep(NOW + 3_600_002, 2)).toEqual({ buried: 0, isMore: true });
      expect(await store.sweep(NOW + 3_600_002, 2)).toEqual({ buried: 0, isMore: false });
      expect(await Promise.all(['a', 'b', 'c'].map((id) => store.getJob(id)))).toEqual([undefined, undefined, undefined]);
      for (const id of ['d', 'e', 'f']) await store.enqueue(jobOf(id), NOW);
      const removed = [];
      for (let part = 1; part > 0; removed.push(part)) part = await store.removeJobs('e1', 2);
      expect(removed).toEqual([2, 1, 0]);
    });

    it('numbers releases, keeps one rollout open, and activates on DONE', async () => {
      const image = { reference: 'a:1', repository: 'a', tag: '1', digest: digestOf('a') };
      const release = { endpointId: 'e1', createdAt: NOW, author: 'me', source: 'deploy', sourceRevision: null, image, spec: DEFAULT_SPEC };
      const first = await store.addRelease(release, WHOLE_ROLLOUT, NOW);
      expect(first).toMatchObject({ release: { number: 1 }, rollout: { from: null, to: 1, state: 'PROVING' } });
      await expect(store.addRelease(release, WHOLE_ROLLOUT, NOW)).rejects.toMatchObject({ code: 'ROLLOUT_OPEN' });
      await store.addWorker({ ...workerOf('candidate'), isCandidate: true });
      expect(await store.viewFleet('e1')).toMatchObject({
        endpoint: { activeRelease: null },
        workers: [{ id: 'candidate', isCandidate: true }],
        rollout: { to: 1 },
      });
      expect(await store.changeRollout({ endpointId: 'e1', to: 1, state: 'DONE' }, NOW)).toMatchObject({ state: 'DONE', endedAt: NOW });
      const fleet = await store.viewFleet('e1');
      expect(fleet).toMatchObject({ endpoint: { activeRelease: 1 }, workers: [{ id: 'candidate', isCandidate: false }] });
      expect(fleet?.rollout).toBeUndefined();
      expect(await store.viewFleet('unknown')).toBeUndefined();
      expect(await store.changeRollout({ endpointId: 'e1', to: 1, state: 'REVERTED', reason: 'x' }, NOW)).toBeUndefined();
      expect((await store.getEndpoint('e1'))?.activeRelease).toBe(1);
      expect(await store.addRelease(release, WHOLE_ROLLOUT, NOW)).toMatchObject({ release: { number: 2 }, rollout: { from: 1, to: 2 } });
      expect(await store.listReleases('e1')).toHaveLength(2);
    });

    it('adds an endpoint with its first release, or neither', async () => {
      const image = { reference: 'a:1', repository: 'a', tag: '1', digest: digestOf('a') };
      const release = { createdAt: NOW, author: 'me', source: 'deploy', sourceRevision: null, image, spec: DEFAULT_SPEC };
      const make = (id: string) =>
        store.addRelease({ ...release, endpointId: id }, WHOLE_ROLLOUT, NOW, { endpoint: endpointOf(id, { name: 'made' }) });
      expect(await make('e2')).toMatchObject({ release: { number: 1 }, rollout: { from: null, to: 1 } });
      expect(await store.getEndpoint('e2')).toEqual(endpointOf('e2', { name: 'made' }));
      await expect(make('e1')).rejects.toMatchObject({ code: 'NAME_TAKEN' });
      expect([(await store.getEndpoint('e1'))?.name, await store.listReleases('e1')]).toEqual(['e1', []]);
    });

    it('guards the edges of a worker', async () => {
      await store.addWorker(workerOf('w1'));
      expect(await store.changeWorker({ id: 'w1', state: 'FROZEN' })).toBeUndefined();
      expect(await store.changeWorker({ id: 'w1', state: 'STOPPED', stoppedAt: NOW, exitCode: 3, reason: 'gone' })).toMatchObject({
        exitCode: 3,
      });
      expect(await store.changeWorker({ id: 'w1', state: 'IDLE' })).toBeUndefined();
      expect(await store.listWorkers('e1')).toEqual([]);
      expect(await store.listWorkers('e1', true)).toHaveLength(1);
    });

    it('lets a worker in that waited for room, with a token of its own, and moves that moment with the wall clock', async () => {
      await store.addWorker(workerOf('w1', { state: 'THROTTLED', admittedAt: null }));
      expect(await store.claim(claimOf('w1'))).toEqual([]);
      const admitted = { state: 'INITIALIZING', tokenHash: 'y', admittedAt: NOW + 7, gpus: ['GPU-b', 'GPU-c'] } as const;
      expect(await store.changeWorker({ id: 'w1', ...admitted })).toMatchObject({ ...admitted, createdAt: NOW });
      await store.moveMoments(10, 'mark');
      expect(await store.getWorker('w1')).toMatchObject({ createdAt: NOW + 10, admittedAt: NOW + 17, gpus: ['GPU-b', 'GPU-c'] });
      await store.addWorker(workerOf('w3', { gpus: [] }));
      expect((await store.getWorker('w3'))?.gpus).toEqual([]);
      await store.addWorker(workerOf('w2', { state: 'THROTTLED', admittedAt: null }));
      expect(await store.changeWorker({ id: 'w2', state: 'DRAINING' })).toBeUndefined();
      expect(await store.changeWorker({ id: 'w2', state: 'STOPPED', stoppedAt: NOW })).toMatchObject({ admittedAt: null });
    });

    it('freezes a worker only without a job, gives a frozen one none, and changes it only from the state that is named', async () => {
      await store.addWorker(workerOf('w1'));
      await store.changeWorker({ id: 'w1', state: 'IDLE', readyAt: NOW, idleSince: NOW });
      await store.enqueue(jobOf('a'), NOW);
      await store.claim(claimOf('w1'));
      expect(await store.changeWorker({ id: 'w1', state: 'FROZEN', frozenAt: NOW })).toBeUndefined();
      expect(await store.changeWorker({ id: 'w1', from: 'FROZEN', state: 'IDLE' })).toBeUndefined();
      await settle('a', 'w1');
      await store.enqueue(jobOf('b'), NOW);
      const frozen = { state: 'FROZEN', frozenAt: NOW + 1, memoryBytes: 5_000 } as const;
      expect(await store.changeWorker({ id: 'w1', from: 'IDLE', ...frozen })).toMatchObject(frozen);
      expect(await store.claim({ ...claimOf('w1'), isAnnounced: true })).toEqual([]);
      expect(await store.changeWorker({ id: 'w1', from: 'IDLE', memoryBytes: 1 })).toBeUndefined();
      const thawed = { state: 'IDLE', frozenAt: null, memoryBytes: null, thaws: '[[1,2,3]]' } as const;
      expect(await store.changeWorker({ id: 'w1', from: 'FROZEN', ...thawed })).toMatchObject(thawed);
      expect(await store.changeWorker({ id: 'w1', from: 'FROZEN', ...thawed })).toBeUndefined();
      expect(await store.claim(claimOf('w1'))).toHaveLength(1);
    });

    it('lists the workers that stopped last beside those that live, and counts the stopped ones', async () => {
      for (const [index, id] of ['w1', 'w2', 'w3', 'w4'].entries()) {
        await store.addWorker(workerOf(id));
        if (id !== 'w4') await store.changeWorker({ id, state: 'STOPPED', stoppedAt: NOW + index });
      }
      expect((await store.listWorkers('e1', 2)).map(({ id }) => id)).toEqual(['w2', 'w3', 'w4']);
      expect((await store.listWorkers('e1', 0)).map(({ id }) => id)).toEqual(['w4']);
      expect([...(await store.countStopped())]).toEqual([['e1', 3]]);
    });

    it('counts each end of a run, also after a purge, and knows since when the oldest waits', async () => {
      await store.addWorker(workerOf('w1'));
      for (const [index, id] of ['a', 'b', 'c', 'd', 'e'].entries())
        await store.enqueue(jobOf(id, id === 'd' ? { priority: 'low' } : {}), NOW + index);
      await store.claim(claimOf('w1'));
      await settle('a', 'w1');
      const end = (jobId: string, state: 'CANCELLED' | 'TIMED_OUT') =>
        store.end({ jobId, outcome: { state, output: null, error: null }, from: ['IN_QUEUE'], retainUntil: NOW + 9, now: NOW + 9 });
      await end('b', 'TIMED_OUT');
      await end('c', 'CANCELLED');
      expect(await store.sampleQueue('e1')).toMatchObject({ oldestAt: NOW + 3, oldestQueuedAt: NOW + 4 });
      await store.purge('e1', NOW + 9, NOW + 9);
      const counts = { completed: 1, failed: 1, timedOut: 1, cancelled: 3, inQueue: 0, inProgress: 0, oldestAt: null };
      expect(await store.sampleQueue('e1')).toMatchObject(counts);
    });

    it('keeps everything over a restart', async () => {
      await store.enqueue(jobOf('a', { input: '{"snow":"☃"}', extras: '{"s3Config":{}}' }), NOW);
      await store.putRecord('setting', 'port', { value: '1' });
      await store.close();
      store = await opened.reopen();
      expect(await store.getJob('a')).toMatchObject({ input: '{"snow":"☃"}', extras: '{"s3Config":{}}', state: 'IN_QUEUE' });
      expect(await store.getRecord('setting', 'port')).toEqual({ value: '1' });
      await store.removeRecord('setting', 'port');
      expect(await store.listRecords('setting')).toEqual([]);
    });

    it('lists records by range, and changes several or none', async () => {
      const put = (id: string) => ({ kind: 'setting' as const, id, value: { value: id } });
      await store.changeRecords(['a/2', 'a/1', 'a/3', 'ab/1', 'b/1'].map(put));
      const ids = async (range: RecordRange) => (await store.listRecords('setting', range)).map(({ id }) => id);
      expect(await ids({ prefix: 'a/' })).toEqual(['a/1', 'a/2', 'a/3']);
      expect(await ids({ prefix: 'a/', after: 'a/1', limit: 1 })).toEqual(['a/2']);
      expect(await ids({ prefix: 'a/', isNewestFirst: true, limit: 2 })).toEqual(['a/3', 'a/2']);
      expect(await ids({ prefix: 'a/', isNewestFirst: true, after: 'a/2' })).toEqual(['a/1']);
      await store.changeRecords([
        { kind: 'setting', id: 'a/1', value: null },
        { kind: 'setting', id: 'a/2', value: { value: 'new' } },
      ]);
      expect(await store.listRecords('setting', { prefix: 'a/', limit: 1 })).toEqual([{ id: 'a/2', value: { value: 'new' } }]);
      await store.changeRecords([put('a/4')], { isDurable: false });
      expect(await ids({ prefix: 'a/', isNewestFirst: true, limit: 1 })).toEqual(['a/4']);
    });

    it('records the delivery of a job with a webhook in the step that ends it, and none for others (row 53, I10)', async () => {
      const url = 'http://app.test/hook';
      await store.addWorker(workerOf('w1'));
      await store.enqueue(jobOf('done', { webhook: url }), NOW);
      await store.claim(claimOf('w1'));
      for (const id of ['ended', 'purged']) await store.enqueue(jobOf(id, { webhook: url }), NOW);
      await store.enqueue(jobOf('silent'), NOW);
      await settle('done', 'w1');
      await settle('done', 'w1');
      await store.end({ jobId: 'ended', outcome: CANCELLED, from: ['IN_QUEUE'], retainUntil: NOW + 9, now: NOW + 6 });
      await store.purge('e1', NOW + 9, NOW + 7);
      await store.close();
      store = await opened.reopen();
      const kept = await store.listRecords('delivery', { prefix: 'e1/' });
      expect(kept.map(({ value: { jobId, jobState, url: to, state } }) => [jobId, jobState, to, state]).sort()).toEqual([
        ['done', 'COMPLETED', url, 'PENDING'],
        ['ended', 'CANCELLED', url, 'PENDING'],
        ['purged', 'CANCELLED', url, 'PENDING'],
      ]);
      expect((await store.listRecords('delivery-due')).map(({ id }) => id)).toEqual(kept.map(({ value }) => dueKeyOf(value)));
      const bodies = await store.listRecords('delivery-body', { prefix: 'e1/' });
      expect(bodies.map(({ value }) => (JSON.parse(value.text) as { id: string }).id)).toEqual(['done', 'ended', 'purged']);
    });

    it('moves every moment with a wall clock that was set, in the step that keeps its mark (B5)', async () => {
      const HOUR_MS = 3_600_000;
      await store.addWorker(workerOf('w1'));
      await store.changeWorker({
        id: 'w1',
        start: startOf(NOW),
        thaws: JSON.stringify([
          [NOW, NOW + 1, NOW + 2],
          [NOW + 9, NOW + 9, NOW + 9],
        ]),
      });
      await store.changeWorker({ id: 'w1', state: 'IDLE', readyAt: NOW + 3, lastSeenAt: NOW + 3, idleSince: NOW + 3 });
      await store.enqueue(jobOf('running'), NOW);
      await store.claim(claimOf('w1'));
      await store.enqueue(jobOf('queued'), NOW);
      await store.enqueue(jobOf('ended', { webhook: 'http://app.test/hook' }), NOW);
      await store.end({ jobId: 'ended', outcome: CANCELLED, from: ['IN_QUEUE'], retainUntil: NOW + 9, now: NOW + 6 });
      await store.moveMoments(0, 'first');
      expect(await store.getJob('queued')).toMatchObject({ queuedAt: NOW, expiresAt: NOW + 60_000 });
      await store.moveMoments(-HOUR_MS, 'second');
      const then = NOW - HOUR_MS;
      expect(await store.getJob('running')).toMatchObject({ claimedAt: then, leaseUntil: then + 35_000, finishedAt: null });
      expect(await store.getJob('queued')).toMatchObject({ submittedAt: then, queuedAt: then, expiresAt: then + 60_000, claimedAt: null });
      expect(await store.getJob('ended')).toMatchObject({ finishedAt: then + 6, retainUntil: then + 9 });
      const moved = {
        createdAt: then,
        readyAt: then + 3,
        idleSince: null,
        frozenAt: null,
        stoppedAt: null,
        start: startOf(then),
        thaws: JSON.stringify([
          [then, then + 1, then + 2],
          [then + 9, then + 9, then + 9],
        ]),
      };
      expect(await store.getWorker('w1')).toMatchObject(moved);
      const [kept] = await store.listRecords('delivery');
      expect(kept?.value).toMatchObject({ createdAt: then + 6, dueAt: then + 6, seriesAt: then + 6 });
      expect((await store.listRecords('delivery-due')).map(({ id }) => id)).toEqual(kept && [dueKeyOf(kept.value)]);
      expect(await store.getRecord('setting', 'clock')).toEqual({ value: 'second' });
    });

    it('locks out a second server', async () => {
      await expect(opened.reopen()).rejects.toMatchObject({ code: 'DATA_LOCKED' });
    });
  });
}
