import type { Worker } from '../domain/worker.js';
import { type Core, LEASE_MS } from './core.js';
import { drain } from './drain.js';

/** A thawed worker asks for work within this time; the slowest SDKs (1.7.1) pause five seconds between takes. */
const ASK_MS = 8_000;

/** Workers that did not become ready in time, or were not heard of for a lease; and those whose stop failed, which is tried again. */
export async function stopLost(core: Core, workers: readonly Worker[], now: number): Promise<void> {
  for (const worker of workers) {
    const isHalfStopped = worker.state === 'DRAINING' || worker.state === 'UNHEALTHY';
    if (isHalfStopped && !core.fleet.isStopping(worker.id)) {
      drain(core, worker, { reason: worker.reason ?? 'it was stopping', ...(worker.state === 'UNHEALTHY' && { graceMs: 0 }) });
    }
    const reason = await judgeLost(core, worker, now);
    if (reason === undefined) continue;
    await core.store.changeWorker({ id: worker.id, state: 'UNHEALTHY', reason });
    drain(core, worker, { reason, graceMs: 0 });
  }
}

async function judgeLost(core: Core, worker: Worker, now: number): Promise<string | undefined> {
  if (worker.state === 'INITIALIZING') {
    const release = await core.store.getRelease(worker.endpointId, worker.release);
    const limitMs = release?.spec.initTimeoutMs ?? 420_000;
    const since = core.models.broughtAt(worker.id) ?? worker.admittedAt ?? worker.createdAt;
    return now - since > limitMs ? `not ready within ${limitMs / 1000} s (limits.init)` : undefined;
  }
  const awaitedSince = core.freezer.awaitedSince(worker.id);
  if (worker.state === 'IDLE' && awaitedSince !== undefined && now - awaitedSince > ASK_MS)
    return `it did not ask for work within ${ASK_MS / 1000} s after it was thawed`;
  const isHeard = worker.state === 'IDLE' || worker.state === 'RUNNING';
  const seenAt = Math.max(core.seen.get(worker.id) ?? 0, worker.lastSeenAt ?? worker.createdAt, core.startedAt);
  if (!isHeard || core.polls.isWaiting(worker.id) || now - seenAt <= LEASE_MS) return undefined;
  return `not heard of for ${Math.round((now - seenAt) / 1000)} s`;
}
