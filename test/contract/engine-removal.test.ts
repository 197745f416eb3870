import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WherryError } from '../../src/base/errors.js';
import { noFaults } from '../../src/base/faults.js';
import { silentLog } from '../../src/base/log.js';
import type { Core } from '../../src/engine/core.js';
import { createExpiry } from '../../src/engine/expire.js';
import { endRemovals, removeEndpoint } from '../../src/engine/remove.js';
import { openSqliteStore } from '../../src/store/sqlite/store.js';
import type { Store } from '../../src/store/store.js';
import { until } from '../stage.js';
import { endpointOf, NOW, workerOf } from './store.js';

let dir: string;
let store: Store;
let now = NOW;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-removal-'));
  store = await openSqliteStore({ file: join(dir, 'wherry.db'), faults: noFaults, log: silentLog });
  now = NOW;
});
afterEach(async () => {
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

/** What a removal reaches of the engine, with a worker that never ends. */
function openCore(): Core {
  const parts = {
    store,
    log: silentLog,
    clock: { now: () => now },
    life: { isStopped: false },
    removals: new Map(),
    fleet: { drain: () => new Promise(() => {}) },
  };
  return parts as unknown as Core;
}

describe('a removal that the stop of the server overtakes', () => {
  it('is given up while a worker does not end, before the store closes, and the endpoint stays to be removed', async () => {
    await store.addEndpoint(endpointOf('e'));
    await store.addWorker(workerOf('w', { endpointId: 'e' }));
    const core = openCore();
    const refused = expect(removeEndpoint(core, 'e', async () => {})).rejects.toMatchObject({ code: 'RUNTIME_UNAVAILABLE' });
    await until(async () => (await store.getEndpoint('e'))?.pausedReason === 'being removed', 'the removal to begin');
    core.life.isStopped = true;
    await endRemovals(core);
    await refused;
    expect(core.removals.size).toBe(0);
    expect(await store.getEndpoint('e')).toMatchObject({ pausedReason: 'being removed' });
  });
});

describe('removals of endpoints that expired', () => {
  it('hold up no look, are waited for by a stop, and rest after a failure', async () => {
    await store.addEndpoint(endpointOf('e', { expiresAt: NOW - 1 }));
    let begun = 0;
    let fail = (_: Error) => {};
    const expiry = createExpiry(openCore, () => {
      begun++;
      return new Promise((_, reject) => {
        fail = reject;
      });
    });
    await expiry.look();
    await until(() => begun === 1, 'the removal to begin');
    await expiry.look();
    let isSettled = false;
    const settled = expiry.settle().then(() => {
      isSettled = true;
    });
    await store.getEndpoint('e');
    expect([begun, isSettled]).toEqual([1, false]);
    fail(new WherryError('STORE_UNAVAILABLE', 'the disk is full'));
    await settled;
    now += 9_000;
    await expiry.look();
    await expiry.settle();
    expect(begun).toBe(1);
    now += 2_000;
    await expiry.look();
    await until(() => begun === 2, 'the next try');
  });
});
