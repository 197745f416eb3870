/**
 * How far the output of a container was told, as plain JSON: all lines before `sinceNs`, and the first `count` that end from there on,
 * in the order in which the engine has them. Two streams are stamped before they are written to one file, so that neighbours may stand
 * in the wrong order; a moment alone would lose or repeat some. Lines are counted and not messages, for Podman cuts a long line
 * elsewhere when it is read again.
 */
export interface Cursor {
  /** Nanoseconds since the epoch, as decimal text. */
  readonly sinceNs: string;
  readonly count: number;
}

export const START: Cursor = { sinceNs: '0', count: 0 };

/** A message of the engine, as far as the order matters. */
export interface Message {
  readonly atNs: bigint;
  /** False for the part of a line that has more to come. */
  readonly endsLine: boolean;
}

/** By how much messages may stand in the wrong order; Podman stamps with whole seconds. */
const DISORDER_NS = 1_100_000_000n;

/** Follows what was read and says where a later reader goes on. */
export interface Reading {
  /** The moment to ask the engine for. */
  readonly sinceNs: bigint;
  /** False for a message that was told before. */
  isNew(message: Message): boolean;
  /** All messages seen so far make whole lines. */
  commit(): void;
  /** The cursor behind the lines that were committed. */
  mark(): Cursor;
}

/** Begins to read at a cursor. */
export function readFrom(cursor: Cursor): Reading {
  const sinceNs = BigInt(cursor.sinceNs);
  let toSkip = cursor.count;
  /** Moments in which the lines from `base` on end, those that are committed and those that are not. */
  let committed: bigint[] = [];
  let open: bigint[] = [];
  let base = sinceNs;
  const commit = (): void => {
    for (const atNs of open) committed.push(atNs);
    open = [];
  };
  return {
    sinceNs,
    isNew({ atNs, endsLine }) {
      // Some engines take the moment for a whole second.
      if (atNs < sinceNs) return false;
      if (endsLine) open.push(atNs);
      if (toSkip === 0) return true;
      if (!endsLine) return false;
      toSkip -= 1;
      commit();
      return false;
    },
    commit,
    mark() {
      const latest = committed.reduce((before, atNs) => (atNs > before ? atNs : before), 0n);
      if (latest - DISORDER_NS > base) {
        base = latest - DISORDER_NS;
        committed = committed.filter((atNs) => atNs >= base);
      }
      return { sinceNs: String(base), count: committed.length };
    },
  };
}
