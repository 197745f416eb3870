import { WherryError } from '../base/errors.js';
import type { Worker } from '../domain/worker.js';
import type { RuntimeEvents } from '../runtime/runtime.js';
import { createAdoption } from './adoption.js';
import { createBackoff } from './backoff.js';
import { createBatches, resumeBatches } from './batches.js';
import { createBirths, newEndpoint } from './births.js';
import { type Core, createOccupations } from './core.js';
import { keepBackoff } from './crash-records.js';
import { createDecisions } from './decisions.js';
import { getDelivery, listDeliveries, redeliver } from './deliveries.js';
import { deploy, rollback } from './deploy.js';
import type { DeployResult, Engine, EngineOptions, Health } from './engine.js';
import { postponeExpiry } from './expire.js';
import { measureEndpoints, summarizeEndpoints } from './figures.js';
import { createFleet } from './fleet.js';
import { createFreezer } from './freezer.js';
import { createHost } from './host.js';
import { cancel, purge, requireEndpoint, requireJob, requireRelease, retry, shortenRetention, submit, waitForJob } from './jobs.js';
import type { LogFilter, LogLine } from './log-line.js';
import { createLogs } from './logs.js';
import { createModelStarts } from './models.js';
import { noteJob } from './notes.js';
import { ping } from './ping.js';
import { createPlaces } from './places.js';
import { createPolls } from './polls.js';
import { createReaper } from './reap.js';
import { createReconciler } from './reconcile.js';
import { endRemovals, removeEndpoint } from './remove.js';
import { listRollouts, listServing, stepRollout, waitRollout } from './rollout.js';
import { listSecrets, putSecret, removeSecret } from './secrets.js';
import { done } from './settle.js';
import { createStops } from './stop-list.js';
import { takeStops } from './stops.js';
import { addChunk, followStream, readStream } from './streams.js';
import { authenticateWorker, take } from './take.js';
import { getReport, putReport, readTests } from './test-reports.js';
import { createWaiters } from './waiters.js';
import { createWebhookSender } from './webhook.js';
import { listSigningSecrets, makeSigningSecret, removeSigningSecrets } from './webhook-secrets.js';
import { explainEndpoint, explainJob, listHeld } from './why.js';
import { recordNote } from './worker-note.js';

/** Wires the use-cases over one store and one runtime. */
export function createEngine(options: EngineOptions): Engine {
  const backoff = keepBackoff(createBackoff(), options);
  const reconciler = createReconciler(() => core, backoff);
  const reaper = createReaper(
    () => core,
    (endpointId) => remove(endpointId),
  );
  const adoption = createAdoption(() => core);
  const core: Core = {
    ...options,
    logs: createLogs({ dir: options.logsDir, from: options.clock.now() + options.clockBehindMs, log: options.log }),
    polls: createPolls(),
    stopPolls: createWaiters(),
    stops: createStops(),
    jobWaiters: createWaiters(),
    streamWaiters: createWaiters(),
    missedPings: new Map(),
    rolloutWaiters: createWaiters(),
    webhooks: createWebhookSender(() => core),
    occupations: createOccupations(),
    life: { isStopped: false },
    seen: new Map(),
    startedAt: options.clock.now(),
    depths: new Map(),
    requests: new Map(),
    split: new Set(),
    lastNotes: new Map(),
    preparations: new Map(),
    lastCrashes: new Map(),
    removals: new Map(),
    births: createBirths(),
    wake: (endpointId) => reconciler.wake(endpointId),
    decisions: createDecisions(options),
    get fleet() {
      return fleet;
    },
    get freezer() {
      return freezer;
    },
    get host() {
      return host;
    },
    get models() {
      return models;
    },
    get places() {
      return places;
    },
  };
  const fleet = createFleet(core, backoff);
  const freezer = createFreezer(core);
  const host = createHost(core);
  const models = createModelStarts(core);
  const places = createPlaces(core);
  const { store } = options;
  /** Exits that are being recorded; a stop waits for them. */
  const exits = new Set<Promise<void>>();
  const workerIds = async (endpointId: string, release?: number) => {
    const workers = await store.listWorkers(endpointId, true);
    return workers.filter((worker) => release === undefined || worker.release === release).map(({ id }) => id);
  };

  const remove = async (id: string): Promise<void> => {
    await removeEndpoint(core, id, async () => {
      await reconciler.settle(id);
      models.giveUp({ endpointId: id });
      await fleet.settle(id);
    });
    fleet.forgetCrashes(id);
    options.forgetEndpoint(id);
  };

  /** A deploy that changed nothing ends a pause too: there is no rollout that would do it. */
  const resumed = async (result: DeployResult): Promise<DeployResult> => {
    const { endpointId } = result.release;
    fleet.forgetCrashes(endpointId);
    if (result.rollout) return result;
    await store.updateEndpoint(endpointId, { pausedReason: null });
    core.wake(endpointId);
    return result;
  };

  return {
    async start() {
      const events: RuntimeEvents = {
        output: async ({ workerId, lines, dropped }) => {
          // Not taken: the supervisor keeps it for the next server.
          if (core.life.isStopped) throw new WherryError('RUNTIME_UNAVAILABLE', 'the server stops');
          await recordOutput(core, workerId, { lines, dropped });
        },
        exit: ({ workerId, exitCode, signal, cause }) => {
          // Not taken either: the runtime keeps it for the next server.
          if (core.life.isStopped) throw new WherryError('RUNTIME_UNAVAILABLE', 'the server stops');
          const recorded = fleet
            .recordExit(workerId, { exitCode, signal, ...(cause !== undefined && { cause }), isLost: exitCode === null && signal === null })
            .catch((cause: unknown) => options.log.error({ err: cause, workerId }, 'the exit of a worker could not be recorded'))
            .finally(() => exits.delete(recorded));
          exits.add(recorded);
        },
        note: ({ workerId, text }) => void recordNote(core, workerId, text),
      };
      await backoff.load();
      for (const runtime of options.runtimes.all) await runtime.start(events);
      await adoption.start();
      await host.adopt();
      await resumeBatches(core);
      await reconciler.start();
      reaper.start();
      await core.webhooks.start();
    },
    async stop() {
      await adoption.stop();
      await reaper.stop();
      await reconciler.stop();
      await fleet.settle();
      await freezer.stop();
      await core.decisions.stop();
      await core.webhooks.stop();
      for (const { id } of await store.listWorkers(undefined)) core.polls.release(id);
      core.life.isStopped = true;
      await Promise.all(exits);
      await endRemovals(core);
      await reaper.settle();
      await backoff.settle();
    },
    async stopWorkers(graceMs) {
      await reconciler.stop();
      const workers = await store.listWorkers(undefined);
      await Promise.all(workers.map(({ id }) => fleet.drain(id, { reason: 'the server stops', graceMs })));
    },

    submit: (submission) => submit(core, submission),
    waitFor: (job, timeoutMs, signal) => waitForJob(core, job, { timeoutMs, signal }),
    getJob: (endpointId, jobId) => requireJob(core, endpointId, jobId),
    noteJob: (job) => noteJob(core, backoff, job),
    listJobs: async (filter) => {
      await requireEndpoint(core, filter.endpointId);
      return store.listJobs(filter);
    },
    cancel: (endpointId, jobId) => cancel(core, endpointId, jobId),
    retry: (endpointId, jobId) => retry(core, endpointId, jobId),
    shortenRetention: (job, keepMs) => shortenRetention(core, job, keepMs),
    readStream: (read, timeoutMs, signal) => readStream(core, read, { timeoutMs, signal }),
    followStream: (job, signal) => followStream(core, job, signal),
    batches: createBatches(core),
    purge: (endpointId) => purge(core, endpointId),
    health: (endpointId) => readHealth(core, endpointId),

    authenticateWorker: (token, workerId) => authenticateWorker(core, token, workerId),
    take: (workerId, taking) => take(core, workerId, taking),
    stops: (workerId, signal) => takeStops(core, workerId, signal),
    ping: (worker, report) => ping(core, worker, report),
    addChunk: (post) => addChunk(core, post),
    done: (worker, report) => done(core, worker, report),

    async createEndpoint(wanted) {
      const endpoint = newEndpoint(wanted, options.clock.now());
      await store.addEndpoint(endpoint);
      core.wake(endpoint.id);
      return endpoint;
    },
    async updateEndpoint(id, { isPaused, expiresInMs, ...change }) {
      const before = await requireEndpoint(core, id);
      // In one step with the write: what is extended in time is not removed.
      const endpoint = await store.updateEndpoint(id, {
        ...change,
        ...(expiresInMs !== undefined && { expiresAt: postponeExpiry(before, expiresInMs, options.clock.now()) }),
        ...(isPaused !== undefined && { pausedReason: isPaused ? 'paused by request' : null }),
      });
      if (isPaused === false) fleet.forgetCrashes(id);
      core.wake(id);
      return endpoint;
    },
    getEndpoint: (id) => requireEndpoint(core, id),
    listEndpoints: () => store.listEndpoints(),
    removeEndpoint: remove,
    deploy: async (endpointId, request) => resumed(await deploy(core, endpointId, request)),
    rollback: async (endpointId, request) => resumed(await rollback(core, endpointId, request)),
    async getRelease(endpointId, number) {
      await requireEndpoint(core, endpointId);
      return requireRelease(core, endpointId, number);
    },
    async listReleases(endpointId, range) {
      await requireEndpoint(core, endpointId);
      return store.listReleases(endpointId, range);
    },
    putReport: (name, report) => putReport(core, name, report),
    getReport: (name) => getReport(core, name),
    readTests: (releases) => readTests(core, releases),
    listRollouts: (endpointId, range) => listRollouts(core, endpointId, range),
    stepRollout: (endpointId, step) => stepRollout(core, endpointId, step),
    waitRollout: (endpointId, to, waiting) => waitRollout(core, { endpointId, to }, waiting),

    listDeliveries: (filter) => listDeliveries(core, filter),
    getDelivery: (name) => getDelivery(core, name),
    redeliver: (name) => redeliver(core, name),
    makeWebhookSecret: (endpointId, rotation) => makeSigningSecret(core, endpointId, rotation),
    listWebhookSecrets: (endpointId) => listSigningSecrets(core, endpointId),
    removeWebhookSecrets: (endpointId) => removeSigningSecrets(core, endpointId),

    putSecret: (name, value) => putSecret(core, name, value),
    listSecrets: () => listSecrets(core),
    removeSecret: (name, isForced) => removeSecret(core, name, isForced),

    async listWorkers(endpointId, all) {
      await requireEndpoint(core, endpointId);
      const workers = await store.listWorkers(endpointId, all);
      const reasonOf = ({ id }: Worker) => host.lackOf(id) ?? 'it is not wanted at the moment';
      return workers.map((worker) => (worker.state === 'THROTTLED' ? { ...worker, reason: reasonOf(worker) } : worker));
    },
    listServing: (endpointId) => listServing(core, endpointId),
    listHeld: (workers) => listHeld(core, workers),
    explainJob: (job) => explainJob(core, backoff, job),
    explainEndpoint: (endpointId) => explainEndpoint(core, backoff, endpointId),
    summarize: () => summarizeEndpoints(core, backoff),
    measure: () => measureEndpoints(core, backoff),
    async listDecisions(filter) {
      await requireEndpoint(core, filter.endpointId);
      return core.decisions.list(filter);
    },
    host: () => host.view(),
    async readLogs(filter) {
      await requireEndpoint(core, filter.endpointId);
      return core.logs.read(filter, await workerIds(filter.endpointId, filter.release));
    },
    followLogs: (filter, signal) =>
      keepRelease(
        core,
        filter,
        core.logs.follow(filter, () => workerIds(filter.endpointId, filter.release), signal),
      ),
  };
}

/** Lines of the release that is asked for; those that stand for missing ones belong to none. */
async function* keepRelease({ store }: Core, { release }: LogFilter, lines: AsyncIterable<LogLine>): AsyncIterable<LogLine> {
  const releases = new Map<string, number | undefined>();
  for await (const line of lines) {
    const { workerId } = line;
    if (release !== undefined && line.id !== '') {
      if (!releases.has(workerId)) releases.set(workerId, (await store.getWorker(workerId))?.release);
      if (releases.get(workerId) !== release) continue;
    }
    yield line;
  }
}

type Output = { readonly lines: readonly { readonly at: number; readonly text: string }[]; readonly dropped: number };

/** Stores what a worker printed, each line with the job it had then. */
async function recordOutput(core: Core, workerId: string, { lines, dropped }: Output): Promise<void> {
  const worker = await core.store.getWorker(workerId);
  if (!worker) return;
  const mark =
    dropped > 0
      ? [{ at: core.clock.now(), source: 'system' as const, jobId: null, text: `dropped ${dropped} lines: printed too fast` }]
      : [];
  const printed = lines.map(({ at, text }) => ({ at, source: 'container' as const, jobId: core.occupations.jobAt(workerId, at), text }));
  await core.logs.append({ endpointId: worker.endpointId, workerId }, [...mark, ...printed]);
}

/** The eleven numbers of job-api §6; `ready` is what can take work: idle and running. */
async function readHealth(core: Core, endpointId: string): Promise<Health> {
  await requireEndpoint(core, endpointId);
  const [sample, workers] = await Promise.all([core.store.sampleQueue(endpointId), core.store.listWorkers(endpointId)]);
  const count = (...states: readonly string[]) => workers.filter(({ state }) => states.includes(state)).length;
  const { completed, failed, retried, inProgress, inQueue } = sample;
  const idle = count('IDLE', 'FROZEN');
  const running = count('RUNNING');
  return {
    jobs: { completed, failed, inProgress, inQueue, retried },
    workers: {
      idle,
      initializing: count('INITIALIZING'),
      ready: idle + running,
      running,
      throttled: count('THROTTLED'),
      unhealthy: count('UNHEALTHY'),
    },
  };
}
