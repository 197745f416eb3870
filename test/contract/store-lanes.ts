import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isCanaryPlace } from '../../src/domain/lane.js';
import { DEFAULT_SPEC, type RolloutPlan, WHOLE_ROLLOUT } from '../../src/domain/release.js';
import { digestOf } from '../../src/oci/digest.js';
import type { NewJob, Store } from '../../src/store/store.js';
import { COMPLETED, endpointOf, jobOf, NOW, type OpenedStore, workerOf } from './store.js';

const image = { reference: 'a:1', repository: 'a', tag: '1', digest: digestOf('a') };
const made = { endpointId: 'e1', createdAt: NOW, author: 'me', source: 'deploy', sourceRevision: null, image, spec: DEFAULT_SPEC };
const leaseOf = (workerId: string, release: number, limit = 1) => ({
  endpointId: 'e1',
  workerId,
  release,
  limit,
  leaseUntil: NOW + 35_000,
  now: NOW,
});

/** The part of a Store's contract that says which release gets which job: rollouts, canaries, pins. */
export function describeStoreLanes(name: string, open: () => Promise<OpenedStore>): void {
  describe(`store, releases side by side: ${name}`, () => {
    let opened: OpenedStore;
    let store: Store;
    let count: number;

    beforeEach(async () => {
      opened = await open();
      store = opened.store;
      count = 0;
      await store.addEndpoint(endpointOf('e1'));
      await serve(1);
    });
    afterEach(async () => {
      await store.close();
      opened.remove();
    });

    const release = (plan: Partial<RolloutPlan> = {}) => store.addRelease(made, { ...WHOLE_ROLLOUT, ...plan }, NOW);
    const change = (to: number, state?: 'CANARY' | 'DONE' | 'REVERTED', share?: number) =>
      store.changeRollout({ endpointId: 'e1', to, ...(state && { state }), ...(share !== undefined && { share }) }, NOW + 1);
    const serve = async (to: number) => {
      await release();
      await change(to, 'DONE');
    };
    const beginCanary = async (share: number) => {
      await release({ share });
      await change(2, 'CANARY');
    };
    const addWorker = (id: string, of: number, more = {}) => store.addWorker(workerOf(id, { release: of, ...more }));
    const submit = async (jobs: number, more: Partial<NewJob> = {}) => {
      const ids = Array.from({ length: jobs }, () => `j${++count}`);
      for (const id of ids) await store.enqueue(jobOf(id, more), NOW + Number(id.slice(1)));
      return ids;
    };
    const claim = async (workerId: string, of: number, limit = 1) => (await store.claim(leaseOf(workerId, of, limit))).map(({ id }) => id);
    /** By the place in the queue: jobs are numbered as they come. */
    const isCanary = (id: string, share: number) => isCanaryPlace(Number(id.slice(1)), share);

    it('goes from PROVING to CANARY to DONE, or to REVERTED from either, and nowhere else', async () => {
      const { rollout } = await release({ share: 20, holdMs: 5_000 });
      expect(rollout).toMatchObject({ from: 1, to: 2, state: 'PROVING', share: 20, holdMs: 5_000, provedAt: null, reason: null });
      expect(await store.changeRollout({ endpointId: 'e1', to: 2, provedAt: NOW + 3 }, NOW)).toMatchObject({ provedAt: NOW + 3 });
      expect(await store.changeRollout({ endpointId: 'e1', to: 2, provedAt: NOW + 9 }, NOW)).toMatchObject({ provedAt: NOW + 3 });
      expect(await change(2, 'CANARY')).toMatchObject({ state: 'CANARY', endedAt: null });
      expect(await change(2, 'CANARY')).toBeUndefined();
      expect(await change(2, undefined, 60)).toMatchObject({ state: 'CANARY', share: 60 });
      expect(await change(2, 'DONE')).toMatchObject({ state: 'DONE', endedAt: NOW + 1 });
      for (const state of ['CANARY', 'DONE', 'REVERTED', undefined] as const) expect(await change(2, state)).toBeUndefined();
      await release({ share: 50 });
      await change(3, 'CANARY');
      expect(await store.changeRollout({ endpointId: 'e1', to: 3, state: 'REVERTED', reason: 'no good' }, NOW)).toMatchObject({
        state: 'REVERTED',
        reason: 'no good',
      });
      expect((await store.getEndpoint('e1'))?.activeRelease).toBe(2);
    });

    it('refuses a second release while one is a canary', async () => {
      await beginCanary(10);
      await expect(release()).rejects.toMatchObject({ code: 'ROLLOUT_OPEN', message: expect.stringContaining('is a canary') });
    });

    it('keeps the reason that a rollout was begun with', async () => {
      await release({ reason: 'begun by the server' });
      expect(await change(2, 'DONE')).toMatchObject({ reason: 'begun by the server' });
    });

    it('moves with a wall clock that was set (B5)', async () => {
      await release({ holdMs: 5_000 });
      await store.changeRollout({ endpointId: 'e1', to: 2, provedAt: NOW + 3 }, NOW);
      await store.moveMoments(1_000, 'mark');
      expect((await store.viewFleet('e1'))?.rollout).toMatchObject({ startedAt: NOW + 1_000, provedAt: NOW + 1_003, endedAt: null });
    });

    it('lists releases and rollouts newest first, in parts, and the open one alone', async () => {
      for (const to of [2, 3, 4]) await serve(to);
      await release();
      expect((await store.listReleases('e1', { limit: 2 })).map(({ number }) => number)).toEqual([5, 4]);
      expect((await store.listReleases('e1', { before: 4, limit: 2 })).map(({ number }) => number)).toEqual([3, 2]);
      expect((await store.listRollouts('e1', { before: 3 })).map(({ to }) => to)).toEqual([2, 1]);
      expect((await store.listRollouts('e1', { isOpen: true })).map(({ to }) => to)).toEqual([5]);
    });

    it('numbers a thousand releases without a gap and gives any part of them (D5)', async () => {
      for (let to = 2; to <= 1_000; to++) await serve(to);
      const numbers = async (range: { before?: number; limit?: number }) =>
        (await store.listReleases('e1', range)).map(({ number }) => number);
      expect(await numbers({})).toEqual(Array.from({ length: 1_000 }, (_, n) => 1_000 - n));
      expect(await numbers({ limit: 100 })).toEqual(Array.from({ length: 100 }, (_, n) => 1_000 - n));
      expect(await numbers({ before: 501, limit: 2 })).toEqual([500, 499]);
      expect((await store.getEndpoint('e1'))?.activeRelease).toBe(1_000);
    });

    it('gives the canary its share of the jobs and the stable release the rest, each in order', async () => {
      await addWorker('old', 1);
      await addWorker('new', 2, { isCandidate: true });
      await beginCanary(30);
      expect(await store.getWorker('new')).toMatchObject({ isCandidate: false });
      const ids = await submit(40);
      expect(await claim('new', 2, 40)).toEqual(ids.filter((id) => isCanary(id, 30)));
      expect(await claim('old', 1, 40)).toEqual(ids.filter((id) => !isCanary(id, 30)));
    });

    it('finds the jobs of a lane behind thousands of the other, also those that come back', async () => {
      for (const [id, of] of [
        ['old', 1],
        ['old2', 1],
        ['new', 2],
        ['new2', 2],
      ] as const)
        await addWorker(id, of);
      await beginCanary(5);
      const ids = await submit(300);
      const mine = ids.filter((id) => isCanary(id, 5));
      expect(await claim('new', 2, 300)).toEqual(mine);
      expect(await claim('new', 2)).toEqual([]);
      const [first = '', second = ''] = mine;
      await store.requeue({ jobId: second, workerId: 'new' }, 'withdrawn', NOW);
      expect(await claim('new2', 2)).toEqual([second]);
      // Its worker is gone: the canary does not get it again.
      await store.requeue({ jobId: first, workerId: 'new' }, 'lost', NOW);
      expect(await claim('new2', 2)).toEqual([]);
      expect(await claim('old', 1, 400)).toEqual(ids.filter((id) => id === first || !mine.includes(id)));
      const [late = ''] = (await submit(40)).filter((id) => isCanary(id, 5));
      expect(await claim('new2', 2)).toEqual([late]);
    });

    it('keeps the order of priorities in each lane, also when they change', async () => {
      await addWorker('new', 2);
      await beginCanary(50);
      const low = (await submit(4, { priority: 'low' })).filter((id) => isCanary(id, 50));
      expect(await claim('new', 2)).toEqual([low[0]]);
      await store.promote('e1', NOW + 100);
      const normal = (await submit(4)).filter((id) => isCanary(id, 50));
      expect(await claim('new', 2, 9)).toEqual([...low.slice(1), ...normal]);
    });

    it('takes another share for what waits and what comes, and merges the lanes at the end', async () => {
      await addWorker('old', 1);
      await addWorker('new', 2);
      await beginCanary(10);
      const ids = await submit(30);
      expect(await claim('new', 2, 30)).toEqual(ids.filter((id) => isCanary(id, 10)));
      await change(2, undefined, 60);
      expect(await claim('new', 2, 30)).toEqual(ids.filter((id) => isCanary(id, 60) && !isCanary(id, 10)));
      await change(2, 'DONE');
      expect(await claim('old', 1, 30)).toEqual([]);
      expect(await claim('new', 2, 30)).toEqual(ids.filter((id) => !isCanary(id, 60)));
    });

    it('gives everything back to the stable release when the canary is reverted', async () => {
      await addWorker('old', 1);
      await addWorker('new', 2);
      await beginCanary(40);
      const ids = await submit(10);
      await change(2, 'REVERTED');
      expect(await claim('new', 2, 30)).toEqual([]);
      expect(await claim('old', 1, 30)).toEqual(ids);
    });

    it('gives a pinned job to its release only: the one that serves, one that did, a candidate', async () => {
      await addWorker('one', 1);
      await serve(2);
      await addWorker('two', 2);
      await release();
      await addWorker('candidate', 3, { isCandidate: true });
      const [early = ''] = await submit(1);
      const pins = [3, 1, 2].map(async (pinnedRelease) => (await submit(1, { pinnedRelease }))[0]);
      const [third, first, second] = await Promise.all(pins);
      expect((await store.viewFleet('e1'))?.pinned.toSorted()).toEqual([1, 2, 3]);
      expect(await store.listJobs({ endpointId: 'e1', states: ['IN_QUEUE'], pinnedTo: 3, limit: 9 })).toMatchObject([{ id: third }]);
      expect(await claim('candidate', 3, 9)).toEqual([third]);
      expect(await claim('one', 1, 9)).toEqual([first]);
      expect(await claim('two', 2, 9)).toEqual([second, early]);
      expect((await store.viewFleet('e1'))?.pinned).toEqual([]);
    });

    it('goes on with pinned and lane jobs in the step of a result', async () => {
      await addWorker('new', 2);
      await beginCanary(50);
      const ids = (await submit(12)).filter((id) => isCanary(id, 50));
      const [pinned] = await submit(1, { pinnedRelease: 2 });
      const order = [await claim('new', 2)].flat();
      for (let current = order[0]; current !== undefined; ) {
        const settled = await store.settle({
          jobId: current,
          workerId: 'new',
          endpointId: 'e1',
          outcome: COMPLETED,
          retainUntil: NOW + 1_000,
          now: NOW,
          next: { release: 2, leaseUntil: NOW + 1_000 },
        });
        current = settled?.next?.id;
        if (current !== undefined) order.push(current);
      }
      expect(order).toEqual([pinned, ...ids]);
    });

    it('samples what waits and runs of a release', async () => {
      await addWorker('old', 1);
      await addWorker('new', 2);
      await beginCanary(25);
      const ids = await submit(20);
      await submit(1, { pinnedRelease: 2 });
      await submit(3, { pinnedRelease: 2, priority: 'low' });
      const mine = ids.filter((id) => isCanary(id, 25));
      const queuedAtOf = (id = '') => NOW + Number(id.slice(1));
      expect(await store.sampleQueue('e1', 2)).toMatchObject({
        queuedNormal: mine.length + 1,
        inQueue: mine.length + 4,
        inProgress: 0,
        oldestQueuedAt: queuedAtOf(mine[0]),
      });
      expect(await store.sampleQueue('e1')).toMatchObject({ queuedNormal: 21, inQueue: 24 });
      await claim('new', 2, mine.length + 4);
      expect(await store.sampleQueue('e1', 2)).toMatchObject({
        queuedNormal: 0,
        inQueue: 0,
        inProgress: mine.length + 4,
        oldestQueuedAt: null,
      });
      expect(await store.sampleQueue('e1', 1)).toMatchObject({ queuedNormal: 20 - mine.length, inProgress: 0 });
      const claimable = (id: string, of: number) =>
        store.listJobs({ endpointId: 'e1', claimableBy: { id, release: of, isCandidate: false }, limit: 1 });
      expect(await claimable('new', 2)).toEqual([]);
      expect(await claimable('old', 1)).toHaveLength(1);
    });

    it('does not count what is pinned to a release that does not serve for the one that does', async () => {
      await serve(2);
      await submit(1, { pinnedRelease: 1 });
      expect(await store.sampleQueue('e1', 2)).toMatchObject({ queuedNormal: 0, inQueue: 0, oldestQueuedAt: null });
      expect(await store.sampleQueue('e1', 1)).toMatchObject({ queuedNormal: 1, inQueue: 1, oldestQueuedAt: NOW + 1 });
    });

    it('keeps canary, share, hold and pins over a restart', async () => {
      await addWorker('new', 2);
      await beginCanary(50);
      const ids = await submit(10);
      const [pinned] = await submit(1, { pinnedRelease: 2 });
      await store.close();
      store = await opened.reopen();
      expect((await store.viewFleet('e1'))?.rollout).toMatchObject({ state: 'CANARY', share: 50 });
      expect(await claim('new', 2, 20)).toEqual([pinned, ...ids.filter((id) => isCanary(id, 50))]);
    });
  });
}
