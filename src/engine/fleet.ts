import { messageOf, WherryError } from '../base/errors.js';
import { createSecret, createWorkerId, hashSecret } from '../base/ids.js';
import { JOB_LIMITS } from '../domain/job.js';
import { formatRelease, type Release } from '../domain/release.js';
import type { StartPath, Worker } from '../domain/worker.js';
import { OWN_VARIABLES, protocolVariables, SDK_DEFAULTS } from '../domain/worker-environment.js';
import { shortDigest } from '../oci/digest.js';
import type { Runtime, WorkerSpec } from '../runtime/runtime.js';
import type { Backoff, Verdict } from './backoff.js';
import { type Core, type Fleet, PING_INTERVAL_MS } from './core.js';
import { requireEndpoint, requireRelease } from './jobs.js';
import { describeCrash } from './last-crash.js';
import { formatLines, readLastLines } from './last-lines.js';
import { giveBack } from './lost.js';
import type { EndCause } from './meter.js';
import { createOutages } from './outages.js';
import { revertBroken } from './revert.js';
import { endPinned, endRollout, proveRelease } from './rollout.js';
import { demandOf } from './room.js';
import { openEnv } from './secrets.js';
import { forgetWorker } from './stops.js';
import { writeSystemLine } from './system-line.js';
import { createWaiters } from './waiters.js';

const EXIT_EVENT_MS = 500;
/** Grace for a worker without a job, and for a worker to end after its last one. */
const IDLE_GRACE_MS = 5_000;
/** Pause after a stop that failed. */
const STOP_RETRY_MS = 5_000;

/** Starts and stops workers and keeps their rows true. */
export function createFleet(core: Core, backoff: Backoff): Fleet {
  const drains = new Map<string, { readonly until: number; readonly done: Promise<void> }>();
  /** When a stop that failed may be tried again, by worker. */
  const retries = new Map<string, number>();
  const recordings = new Map<string, Promise<void>>();
  const outages = createOutages(core);
  /** Starts under way, by endpoint. */
  const launches = new Map<string, Set<Promise<void>>>();
  const exits = createWaiters<true>();
  const say = (worker: Pick<Worker, 'id' | 'endpointId'>, text: string) => writeSystemLine(core, worker, text);

  const record: Fleet['recordExit'] = async (workerId, { exitCode, signal, cause, reason, isLost = false }) => {
    const before = await core.store.getWorker(workerId);
    if (!before || before.state === 'STOPPED') return;
    // Nothing of it runs, so nothing can be lost: it waits on.
    if (before.state === 'THROTTLED' && isLost) return;
    const now = core.clock.now();
    const why = cause ?? describeExit(exitCode, signal);
    const isWanted = before.state === 'DRAINING';
    // Whatever ended a frozen worker, it did not do it itself.
    const isInnocent = isLost || before.state === 'FROZEN';
    const said = before.reason ?? reason ?? why;
    const stopped = await core.store.changeWorker({ id: workerId, state: 'STOPPED', stoppedAt: now, exitCode, reason: said });
    if (!stopped) return;
    void core.freezer.leave(workerId);
    core.meter.recordEnd(before.endpointId, endCauseOf(before, isInnocent));
    core.host.leave(workerId);
    core.polls.release(workerId);
    await say(before, `stopped: ${said}${said === why ? '' : `, ${why}`}`);
    const held = await core.store.listJobs({ endpointId: before.endpointId, workerId, states: ['IN_PROGRESS'], limit: 1_000 });
    const evidence = held.length > 0 && !isWanted ? formatLines(await readLastLines(core, before)) : '';
    let isQuarantined = false;
    for (const job of held) isQuarantined = (await giveBack(core, job, { why, isOwnDoing: isWanted, evidence })) || isQuarantined;
    // A lost worker is no crash: its endpoint is not paused for it, and its rollout goes on with another candidate.
    if (!isWanted && !isInnocent) {
      const verdict = backoff.recordCrash(before, { at: now, jobIds: held.map(({ id }) => id), isQuarantined });
      await actOnCrash(stopped, said === why ? why : `${why}: ${said}`, verdict);
    } else if (isQuarantined) backoff.reset(before.endpointId, before.release);
    exits.notify(workerId, true);
    core.occupations.forget(workerId);
    forgetWorker(core, workerId);
    core.seen.delete(workerId);
    core.lastNotes.delete(workerId);
    core.models.forget(workerId);
    retries.delete(workerId);
    core.wake(before.endpointId);
  };

  /** Told twice, by the runtime and by who stopped it: both wait until its jobs are given back. */
  const recordExit: Fleet['recordExit'] = (workerId, exit) => {
    const known = recordings.get(workerId);
    if (known) return known;
    const recorded = record(workerId, exit).finally(() => recordings.delete(workerId));
    recordings.set(workerId, recorded);
    return recorded;
  };

  const actOnCrash = async (worker: Worker, why: string, { crashes, isOverBudget, isReleaseToBlame }: Verdict) => {
    const { endpointId, release } = worker;
    const lines = await readLastLines(core, worker);
    const reason = `worker ${worker.id} of ${formatRelease(release)} ${why}${formatLines(lines)}`;
    core.lastCrashes.set(endpointId, describeCrash(worker, why, lines));
    if (worker.isCandidate) {
      const whole = `${reason}${await describeForeign(core, worker)}`;
      const reverted = await endRollout(core, { endpointId, to: release, state: 'REVERTED', reason: whole });
      if (!reverted && isReleaseToBlame) await endPinned(core, endpointId, { release, why: reason });
      return;
    }
    const inRow = `${crashes} workers of ${formatRelease(release)} in a row ended without finishing a job`;
    // Not waited for: what it hashes may be large, and who waits for this exit needs none of it.
    if (isReleaseToBlame)
      revertBroken(core, worker, `${inRow}; the last: ${reason}`).catch((cause: unknown) => {
        if (!core.life.isStopped) core.log.error({ err: cause, endpointId, release }, 'a release that crashes could not be taken back');
      });
    if (!isOverBudget || (await core.store.getEndpoint(endpointId))?.activeRelease !== release) return;
    const pausedReason = `${inRow} (\`wherry resume ${endpointId}\` tries again); the last: ${reason}`;
    await core.store.updateEndpoint(endpointId, { pausedReason });
    core.log.warn({ endpointId }, 'endpoint paused: its workers crash');
  };

  const stop = async (workerId: string, reason: string, graceMs: number | undefined): Promise<void> => {
    const draining = await core.store.changeWorker({ id: workerId, state: 'DRAINING', reason });
    const worker = draining ?? (await core.store.getWorker(workerId));
    if (!worker || worker.state === 'STOPPED') return;
    if (worker.state === 'THROTTLED') return dismiss(worker, reason);
    core.models.giveUp({ workerId });
    core.polls.release(workerId);
    core.stopPolls.notify(workerId, true);
    await core.freezer.leave(workerId);
    // Asked now: a worker that drains gets no more jobs.
    const stopped = core.runtimes.named(worker.runtime).stopWorker(workerId, graceMs ?? (await heldGrace(core, worker)));
    await stopped.catch((thrown: unknown) => {
      if (!core.life.isStopped) throw thrown;
    });
    if (core.life.isStopped) return;
    // The runtime tells the exit, with its code, as an event of its own a moment before or after.
    const after = await core.store.getWorker(workerId);
    if (after && after.state !== 'STOPPED') await exits.wait(workerId, EXIT_EVENT_MS, new AbortController().signal);
    await recordExit(workerId, { exitCode: null, signal: null, reason });
  };

  /** A worker that waited for room, and of which nothing ran. */
  const dismiss = async ({ id, endpointId }: Worker, reason: string): Promise<void> => {
    await core.store.changeWorker({ id, state: 'STOPPED', stoppedAt: core.clock.now(), reason });
    core.host.leave(id);
    core.wake(endpointId);
  };

  /** Starts a worker beside what else happens: a pull may take minutes. */
  const launch = (start: Start & { readonly worker: Worker }): void => {
    const { worker, release } = start;
    const { id, endpointId } = worker;
    core.meter.recordStart(endpointId, worker.isCandidate ? 'candidate' : 'scale');
    const launched = startWorker(core, start)
      .then(
        async (path) => {
          outages.forget(endpointId);
          const image = shortDigest(release.image.digest);
          const how = `${worker.isCandidate ? ', as candidate' : ''}${path === 'fork' ? ' (forked)' : ''}`;
          if (path !== null) await say(worker, `started ${formatRelease(release.number)}, image ${image}${how}`);
        },
        async (thrown: unknown) => {
          const isLost = outages.holdForModels(endpointId, thrown) || (await outages.look(endpointId, start.runtime));
          await recordExit(id, { exitCode: null, signal: null, reason: `could not be started: ${messageOf(thrown)}`, isLost });
        },
      )
      .catch((cause: unknown) => core.log.error({ err: cause, workerId: id }, 'the start of a worker could not be recorded'))
      .finally(() => launches.get(endpointId)?.delete(launched));
    launches.set(endpointId, (launches.get(endpointId) ?? new Set()).add(launched));
  };

  return {
    async start(endpointId, number, { isCandidate, isExtra = false }) {
      if (outages.isHeld(endpointId)) return undefined;
      const release = await requireRelease(core, endpointId, number);
      const runtime = await outages.choose(await requireEndpoint(core, endpointId), release);
      if (!runtime) return undefined;
      const token = `wk_${createSecret()}`;
      const worker = newWorker({ core, release, runtime, token, isCandidate });
      const { id, createdAt: since } = worker;
      const place = { id, endpointId, since, ...demandOf(release.spec, core.capacity.node, runtime.capabilities) };
      const isStarted = isExtra ? core.host.tryEnter(place) : core.host.enter(place);
      if (isExtra && !isStarted) return undefined;
      const made: Worker = isStarted ? { ...worker, gpus: core.host.gpusOf(id) } : { ...worker, state: 'THROTTLED', admittedAt: null };
      await core.store.addWorker(made).catch((thrown: unknown) => {
        core.host.leave(id);
        throw thrown;
      });
      if (isStarted) launch({ worker: made, release, runtime, token });
      return { id, isStarted };
    },
    async admit(throttled) {
      const { id, endpointId, createdAt: since } = throttled;
      const runtime = core.runtimes.all.find(({ name }) => name === throttled.runtime);
      const release = await core.store.getRelease(endpointId, throttled.release);
      if (!runtime || !release) {
        await dismiss(throttled, `this server has no runtime '${throttled.runtime}'`);
        return false;
      }
      if (!core.host.enter({ id, endpointId, since, ...demandOf(release.spec, core.capacity.node, runtime.capabilities) })) return false;
      const token = `wk_${createSecret()}`;
      const gpus = core.host.gpusOf(id);
      const change = { id, state: 'INITIALIZING', tokenHash: hashSecret(token), admittedAt: core.clock.now(), gpus } as const;
      const worker = await core.store.changeWorker(change).catch((thrown: unknown) => {
        core.host.leave(id);
        throw thrown;
      });
      if (worker) launch({ worker, release, runtime, token });
      else core.host.leave(id);
      return worker !== undefined;
    },
    async settle(endpointId) {
      const chosen = endpointId === undefined ? [...launches.values()] : [launches.get(endpointId) ?? []];
      await Promise.all(chosen.flatMap((each) => [...each]));
    },
    drain(workerId, { reason, graceMs }) {
      const now = core.clock.now();
      const until = graceMs === undefined ? Number.POSITIVE_INFINITY : now + graceMs;
      const known = drains.get(workerId);
      if (known && known.until <= until) return known.done;
      const done = stop(workerId, reason, graceMs)
        .catch((thrown: unknown) => {
          retries.set(workerId, core.clock.now() + STOP_RETRY_MS);
          throw thrown;
        })
        .finally(() => {
          if (drains.get(workerId)?.done === done) drains.delete(workerId);
        });
      drains.set(workerId, { until, done });
      return done;
    },
    isStopping: (workerId) => drains.has(workerId) || core.clock.now() < (retries.get(workerId) ?? 0),
    async markReady(workerId) {
      const worker = await requireWorker(core, workerId);
      const now = core.clock.now();
      core.seen.set(workerId, now);
      // A server that died between readiness and proof left a ready candidate.
      const isUnproven = worker.isCandidate && worker.state === 'IDLE';
      if (worker.state !== 'INITIALIZING' && !isUnproven) return worker;
      const ready = isUnproven
        ? worker
        : await core.store.changeWorker({ id: workerId, state: 'IDLE', readyAt: now, lastSeenAt: now, idleSince: now });
      core.host.settle(workerId);
      if (ready && !isUnproven) {
        const tookMs = now - (ready.admittedAt ?? ready.createdAt);
        if (ready.start) core.meter.recordReady(ready.endpointId, ready.start.path, tookMs);
        await say(ready, `ready after ${tookMs} ms`);
      }
      if (ready?.isCandidate) await prove(core, ready);
      else if (ready) core.wake(ready.endpointId);
      return requireWorker(core, workerId);
    },
    recordExit,
    outageOf: outages.reasonOf,
    forgetCrashes(endpointId, release) {
      outages.forget(endpointId);
      backoff.reset(endpointId, release);
    },
  };
}

/** Throws WORKER_UNKNOWN. */
export async function requireWorker({ store }: Core, workerId: string): Promise<Worker> {
  const worker = await store.getWorker(workerId);
  if (worker) return worker;
  throw new WherryError('WORKER_UNKNOWN', `there is no worker '${workerId}'`, { hint: '`wherry status` lists the workers' });
}

/** The candidate is ready; when its release serves from now on, it stays only if there is work for it. */
async function prove(core: Core, worker: Worker): Promise<void> {
  const { endpointId, release } = worker;
  const rollout = await proveRelease(core, endpointId, release);
  const endpoint = await core.store.getEndpoint(endpointId);
  if (rollout?.state !== 'DONE' || !endpoint) return;
  const { inQueue } = await core.store.sampleQueue(endpointId);
  if (inQueue === 0 && endpoint.settings.scale.min === 0) {
    const drained = core.fleet.drain(worker.id, { reason: 'its release is proved and nothing waits' });
    drained.catch((cause: unknown) => core.log.error({ err: cause, workerId: worker.id }, 'a candidate could not be stopped'));
  }
  core.wake(endpointId);
}

/** How long the jobs a worker holds may still run, and a moment to end; one without a limit gets as long as a limit can be. */
async function heldGrace({ store, clock }: Core, { id, endpointId }: Worker): Promise<number> {
  const held = await store.listJobs({ endpointId, workerId: id, states: ['IN_PROGRESS'], limit: 1_000 });
  const now = clock.now();
  const left = held.map(({ claimedAt, executionTimeoutMs }) =>
    executionTimeoutMs === 0 ? JOB_LIMITS.executionTimeoutMs.max : Math.max(0, (claimedAt ?? now) + executionTimeoutMs - now),
  );
  return Math.max(0, ...left) + IDLE_GRACE_MS;
}

interface Start {
  readonly release: Release;
  readonly runtime: Runtime;
  readonly token: string;
}

function newWorker({ core, release, runtime, token, isCandidate }: Start & { core: Core; isCandidate: boolean }): Worker {
  const now = core.clock.now();
  return {
    id: createWorkerId(),
    endpointId: release.endpointId,
    release: release.number,
    state: 'INITIALIZING',
    tokenHash: hashSecret(token),
    runtime: runtime.name,
    handle: null,
    gpus: null,
    isCandidate,
    createdAt: now,
    admittedAt: now,
    start: null,
    readyAt: null,
    lastSeenAt: null,
    idleSince: null,
    frozenAt: null,
    memoryBytes: null,
    thaws: null,
    stoppedAt: null,
    exitCode: null,
    reason: null,
  };
}

/** Gives how it was started; null when it was given up meanwhile: then nothing of it runs. */
async function startWorker(core: Core, { worker, release, runtime, token }: Start & { worker: Worker }): Promise<StartPath | null> {
  const { image, spec } = release;
  const { env, secretive } = await openEnv(core, worker.endpointId, spec);
  const models = await core.models.bring(worker, { models: spec.models ?? [], env });
  if (models === undefined) return null;
  const gpus = worker.gpus ?? [];
  const url = await core.workerUrl(worker);
  const workerSpec: WorkerSpec = {
    workerId: worker.id,
    endpointId: worker.endpointId,
    release: release.number,
    image: { repository: image.repository, digest: image.digest },
    env: { ...SDK_DEFAULTS, ...env, ...protocolVariables({ ...worker, url, token, pingIntervalMs: PING_INTERVAL_MS, gpus: gpus.length }) },
    ownEnv: [...OWN_VARIABLES, ...secretive],
    args: spec.args,
    resources: spec.resources,
    gpus,
    ports: spec.ports,
    volumes: spec.volumes,
    models,
    isHardened: spec.isHardened ?? false,
  };
  const { handle, ...prepared } = await runtime.startWorker(workerSpec);
  const start = { ...prepared, startedAt: core.clock.now() };
  const { preparedAt, bytes, isCached } = start;
  if (!isCached)
    core.meter.recordPull(worker.endpointId, { durationMs: Math.max(0, preparedAt - (worker.admittedAt ?? worker.createdAt)), bytes });
  const started = await core.store.changeWorker({ id: worker.id, handle: JSON.stringify(handle), start });
  if (started && started.state !== 'STOPPED') return start.path;
  await runtime.stopWorker(worker.id, 0);
  return null;
}

/** An image for another machine may still run; when its candidate failed, that is worth knowing. */
async function describeForeign({ store, images, platform, log }: Core, { endpointId, release }: Worker): Promise<string> {
  const found = await store.getRelease(endpointId, release);
  const made =
    found && (await images.platformOf(found.image).catch((cause: unknown) => log.warn({ err: cause }, 'an image cannot be read')));
  return made === undefined || made.split('/')[1] === platform.split('/')[1]
    ? ''
    : `\nthe image is for ${made}, this machine is ${platform}`;
}

/** `isInnocent`: something else ended it. */
function endCauseOf({ state, start }: Worker, isInnocent: boolean): EndCause {
  if (isInnocent) return 'lost';
  if (state === 'DRAINING') return 'stopped';
  if (state === 'UNHEALTHY') return 'unhealthy';
  return start === null ? 'unstarted' : 'crashed';
}

function describeExit(exitCode: number | null, signal: string | null): string {
  if (signal !== null) return `was ended by ${signal}`;
  return exitCode === null ? 'is gone' : `exited with code ${exitCode}`;
}
