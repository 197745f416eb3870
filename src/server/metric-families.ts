import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { DELIVERY_STATES } from '../domain/delivery.js';
import { START_PATHS, WORKER_STATES } from '../domain/worker.js';
import { END_CAUSES, START_CAUSES } from '../engine/meter.js';
import type { EndpointFigures } from '../engine/reports.js';

/**
 * Every family that the server shows, beside those of the process and of Node. Labels are the endpoint and words of fixed lists; series of
 * an endpoint go with it. Figures that the store has are right after a restart; what is only counted here begins anew, as Prometheus expects.
 */
export function createFamilies(register: Registry) {
  const registers = [register];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter<L>({ name: `wherry_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge<L>({ name: `wherry_${name}`, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string>(name: string, help: string, { labels, buckets }: { labels: readonly L[]; buckets: number[] }) =>
    new Histogram<L>({ name: `wherry_${name}`, help, labelNames: [...labels], buckets, registers });
  const endpoint = ['endpoint'] as const;

  return {
    build: gauge('build_info', 'Always 1; the version that runs is its label.', ['version']),

    submitted: counter('jobs_submitted_total', 'Runs of jobs that were begun, by a submission or a retry.', endpoint),
    ended: counter('jobs_ended_total', 'Runs of jobs that ended, by their state.', ['endpoint', 'state']),
    retried: counter('jobs_retried_total', 'Jobs that went back to the queue because their worker was lost.', endpoint),
    queue: gauge('queue_jobs', 'Jobs that wait.', endpoint),
    oldest: gauge('queue_oldest_age_seconds', 'How long the oldest job waits that waits now; 0 without one.', endpoint),
    inProgress: gauge('jobs_in_progress', 'Jobs that a worker has.', endpoint),
    delay: histogram('job_delay_seconds', 'From the beginning of a run to its hand-over to a worker.', {
      labels: endpoint,
      buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200],
    }),
    execution: histogram('job_execution_seconds', 'From the hand-over of a job to its end.', {
      labels: endpoint,
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1_800, 7_200],
    }),
    coldJobs: counter('jobs_cold_total', 'Jobs that were handed to a worker that was not ready when they came, by its way of starting.', [
      'endpoint',
      'path',
    ]),

    workers: gauge('workers', 'Workers by state; STOPPED are those whose logs are kept.', ['endpoint', 'state']),
    outdated: gauge('workers_outdated', 'Live workers of releases that do not serve.', endpoint),
    frozenBytes: gauge('workers_frozen_bytes', 'Memory that frozen workers hold.', endpoint),
    starts: counter('worker_starts_total', 'Workers that were started, by cause.', ['endpoint', 'cause']),
    ends: counter('worker_ends_total', 'Workers that ended, by cause.', ['endpoint', 'cause']),
    coldStart: histogram('cold_start_seconds', 'From the decision for a worker until it is ready, by its way of starting.', {
      labels: ['endpoint', 'path'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    }),
    workerPull: histogram('worker_pull_seconds', 'Bringing an image to the runtime of a worker that starts, when it was not there.', {
      labels: endpoint,
      buckets: PULL_BUCKETS,
    }),
    workerPulledBytes: counter('worker_pulled_bytes_total', 'Bytes that were brought for workers that start.', endpoint),
    prepare: histogram('image_prepare_seconds', 'Making the image of a deploy ready for quick starts.', {
      labels: endpoint,
      buckets: PULL_BUCKETS,
    }),

    release: gauge('endpoint_release', 'Number of the release that serves; 0 before the first.', endpoint),
    paused: gauge('endpoint_paused', '1 while the endpoint starts no workers.', endpoint),
    crashes: gauge('endpoint_crashes', 'Workers in a row of the release that serves that ended without finishing a job.', endpoint),
    webhooks: counter('webhook_tries_total', 'Tries of webhooks; pending: in vain, and tried again.', ['endpoint', 'outcome']),

    registryBytes: gauge('registry_bytes', 'Bytes in blobs of the embedded registry; looked up once a minute.', []),
    registryBlobs: gauge('registry_blobs', 'Blobs of the embedded registry; looked up once a minute.', []),
    registryPull: histogram('registry_pull_seconds', 'Copying one blob from another registry.', { labels: [], buckets: PULL_BUCKETS }),
    registryPulledBytes: counter('registry_pulled_bytes_total', 'Bytes that were copied from other registries.', []),
    http: counter('http_requests_total', 'Answers by class of route and status; aborted: the client had gone.', ['route', 'status']),
  };
}

export type Families = ReturnType<typeof createFamilies>;

const PULL_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800];

/** Series that exist from the beginning, so that the first event is an increase. */
export function zeroEndpoint(families: Families, endpoint: string): void {
  for (const one of [families.delay, families.execution]) one.zero({ endpoint });
  for (const cause of START_CAUSES) families.starts.inc({ endpoint, cause }, 0);
  for (const cause of END_CAUSES) families.ends.inc({ endpoint, cause }, 0);
}

/** Removes what was counted of an endpoint. */
export function forgetEndpoint(families: Families, endpoint: string): void {
  const { delay, execution, workerPull, workerPulledBytes, prepare } = families;
  for (const one of [delay, execution, workerPull, workerPulledBytes, prepare]) one.remove({ endpoint });
  for (const cause of START_CAUSES) families.starts.remove({ endpoint, cause });
  for (const cause of END_CAUSES) families.ends.remove({ endpoint, cause });
  for (const state of DELIVERY_STATES) families.webhooks.remove({ endpoint, outcome: state.toLowerCase() });
  for (const path of START_PATHS) {
    families.coldStart.remove({ endpoint, path });
    families.coldJobs.remove({ endpoint, path });
  }
}

/** What a scrape shows beside what was counted: all of this moment. */
export interface Scraped {
  readonly endpoints: readonly EndpointFigures[];
  readonly registry: { readonly blobs: number; readonly bytes: number };
  readonly now: number;
}

/** Puts what is of this moment in the place of what was shown before. */
export function showFigures(families: Families, { endpoints, registry, now }: Scraped): void {
  const { submitted, ended, retried, queue, oldest, inProgress, workers, outdated, frozenBytes, release, paused, crashes } = families;
  for (const one of [submitted, ended, retried, queue, oldest, inProgress, workers, outdated, frozenBytes, release, paused, crashes])
    one.reset();
  for (const figures of endpoints) showEndpoint(families, figures, now);
  families.registryBytes.set(registry.bytes);
  families.registryBlobs.set(registry.blobs);
}

function showEndpoint(families: Families, figures: EndpointFigures, now: number): void {
  const { queue, workers, outdated, frozen, crashLoop } = figures;
  const { id: endpoint, pausedReason, activeRelease } = figures.endpoint;
  const { completed, failed, timedOut, cancelled, inQueue, inProgress, oldestAt } = queue;
  // Every run that was begun is one of these, so no count of submissions has to be kept.
  families.submitted.inc({ endpoint }, completed + failed + cancelled + inQueue + inProgress);
  const ends = { COMPLETED: completed, FAILED: failed - timedOut, TIMED_OUT: timedOut, CANCELLED: cancelled };
  for (const [state, count] of Object.entries(ends)) families.ended.inc({ endpoint, state }, count);
  families.retried.inc({ endpoint }, queue.retried);
  families.queue.set({ endpoint }, inQueue);
  families.oldest.set({ endpoint }, oldestAt === null ? 0 : Math.max(0, now - oldestAt) / 1_000);
  families.inProgress.set({ endpoint }, inProgress);
  for (const state of WORKER_STATES) families.workers.set({ endpoint, state }, workers[state]);
  families.outdated.set({ endpoint }, outdated);
  families.frozenBytes.set({ endpoint }, frozen.bytes);
  families.release.set({ endpoint }, activeRelease ?? 0);
  families.paused.set({ endpoint }, Number(pausedReason !== null));
  families.crashes.set({ endpoint }, crashLoop?.crashes ?? 0);
}
