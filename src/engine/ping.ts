import type { Worker } from '../domain/worker.js';
import { type Core, LEASE_MS } from './core.js';
import type { PingReport } from './engine.js';
import { comparePing } from './lost.js';
import { confirmStops, stopWork } from './stops.js';

/** A post of a result may be a moment behind the ping that still names its job. */
const ENDED_MS = 2_000;

/** A heartbeat: extends the leases of what the worker holds and compares what it says it holds with what it was given. */
export async function ping(core: Core, worker: Worker, report: PingReport): Promise<void> {
  const now = core.clock.now();
  if (report.unhealthy !== undefined) return reportUnhealthy(core, worker.id, report.unhealthy);
  await core.fleet.markReady(worker.id);
  await core.store.extend(worker.id, { confirmed: report.jobIds, leaseUntil: now + LEASE_MS }, now);
  confirmStops(core, worker.id, report.jobIds);
  await comparePing(core, worker, report.jobIds);
  for (const jobId of report.jobIds) await stopEnded(core, worker, jobId);
}

/** Work for a job that was ended without the worker (cancel, time-out, a server that restarted in between) is stopped. */
async function stopEnded(core: Core, worker: Worker, jobId: string): Promise<void> {
  const job = await core.store.getJob(jobId);
  const isEnded = job?.state === 'CANCELLED' || job?.state === 'TIMED_OUT';
  if (!job || !isEnded || job.workerId !== worker.id || core.clock.now() - (job.finishedAt ?? 0) < ENDED_MS) return;
  stopWork(core, job, 'it still works on a job that was ended');
}

async function reportUnhealthy(core: Core, workerId: string, reason: string): Promise<void> {
  await core.store.changeWorker({ id: workerId, state: 'UNHEALTHY', reason });
  await core.fleet.drain(workerId, { reason, graceMs: 1_000 });
}
