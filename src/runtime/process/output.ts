import { createLineRate } from '../lines.js';
import { BOUNDS, type Line, type SupervisorEvent } from './protocol.js';

type Unnumbered = SupervisorEvent extends infer E ? (E extends { readonly seq: number } ? Omit<E, 'seq'> : never) : never;

/** Events in order, each kept until acknowledged. */
export interface Outbox {
  readonly size: number;
  /** Numbers, keeps and sends an event; gives its number. */
  add(event: Unnumbered): number;
  /** Forgets an event; gives it, or undefined when it is not known. */
  ack(seq: number): SupervisorEvent | undefined;
  /** Everything not acknowledged, oldest first. */
  list(): readonly SupervisorEvent[];
}

/** An empty outbox; `send` may do nothing while no server listens. */
export function createOutbox(send: (event: SupervisorEvent) => void): Outbox {
  const events = new Map<number, SupervisorEvent>();
  let last = 0;
  return {
    get size() {
      return events.size;
    },
    add(event) {
      last += 1;
      const numbered = { ...event, seq: last };
      events.set(last, numbered);
      send(numbered);
      return last;
    },
    ack(seq) {
      const event = events.get(seq);
      events.delete(seq);
      return event;
    },
    list: () => [...events.values()],
  };
}

/** The bounded output of one worker. */
export interface WorkerOutput {
  /** Takes a line, or counts it as dropped when the rate or the space is used up. */
  take(text: string): void;
  /** Sends what waits unless an event is under way already: the receiver's pace sets the batches. */
  flush(): void;
  /** Call when one of the worker's events was acknowledged. */
  acked(seq: number): void;
  /** Sends everything that waits, at once. */
  finish(): void;
}

/** Output of one worker into the outbox: at most one event under way, a token bucket for the rate, a bound for the bytes. */
export function createWorkerOutput({ workerId, outbox, now }: { workerId: string; outbox: Outbox; now: () => number }): WorkerOutput {
  let lines: Line[] = [];
  let waitingBytes = 0;
  let underWay: { seq: number; bytes: number } | null = null;
  let dropped = 0;
  const rate = createLineRate(now());

  const finish = (): void => {
    if (lines.length === 0 && dropped === 0) return;
    underWay = { seq: outbox.add({ event: 'output', workerId, lines, dropped }), bytes: waitingBytes };
    lines = [];
    waitingBytes = 0;
    dropped = 0;
  };
  const flush = (): void => {
    if (underWay === null) finish();
  };
  return {
    take(text) {
      const at = now();
      // Text is at least this many bytes; what a line costs beside its text is counted too.
      const bytes = text.length + 32;
      if (!rate.hasRoom(at) || waitingBytes + (underWay?.bytes ?? 0) + bytes > BOUNDS.unackedBytes) {
        dropped += 1;
        return;
      }
      rate.use();
      lines.push({ at, text });
      waitingBytes += bytes;
    },
    flush,
    acked(seq) {
      if (underWay?.seq !== seq) return;
      underWay = null;
      flush();
    },
    finish,
  };
}
