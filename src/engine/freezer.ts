import { messageOf } from '../base/errors.js';
import { decideEvictions, formatHeld } from '../domain/frozen.js';
import { addThaw, type Worker } from '../domain/worker.js';
import type { Core, Freezer } from './core.js';
import { drain } from './drain.js';
import { writeSystemLine } from './system-line.js';

interface Place {
  readonly worker: Worker;
  readonly frozenAt: number;
  /** 0 until it is known. */
  memoryBytes: number;
}

/** A worker that was thawed and has not asked for work yet. */
interface Waking {
  readonly decidedAt: number;
  readonly frozenMs: number;
  startedAt: number | undefined;
}

/** Keeps the store and the runtimes agreed about who is frozen; one step of a worker at a time. */
export function createFreezer(core: Core): Freezer {
  const places = new Map<string, Place>();
  const wakings = new Map<string, Waking>();
  /** Ids that {@link Freezer.takeThawed} has not given out yet, by `endpointId/release`. */
  const thawed = new Map<string, string[]>();
  /** The last step of each worker; steps of one worker follow each other. */
  const steps = new Map<string, Promise<void>>();
  const runtimeOf = ({ runtime }: Worker) => core.runtimes.named(runtime);

  const follow = (workerId: string, work: () => Promise<void>): void => {
    const step = (steps.get(workerId) ?? Promise.resolve())
      .then(work)
      .catch((cause: unknown) => core.log.error({ err: cause, workerId }, 'a worker could not be frozen or thawed'))
      .finally(() => {
        if (steps.get(workerId) === step) steps.delete(workerId);
      });
    steps.set(workerId, step);
  };

  const freeze = async (worker: Worker): Promise<void> => {
    const { id, endpointId } = worker;
    const frozenAt = core.clock.now();
    // In the store first: from then on it gets no job.
    if (!(await core.store.changeWorker({ id, from: 'IDLE', state: 'FROZEN', frozenAt }))) return;
    const place = { worker, frozenAt, memoryBytes: 0 };
    places.set(id, place);
    if (!(await hold(place))) return;
    // Not awaited: a thaw does not wait for a line.
    void writeSystemLine(core, worker, `frozen, ${formatHeld(place.memoryBytes)} held`);
    // A job that was announced to its poll a moment before it was frozen.
    core.wake(endpointId);
  };

  /** Suspends a worker that is FROZEN in the store. False when it is stopped instead. */
  const hold = async (place: Place): Promise<boolean> => {
    const { worker } = place;
    const { id } = worker;
    try {
      place.memoryBytes = (await runtimeOf(worker).freezeWorker(id)).memoryBytes;
    } catch (thrown) {
      places.delete(id);
      if (!core.life.isStopped) drain(core, worker, { reason: `it could not be frozen: ${messageOf(thrown)}` });
      return false;
    }
    // The answer waits in its socket, so that it asks anew as soon as it goes on.
    core.polls.release(id);
    await core.store.changeWorker({ id, from: 'FROZEN', memoryBytes: place.memoryBytes });
    evict();
    return places.has(id);
  };

  const evict = (): void => {
    const budget = core.frozenMemoryBytes;
    const views = [...places.values()].map(({ worker: { id }, frozenAt, memoryBytes }) => ({ id, frozenAt, memoryBytes }));
    for (const id of decideEvictions(views, budget)) {
      const place = places.get(id);
      places.delete(id);
      if (!place) continue;
      const limit = `all frozen workers may hold ${formatHeld(budget)} (WHERRY_FROZEN_MEMORY)`;
      const why = place.memoryBytes > budget ? `it holds ${formatHeld(place.memoryBytes)}` : 'it was frozen longest';
      drain(core, place.worker, { reason: `${why}, and ${limit}` });
    }
  };

  const thaw = async (place: Place, waking: Waking): Promise<void> => {
    const { worker } = place;
    const { id, endpointId } = worker;
    const { decidedAt } = waking;
    // Its client may have given up a poll that was held meanwhile: none of them may bring a job any more.
    core.polls.release(id);
    core.seen.set(id, decidedAt);
    // Beside each other: until the store knows, its poll waits (`waking`).
    const known = core.store.changeWorker({
      id,
      from: 'FROZEN',
      state: 'IDLE',
      idleSince: decidedAt,
      lastSeenAt: decidedAt,
      frozenAt: null,
      memoryBytes: null,
    });
    const gone = runtimeOf(worker)
      .thawWorker(id)
      .then(() => {
        waking.startedAt = core.clock.now();
      });
    const [changed, result] = await Promise.allSettled([known, gone]);
    if (changed.status === 'rejected') {
      // A full disk: for the store it is frozen, and the next job tries again.
      wakings.delete(id);
      places.set(id, place);
      throw changed.reason;
    }
    if (!changed.value) wakings.delete(id);
    else if (result.status === 'rejected') await replace(worker, `it could not be thawed: ${messageOf(result.reason)}`);
    core.wake(endpointId);
  };

  const replace = async (worker: Worker, reason: string): Promise<void> => {
    wakings.delete(worker.id);
    await core.store.changeWorker({ id: worker.id, state: 'UNHEALTHY', reason });
    drain(core, worker, { reason, graceMs: 0 });
  };

  const record = async (worker: Worker, thaws: string, text: string): Promise<void> => {
    await core.store.changeWorker({ id: worker.id, thaws });
    void writeSystemLine(core, worker, text);
  };

  return {
    isAble: ({ runtime }) =>
      core.frozenMemoryBytes > 0 && core.runtimes.all.some(({ name, capabilities }) => name === runtime && capabilities.freeze),
    freeze: (worker) => follow(worker.id, () => freeze(worker)),
    thaw({ endpointId, release }, count) {
      if (places.size === 0 || count <= 0) return 0;
      const own = [...places.values()].filter(({ worker }) => worker.endpointId === endpointId && worker.release === release);
      const chosen = own.sort((a, b) => b.frozenAt - a.frozenAt).slice(0, count);
      const decidedAt = core.clock.now();
      for (const place of chosen) {
        const waking = { decidedAt, frozenMs: decidedAt - place.frozenAt, startedAt: undefined };
        places.delete(place.worker.id);
        wakings.set(place.worker.id, waking);
        follow(place.worker.id, () => thaw(place, waking));
      }
      const key = `${endpointId}/${release}`;
      thawed.set(key, [...(thawed.get(key) ?? []), ...chosen.map(({ worker }) => worker.id)]);
      return chosen.length;
    },
    takeThawed({ endpointId, release }) {
      const key = `${endpointId}/${release}`;
      const ids = thawed.get(key) ?? [];
      thawed.delete(key);
      return ids;
    },
    waking: (workerId) => (wakings.has(workerId) ? steps.get(workerId) : undefined),
    awaitedSince: (workerId) => wakings.get(workerId)?.decidedAt,
    hear(worker) {
      const waking = wakings.get(worker.id);
      if (!waking) return worker;
      const { decidedAt, frozenMs, startedAt } = waking;
      const readyAt = core.clock.now();
      wakings.delete(worker.id);
      core.meter.recordReady(worker.endpointId, 'thaw', readyAt - decidedAt);
      const thaws = addThaw(worker.thaws, { decidedAt, startedAt: startedAt ?? readyAt, readyAt });
      const text = `thawed after ${(frozenMs / 1000).toFixed(1)} s, in ${readyAt - decidedAt} ms`;
      follow(worker.id, () => record(worker, thaws, text));
      return { ...worker, thaws };
    },
    async leave(workerId) {
      places.delete(workerId);
      wakings.delete(workerId);
      await steps.get(workerId);
    },
    adopt(workers) {
      for (const worker of workers) {
        const { id, state, frozenAt } = worker;
        if (state === 'FROZEN') {
          const place = { worker, frozenAt: frozenAt ?? core.clock.now(), memoryBytes: 0 };
          places.set(id, place);
          follow(id, async () => void (await hold(place)));
        } else if (state !== 'DRAINING' && runtimeOf(worker).capabilities.freeze) {
          // The former server may have died between the store and the runtime. One that is gone tells its end itself.
          follow(id, () =>
            runtimeOf(worker)
              .thawWorker(id)
              .catch(() => {}),
          );
        }
      }
    },
    async stop() {
      await Promise.all(steps.values());
    },
  };
}
