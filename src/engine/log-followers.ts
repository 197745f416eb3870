import type { LogLine } from './log-line.js';
import type { OrderedLine } from './log-segments.js';

/** Somebody who gets lines as they are written. */
export interface Follower {
  readonly isWanted: (line: LogLine, endpointId: string) => boolean;
  readonly push: (line: OrderedLine) => void;
}

interface Following {
  readonly endpointId: string;
  readonly isWanted: (line: LogLine) => boolean;
  readonly followers: Set<Follower>;
  readonly signal: AbortSignal;
}

/** So many lines wait for a slow reader; a mark stands for those beyond. */
const WAITING_LINES = 10_000;

/** What `readPast` gives, and then lines as they come, each once and in order, until the signal aborts. */
export async function* followLines(
  { endpointId, isWanted, followers, signal }: Following,
  readPast: () => Promise<readonly OrderedLine[]>,
): AsyncIterable<LogLine> {
  const pending: OrderedLine[] = [];
  let dropped = 0;
  let droppedAt = 0;
  let wake = () => {};
  const follower: Follower = {
    isWanted: (line, of) => of === endpointId && isWanted(line),
    push: (line) => {
      if (pending.length < WAITING_LINES) pending.push(line);
      else {
        dropped++;
        droppedAt = line.at;
      }
      wake();
    },
  };
  followers.add(follower);
  const abort = () => wake();
  signal.addEventListener('abort', abort);
  try {
    let last = -1;
    for (const line of await readPast()) {
      last = Math.max(last, line.order);
      yield withoutOrder(line);
    }
    while (!signal.aborted) {
      for (let line = pending.shift(); line; line = pending.shift()) if (line.order > last) yield withoutOrder(line);
      if (dropped > 0) {
        const text = `dropped ${dropped} lines: the reader is too slow`;
        dropped = 0;
        yield { id: '', at: droppedAt, source: 'system', workerId: '', jobId: null, text };
      }
      if (pending.length === 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    followers.delete(follower);
    signal.removeEventListener('abort', abort);
  }
}

/** A line as it is shown: what orders lines is ours. */
export function withoutOrder({ order: _order, ...line }: OrderedLine): LogLine {
  return line;
}
