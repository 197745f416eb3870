import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { noFaults } from '../../src/base/faults.js';
import { silentLog } from '../../src/base/log.js';
import { DELIVERY_LIMITS, type Delivery, deliveryKeyOf } from '../../src/domain/delivery.js';
import { sweepDeliveries } from '../../src/engine/deliveries.js';
import { openSqliteStore } from '../../src/store/sqlite/store.js';
import type { Store } from '../../src/store/store.js';

const NOW = 1_700_000_000_000;
const clock = { now: () => NOW };
let dir: string;
let store: Store;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-log-'));
  store = await openSqliteStore({ file: join(dir, 'wherry.db'), faults: noFaults, log: silentLog });
});
afterEach(async () => {
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

async function keep(deliveries: readonly Delivery[]): Promise<void> {
  await store.changeRecords(
    deliveries.flatMap((delivery) => [
      { kind: 'delivery' as const, id: deliveryKeyOf(delivery), value: delivery },
      { kind: 'delivery-body' as const, id: deliveryKeyOf(delivery), value: { text: '{}' } },
    ]),
  );
}

/** The nth of an endpoint, older ones first. */
function deliveryOf(number: number, more: Partial<Delivery> = {}): Delivery {
  const facts = { endpointId: 'e1', jobId: 'j1', jobState: 'COMPLETED', url: 'http://app.test/', bodyBytes: 2, seriesAt: NOW } as const;
  const ended = { state: 'DELIVERED', dueAt: null, tries: 1, attempts: [], createdAt: NOW } as const;
  return { id: String(number).padStart(6, '0'), ...facts, ...ended, ...more };
}

const kept = async (endpointId = 'e1') =>
  (await store.listRecords('delivery', { prefix: `${endpointId}/` })).map(({ value }) => Number(value.id));

it('keeps the newest deliveries of an endpoint, and every one that is under way (B16)', async () => {
  const count = DELIVERY_LIMITS.kept + 700;
  const pending = { state: 'PENDING', dueAt: NOW + 1 } as const;
  await keep(Array.from({ length: count }, (_, n) => deliveryOf(n, n === 5 || n === 600 ? pending : {})));
  await keep([deliveryOf(1, { endpointId: 'e10' })]);
  await sweepDeliveries({ store, clock }, 'e1');
  expect(await kept()).toEqual([5, 600, ...Array.from({ length: DELIVERY_LIMITS.kept }, (_, n) => n + 700)]);
  expect(await store.listRecords('delivery-body', { prefix: 'e1/' })).toHaveLength(DELIVERY_LIMITS.kept + 2);
  expect(await kept('e10')).toEqual([1]);
});

it('lets go of deliveries that are too old, or whose bodies are too much together (B16)', async () => {
  const old = { createdAt: NOW - DELIVERY_LIMITS.keepMs - 1 };
  const large = { bodyBytes: DELIVERY_LIMITS.keptBytes / 2 };
  await keep([deliveryOf(1, old), deliveryOf(2, old), deliveryOf(3, large), deliveryOf(4, large), deliveryOf(5, large)]);
  await sweepDeliveries({ store, clock }, 'e1');
  expect(await kept()).toEqual([4, 5]);
  await sweepDeliveries({ store, clock: { now: () => NOW + DELIVERY_LIMITS.keepMs + 1 } }, 'e1');
  expect(await kept()).toEqual([]);
});
