import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';
import type { Places } from './room.js';

export function createPlaces(core: Core): Places {
  /** Since when a throttled worker is not wanted any more. */
  const unwanted = new Map<string, number>();

  const retry: Places['retry'] = async (throttled) => {
    const start: string[] = [];
    for (const worker of throttled) {
      if (!(await core.fleet.admit(worker))) break;
      start.push(worker.id);
    }
    return start;
  };
  const dismiss = async (worker: Worker, idleMs: number): Promise<void> => {
    const now = core.clock.now();
    const since = unwanted.get(worker.id) ?? now;
    unwanted.set(worker.id, since);
    // Its turn is for others at once.
    core.host.leave(worker.id);
    if (now - since < idleMs) return;
    unwanted.delete(worker.id);
    await core.fleet.drain(worker.id, { reason: 'it is not wanted any more' });
  };

  return {
    async fill({ endpointId, release, count, extra, throttled, idleMs }) {
      const kept = throttled.slice(0, count);
      for (const worker of throttled.slice(count)) await dismiss(worker, idleMs);
      for (const { id } of kept) unwanted.delete(id);
      const start = [...(await retry(kept))];
      const throttle: string[] = [];
      for (let missing = count - kept.length; missing > 0; missing--) {
        const made = await core.fleet.start(endpointId, release, { isCandidate: false });
        if (made) (made.isStarted ? start : throttle).push(made.id);
      }
      for (let missing = extra; missing > 0; missing--) {
        const made = await core.fleet.start(endpointId, release, { isCandidate: false, isExtra: true });
        if (!made) break;
        start.push(made.id);
      }
      if (throttle.length > 0 || start.length < kept.length) await core.host.makeRoom(endpointId);
      return { start, throttle };
    },
    retry,
  };
}
