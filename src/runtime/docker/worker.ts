import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { RuntimeEvents } from '../runtime.js';
import { type Container, lookAt, removeContainer } from './container-calls.js';
import { describeEnd } from './ending.js';
import type { Session } from './session.js';
import type { WorkerFile, WorkerFiles } from './worker-files.js';
import { createLogReader } from './worker-log.js';

export interface FollowOptions {
  readonly workerId: string;
  readonly endpointId: string;
  readonly containerId: string;
  /** False for one that ended before this server came. */
  readonly isRunning: boolean;
  readonly session: Session;
  readonly files: WorkerFiles;
  readonly events: RuntimeEvents;
  readonly log: Log;
  readonly now: () => number;
}

/** A worker's container from its start to its removal. */
export interface FollowedWorker {
  readonly workerId: string;
  readonly endpointId: string;
  readonly containerId: string;
  /** Resolves when it ended, its output and its exit were told and its container is removed; rejects when the following is given up. */
  readonly gone: Promise<void>;
  /** True for the first call of a worker's life, whatever server it was: it is about to be asked to end. */
  ask(): boolean;
  /** This server ends it now. */
  kill(): void;
  /** Someone sent it a signal. */
  noteSignal(): void;
  /** The engine says that it ended. */
  noteDeath(): void;
  /** True from the moment its exit was told: what is left of it is being removed. */
  isOver(): boolean;
  /** Gives up the following; the container stays as it is. */
  leave(): Promise<void>;
}

const RETRY_MS = 500;
/** How long the engine's stream of a dead container may go on. */
const DRAIN_MS = 2_000;

/** Follows a container until it is gone: its output, its end, its removal, in this order. */
export function followWorker(options: FollowOptions): FollowedWorker {
  const { workerId, containerId, session, files, events, log } = options;
  const leaving = new AbortController();
  let file: WorkerFile = files.read(workerId);
  let dying = new AbortController();
  let isEndedByOthers = false;
  let isKilled = false;
  let isTold = false;
  const keep = (change: Partial<WorkerFile>): void => {
    file = { ...file, ...change };
    files.write(workerId, file);
  };
  const readLog = createLogReader({
    workerId,
    tell: (output) => events.output(output),
    cursor: () => file.cursor,
    onTold: (cursor) => keep({ cursor }),
    now: options.now,
  });

  /** The connection in which it was known to run; none for what had ended before this server came. */
  let aliveEpoch = options.isRunning ? session.epoch : undefined;
  const read = async (isFollowing: boolean, signal: AbortSignal): Promise<void> => {
    const { api, facts } = await session.connected();
    await readLog({ api, containerId, isFollowing, clockOffsetMs: facts.clockOffsetMs, signal });
  };
  /** Reads as long as it runs; gives how it ended. */
  const untilEnd = async (): Promise<{ readonly state: Container | undefined; readonly isOutage: boolean }> => {
    for (;;) {
      dying = new AbortController();
      // Broken off, by whatever: what is left is read below, or in the next turn.
      await read(true, AbortSignal.any([leaving.signal, dying.signal])).catch(() => {});
      const state = await lookAt((await session.connected()).api, containerId);
      if (!state?.Running) {
        await read(false, leaving.signal);
        return { state, isOutage: aliveEpoch !== session.epoch };
      }
      aliveEpoch = session.epoch;
      await delay(RETRY_MS, undefined, { signal: leaving.signal });
    }
  };
  const tellEnd = ({ state, isOutage }: Awaited<ReturnType<typeof untilEnd>>): void => {
    const isOwn = isKilled || file.isAsked;
    const facts = { state, memoryBytes: state?.memoryBytes, isEndedByOthers: isEndedByOthers && !isOwn, isOutage: isOutage && !isOwn };
    const { note, ...end } = describeEnd(facts);
    events.exit({ workerId, ...end });
    if (note !== undefined) events.note({ workerId, text: note });
  };
  /** Each step is done until it succeeds: the engine may be away, the server may not take what it is told. */
  const persist = async <T>(step: () => Promise<T> | T): Promise<T> => {
    for (;;) {
      try {
        return await step();
      } catch (thrown) {
        leaving.signal.throwIfAborted();
        log.debug({ workerId, reason: messageOf(thrown) }, 'a step of a container is tried again');
        await delay(RETRY_MS, undefined, { signal: leaving.signal });
      }
    }
  };
  const live = async (): Promise<void> => {
    const end = await persist(untilEnd);
    await persist(() => tellEnd(end));
    isTold = true;
    await persist(async () => removeContainer((await session.connected()).api, containerId));
    files.remove(workerId);
  };
  const gone = live();
  // Who waits for it hears of it; nobody has to.
  gone.catch(() => {});
  return {
    workerId,
    endpointId: options.endpointId,
    containerId,
    gone,
    ask() {
      if (file.isAsked) return false;
      keep({ isAsked: true });
      return true;
    },
    kill() {
      isKilled = true;
    },
    noteSignal() {
      isEndedByOthers = true;
    },
    noteDeath() {
      const current = dying;
      setTimeout(() => current.abort(), DRAIN_MS).unref();
    },
    isOver: () => isTold,
    async leave() {
      leaving.abort();
      await gone.catch(() => {});
    },
  };
}
