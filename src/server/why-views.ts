import type { CrashLoopView, EndpointWhyView, JobWhyView, WaitingView } from '../api/resources.js';
import type { Release } from '../domain/release.js';
import type { Waiting } from '../domain/waiting.js';
import type { CrashReport, EndpointWhy, JobWhy } from '../engine/reports.js';
import { viewJobFacts, viewLogLine, viewProgress, viewWorker } from './views.js';

const moment = (at: number) => new Date(at).toISOString();

/** `serving` are the releases that get jobs. */
export function viewJobWhy({ job, notes, worker, release, lines }: JobWhy, serving: ReadonlySet<number>): JobWhyView {
  const error: unknown = job.error === null ? undefined : JSON.parse(job.error);
  return {
    endpointId: job.endpointId,
    job: { ...viewJobFacts(job), ...(error !== undefined && { error }) },
    waiting: notes.waiting ? viewWaiting(notes.waiting) : null,
    timeline: notes.timeline ?? null,
    worker: worker ? viewWorker(worker, serving, job.state === 'IN_PROGRESS' ? [job.id] : []) : null,
    image: viewImage(release),
    lines: lines.map(viewLogLine),
  };
}

/** What holds an endpoint's queue. */
export function viewEndpointWhy(why: EndpointWhy): EndpointWhyView {
  const { endpoint, summary, queue, workers, waiting, crashLoop, rollout, preparing, release } = why;
  const { inQueue, inProgress, oldestAt } = queue;
  return {
    endpointId: endpoint.id,
    summary,
    pausedReason: endpoint.pausedReason,
    image: viewImage(release),
    queue: { waiting: inQueue, running: inProgress, oldestAt: oldestAt === null ? null : moment(oldestAt) },
    workers,
    waiting: waiting && viewWaiting(waiting),
    crashLoop: crashLoop && viewCrashLoop(crashLoop),
    rollout: rollout && viewProgress(rollout),
    preparing,
  };
}

function viewWaiting({ since, ...rest }: Waiting): WaitingView {
  return { ...rest, since: moment(since) };
}

function viewImage(release: Release | null | undefined): JobWhyView['image'] {
  if (!release) return null;
  const { number, image } = release;
  return { release: number, reference: image.reference, digest: image.digest };
}

function viewCrashLoop({ crashes, budget, nextStartAt, last }: CrashReport): CrashLoopView {
  if (last === null) return { crashes, budget, nextStartAt: moment(nextStartAt), last };
  const { workerId, release, at, reason, exitCode, lines } = last;
  return { crashes, budget, nextStartAt: moment(nextStartAt), last: { workerId, release, at: moment(at), reason, exitCode, lines } };
}
