import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { endpointOf, NOW, type OpenedStore } from './store.js';

/** Endpoints that expire, over every driver. */
export function describeStoreEndpoints(name: string, open: () => Promise<OpenedStore>): void {
  describe(`expiring endpoints of the store: ${name}`, () => {
    let opened: OpenedStore;
    let store: Store;

    beforeEach(async () => {
      opened = await open();
      store = opened.store;
    });

    afterEach(async () => {
      await store.close();
      opened.remove();
    });

    it('keep their labels and moment, also over a restart, until the moment is changed', async () => {
      await store.addEndpoint(endpointOf('lasting'));
      const labels = { run: '42', __proto: '"quoted"' };
      await store.addEndpoint(endpointOf('passing', { labels, expiresAt: NOW + 1_000 }));
      await store.close();
      store = await opened.reopen();
      expect(await store.getEndpoint('passing')).toMatchObject({ labels, expiresAt: NOW + 1_000 });
      expect((await store.listEndpoints()).map(({ id, labels: { run }, expiresAt }) => [id, run, expiresAt])).toEqual([
        ['lasting', undefined, null],
        ['passing', '42', NOW + 1_000],
      ]);
      expect(await store.updateEndpoint('passing', { name: 'other' })).toMatchObject({ labels, expiresAt: NOW + 1_000 });
      expect(await store.updateEndpoint('passing', { expiresAt: null })).toMatchObject({ labels, expiresAt: null });
      expect(await store.getEndpoint('passing')).toMatchObject({ name: 'other', expiresAt: null });
    });

    it('move with the wall clock when it was set', async () => {
      await store.addEndpoint(endpointOf('lasting'));
      await store.addEndpoint(endpointOf('passing', { expiresAt: NOW + 1_000 }));
      expect(await store.getEndpoint('passing')).toMatchObject({ expiresAt: NOW + 1_000 });
      await store.moveMoments(-500, 'mark');
      expect(await store.getEndpoint('passing')).toMatchObject({ createdAt: NOW, expiresAt: NOW + 500 });
      expect(await store.getEndpoint('lasting')).toMatchObject({ expiresAt: null });
    });
  });
}
