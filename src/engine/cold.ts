import { formatTimeline, timelineOf } from '../domain/cold-start.js';
import type { Job } from '../domain/job.js';
import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';

/** Counts the delay of a job that is handed out; the ledger of a cold one goes into its log (extension B8). Waits for nothing. */
export function reportTake(core: Core, worker: Worker, job: Job): void {
  const { endpointId, queuedAt, claimedAt } = job;
  core.meter.recordTake(endpointId, (claimedAt ?? queuedAt) - queuedAt);
  const timeline = timelineOf(job, worker);
  if (!timeline) return;
  if (timeline.path !== null) core.meter.recordColdJob(endpointId, timeline.path);
  const line = { at: core.clock.now(), source: 'system' as const, jobId: job.id, text: `job ${job.id} was ${formatTimeline(timeline)}` };
  // A job does not depend on a line about it.
  core.logs.append({ endpointId, workerId: worker.id }, [line]).catch(() => {});
}
