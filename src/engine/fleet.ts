import { messageOf, WherryError } from '../base/errors.js';
import { createSecret, createWorkerId, hashSecret } from '../base/ids.js';
import type { Job } from '../domain/job.js';
import { formatRelease, type Release } from '../domain/release.js';
import type { Worker } from '../domain/worker.js';
import { shortDigest } from '../oci/digest.js';
import type { WorkerSpec } from '../runtime/runtime.js';
import type { Backoff } from './backoff.js';
import { type Core, type Fleet, PING_INTERVAL_MS } from './core.js';
import { endRollout } from './rollout.js';
import { giveBack } from './take.js';
import { createWaiters } from './waiters.js';

const EXIT_EVENT_MS = 500;
/** For the result of a job that ended at its limit. */
const POST_MS = 5_000;
const NEVER = new AbortController().signal;

/** How many last lines of a worker explain its end. */
const REASON_LINES = 20;

/** Starts and stops workers and keeps their rows true. */
export function createFleet(core: Core, backoff: Backoff): Fleet {
  const drains = new Map<string, Promise<void>>();
  const exits = createWaiters<true>();
  const say = (worker: Pick<Worker, 'id' | 'endpointId'>, text: string) =>
    core.logs.append({ endpointId: worker.endpointId, workerId: worker.id }, [
      { at: core.clock.now(), source: 'system', jobId: null, text },
    ]);

  const recordExit: Fleet['recordExit'] = async (workerId, { exitCode, signal, reason }) => {
    const before = await core.store.getWorker(workerId);
    if (!before || before.state === 'STOPPED') return;
    const now = core.clock.now();
    const why = describeExit(exitCode, signal);
    const isWanted = before.state === 'DRAINING';
    const said = before.reason ?? reason ?? why;
    const stopped = await core.store.changeWorker({ id: workerId, state: 'STOPPED', stoppedAt: now, exitCode, reason: said });
    if (!stopped) return;
    core.polls.release(workerId);
    await say(before, `stopped: ${said}${said === why ? '' : `, ${why}`}`);
    const held = await core.store.listJobs({ endpointId: before.endpointId, workerId, states: ['IN_PROGRESS'], limit: 1_000 });
    for (const job of held) await giveBack(core, job, why);
    if (!isWanted) await recordCrash(before, said === why ? why : `${why}: ${said}`);
    exits.notify(workerId, true);
    core.occupations.forget(workerId);
    core.seen.delete(workerId);
    core.wake(before.endpointId);
  };

  const recordCrash = async (worker: Worker, why: string) => {
    const evidence = await lastLines(core, worker);
    const reason = `worker ${worker.id} of ${formatRelease(worker.release)} ${why}${evidence}`;
    if (worker.isCandidate) {
      await endRollout(core, { endpointId: worker.endpointId, to: worker.release, state: 'REVERTED', reason });
      return;
    }
    const pause = backoff.recordCrash(worker.endpointId, core.clock.now());
    if (!pause) return;
    const pausedReason = `${pause} workers in a row ended without finishing a job; the last: ${reason}`;
    await core.store.updateEndpoint(worker.endpointId, { pausedReason });
    core.log.warn({ endpointId: worker.endpointId }, 'endpoint paused: its workers crash');
  };

  const stop = async (workerId: string, { reason, graceMs, mayFinish = false }: Drain): Promise<void> => {
    const draining = await core.store.changeWorker({ id: workerId, state: 'DRAINING', reason });
    const worker = draining ?? (await core.store.getWorker(workerId));
    if (!worker || worker.state === 'STOPPED') return;
    core.polls.release(workerId);
    core.stopPolls.notify(workerId, []);
    const patienceMs = mayFinish ? Math.max(graceMs, await jobTimeMs(core, worker)) : graceMs;
    await core.runtime.stopWorker(workerId, patienceMs).catch((thrown: unknown) => {
      if (!core.life.isStopped) throw thrown;
    });
    if (core.life.isStopped) return;
    // The runtime tells the exit, with its code, as an event of its own a moment before or after.
    const after = await core.store.getWorker(workerId);
    if (after && after.state !== 'STOPPED') await exits.wait(workerId, EXIT_EVENT_MS, NEVER);
    await recordExit(workerId, { exitCode: null, signal: null, reason });
  };

  return {
    async start(endpointId, number, { isCandidate }) {
      const release = await requireRelease(core, endpointId, number);
      const token = `wk_${createSecret()}`;
      const worker = newWorker({ core, release, token, isCandidate });
      await core.store.addWorker(worker);
      await startWorker(core, { worker, release, token }).then(
        () =>
          say(worker, `started ${formatRelease(number)}, image ${shortDigest(release.image.digest)}${isCandidate ? ', as candidate' : ''}`),
        (thrown: unknown) => recordExit(worker.id, { exitCode: null, signal: null, reason: `could not be started: ${messageOf(thrown)}` }),
      );
    },
    drain(workerId, options) {
      const known = drains.get(workerId);
      if (known && options.graceMs > 2_000) return known;
      const drained = stop(workerId, options).finally(() => drains.delete(workerId));
      drains.set(workerId, drained);
      return drained;
    },
    async markReady(workerId) {
      const worker = await core.store.getWorker(workerId);
      const now = core.clock.now();
      core.seen.set(workerId, now);
      // A server that died between readiness and proof left a ready candidate.
      if (worker?.isCandidate && worker.state === 'IDLE') return prove(core, worker);
      if (worker?.state !== 'INITIALIZING') return;
      const ready = await core.store.changeWorker({ id: workerId, state: 'IDLE', readyAt: now, lastSeenAt: now, idleSince: now });
      if (!ready) return;
      await say(ready, `ready after ${now - ready.createdAt} ms`);
      if (ready.isCandidate) await prove(core, ready);
      else core.wake(ready.endpointId);
    },
    recordExit,
    recordSuccess: (endpointId) => backoff.reset(endpointId),
  };
}

type Drain = Parameters<Fleet['drain']>[1];

/** How long the job may still take that the worker holds; 0 when it holds none. */
async function jobTimeMs(core: Core, { id: workerId, endpointId }: Worker): Promise<number> {
  const held = await core.store.listJobs({ endpointId, workerId, states: ['IN_PROGRESS'], limit: 1_000 });
  const endpoint = await core.store.getEndpoint(endpointId);
  const limitOf = (job: Job) => job.executionTimeoutMs || (endpoint?.settings.limits.executionMs ?? 0);
  return held.length === 0 ? 0 : Math.max(...held.map(limitOf)) + POST_MS;
}

/** The candidate is ready: its release serves from now on; it stays only if there is work for it. */
async function prove(core: Core, worker: Worker): Promise<void> {
  const { endpointId, release } = worker;
  await endRollout(core, { endpointId, to: release, state: 'DONE', reason: null });
  const endpoint = await core.store.getEndpoint(endpointId);
  if (endpoint?.activeRelease !== release) return;
  const { inQueue } = await core.store.sampleQueue(endpointId);
  await core.store.changeWorker({ id: worker.id, isCandidate: false });
  if (inQueue === 0 && endpoint.settings.scale.min === 0) {
    const drained = core.fleet.drain(worker.id, { reason: 'its release is proved and nothing waits', graceMs: 5_000, mayFinish: true });
    drained.catch((cause: unknown) => core.log.error({ err: cause, workerId: worker.id }, 'a candidate could not be stopped'));
  }
  core.wake(endpointId);
}

function newWorker({ core, release, token, isCandidate }: { core: Core; release: Release; token: string; isCandidate: boolean }): Worker {
  return {
    id: createWorkerId(),
    endpointId: release.endpointId,
    release: release.number,
    state: 'INITIALIZING',
    tokenHash: hashSecret(token),
    runtime: core.runtime.name,
    handle: null,
    isCandidate,
    createdAt: core.clock.now(),
    readyAt: null,
    lastSeenAt: null,
    idleSince: null,
    stoppedAt: null,
    exitCode: null,
    reason: null,
  };
}

async function startWorker(core: Core, { worker, release, token }: { worker: Worker; release: Release; token: string }): Promise<void> {
  const { image, spec } = release;
  const workerSpec: WorkerSpec = {
    workerId: worker.id,
    endpointId: worker.endpointId,
    release: release.number,
    image: { repository: image.repository, digest: image.digest },
    env: { ...spec.env, ...protocolEnv(core.workerUrl(), worker, token) },
    args: spec.args,
    resources: {
      ...(spec.resources.cpu !== undefined && { cpu: spec.resources.cpu }),
      ...(spec.resources.memoryBytes !== undefined && { memoryBytes: spec.resources.memoryBytes }),
    },
  };
  const handle = await core.runtime.startWorker(workerSpec);
  await core.store.changeWorker({ id: worker.id, handle: JSON.stringify(handle) });
}

/** worker-protocol §1.1 and §1.3: placeholders stay literal, each URL has a query already; users cannot override these. */
export function protocolEnv(url: string, { id, endpointId }: Pick<Worker, 'id' | 'endpointId'>, token: string): Record<string, string> {
  const base = `${url}/v2/${endpointId}`;
  return {
    RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=CPU`,
    RUNPOD_POD_ID: id,
    RUNPOD_AI_API_KEY: token,
    RUNPOD_PING_INTERVAL: String(PING_INTERVAL_MS),
    RUNPOD_ENDPOINT_ID: endpointId,
    RUNPOD_POD_HOSTNAME: id,
    RUNPOD_GPU_COUNT: '0',
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: 'true',
  };
}

async function requireRelease({ store }: Core, endpointId: string, number: number): Promise<Release> {
  const release = await store.getRelease(endpointId, number);
  if (release) return release;
  throw new WherryError('RELEASE_UNKNOWN', `endpoint '${endpointId}' has no release ${formatRelease(number)}`, {
    hint: '`wherry releases` lists them',
  });
}

function describeExit(exitCode: number | null, signal: string | null): string {
  if (signal !== null) return `was ended by ${signal}`;
  return exitCode === null ? 'is gone' : `exited with code ${exitCode}`;
}

async function lastLines(core: Core, { endpointId, id }: Worker): Promise<string> {
  const lines = await core.logs.read({ endpointId, workerId: id, limit: REASON_LINES * 2 }, [id]);
  const printed = lines.filter(({ source }) => source === 'container').slice(-REASON_LINES);
  return printed.length === 0 ? '' : `\n${printed.map(({ text }) => `  ${text}`).join('\n')}`;
}
