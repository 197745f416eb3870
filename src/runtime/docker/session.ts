import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, WherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { type Engine, openEngine } from './engine.js';
import type { EngineAddress } from './engine-api.js';
import { readJsonLines } from './json-lines.js';
import { OWNER_LABELS } from './names.js';

/** One event of a container of ours. */
export interface ContainerEvent {
  readonly workerId: string;
  readonly action: string;
  /** Number of the signal of a `kill`. */
  readonly signal: string | undefined;
}

export interface SessionOptions {
  readonly address: EngineAddress;
  readonly instanceId: string;
  readonly log: Log;
  readonly now: () => number;
  /** Takes over what is there, at the first connection and after each outage. The engine's events wait meanwhile. */
  readonly onConnect: () => Promise<void>;
  /** The engine is away. */
  readonly onLose: () => void;
  readonly onEvent: (event: ContainerEvent) => void;
}

/** The connection to an engine, kept up in the background. */
export interface Session {
  /** Resolves when the first attempt succeeded or failed. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Throws RUNTIME_UNAVAILABLE while the engine is away. */
  engine(): Engine;
  /** Counts connections: another number means that the engine was away. */
  readonly epoch: number;
  /** Resolves when there is an engine; rejects when the session ends first. */
  connected(): Promise<Engine>;
}

const RETRY_MS = 500;

export function createSession(options: SessionOptions): Session {
  const { address, log } = options;
  let current: Engine | undefined;
  let reason = 'it was not started';
  let epoch = 0;
  let stopping = new AbortController();
  let running: Promise<void> | undefined;
  let waiting: { resolve: (engine: Engine) => void; reject: (cause: Error) => void }[] = [];
  const away = () =>
    new WherryError('RUNTIME_UNAVAILABLE', `docker engine at '${address.text}' is away: ${reason}`, {
      hint: '`wherry doctor` says what it needs',
    });

  /** One connection, from the first word to its end. */
  const connect = async (signal: AbortSignal, onAdopted: () => void): Promise<void> => {
    const engine = await openEngine(address, options.now);
    // Events first: what happens while the rest is taken over is not missed.
    const events = await openEvents(engine, options.instanceId, signal);
    try {
      epoch += 1;
      current = engine;
      const arrived = waiting;
      waiting = [];
      for (const { resolve } of arrived) resolve(engine);
      await options.onConnect();
      log.info({ address: address.text, version: engine.facts.version }, 'connected to the docker engine');
      onAdopted();
      for await (const event of readJsonLines(events)) tell(event, options.onEvent);
      throw new Error('its events ended');
    } finally {
      events.destroy();
    }
  };
  const run = async (signal: AbortSignal, onFirst: () => void): Promise<void> => {
    let said = '';
    while (!signal.aborted) {
      let adoptedAt = Number.POSITIVE_INFINITY;
      const onAdopted = () => {
        adoptedAt = options.now();
        onFirst();
      };
      const thrown = await connect(signal, onAdopted).catch((cause: unknown) => cause);
      const hasLived = options.now() - adoptedAt >= RETRY_MS;
      current = undefined;
      options.onLose();
      reason = messageOf(thrown);
      if (!signal.aborted && (hasLived || said !== reason)) log.warn({ address: address.text, reason }, 'the docker engine is away');
      said = reason;
      onFirst();
      // One that lived may be had again at once; one that only answers, and then fails each time, may not be asked without end.
      if (!hasLived) await delay(RETRY_MS, undefined, { signal }).catch(() => {});
    }
  };
  return {
    get epoch() {
      return epoch;
    },
    start: () =>
      new Promise((resolve) => {
        stopping = new AbortController();
        running = run(stopping.signal, resolve);
      }),
    async stop() {
      stopping.abort();
      for (const { reject } of waiting) reject(away());
      waiting = [];
      await running;
      running = undefined;
      reason = 'it was stopped';
    },
    engine() {
      if (current === undefined) throw away();
      return current;
    },
    connected: () =>
      new Promise((resolve, reject) => {
        if (stopping.signal.aborted) reject(away());
        else if (current !== undefined) resolve(current);
        else waiting.push({ resolve, reject });
      }),
  };
}

async function openEvents({ api }: Engine, instanceId: string, signal: AbortSignal): Promise<IncomingMessage> {
  const filters = JSON.stringify({ type: ['container'], label: [`${OWNER_LABELS.instance}=${instanceId}`] });
  const events = await api.stream({ method: 'GET', path: '/events', query: { filters }, idleMs: 0, signal });
  if (events.statusCode === 200) return events;
  events.destroy();
  throw new WherryError('RUNTIME_UNAVAILABLE', `docker engine at '${api.address}' tells no events: status ${events.statusCode}`);
}

function tell(event: Readonly<Record<string, unknown>>, onEvent: SessionOptions['onEvent']): void {
  const { Action: action, Actor: actor } = event as { Action?: unknown; Actor?: { Attributes?: Readonly<Record<string, string>> } };
  const workerId = actor?.Attributes?.[OWNER_LABELS.worker];
  if (typeof action === 'string' && workerId !== undefined) onEvent({ workerId, action, signal: actor?.Attributes?.['signal'] });
}
