/**
 * How far the output of a container was told, as plain JSON: all messages before `sinceNs`, and the first `count` from there on, in the
 * order in which the engine has them. Two streams are stamped before they are written to one file, so that neighbours may stand
 * in the wrong order; a moment alone would lose or repeat some.
 */
export interface Cursor {
  /** Nanoseconds since the epoch, as decimal text. */
  readonly sinceNs: string;
  readonly count: number;
}

export const START: Cursor = { sinceNs: '0', count: 0 };

/** By how much messages may stand in the wrong order; Podman stamps with whole seconds. */
const DISORDER_NS = 1_100_000_000n;

/** Follows what was read and says where a later reader goes on. */
export interface Reading {
  /** The moment to ask the engine for. */
  readonly sinceNs: bigint;
  /** False for a message that was told before. */
  isNew(atNs: bigint): boolean;
  /** All messages seen so far make whole lines. */
  commit(): void;
  /** The cursor behind the messages that were committed. */
  mark(): Cursor;
}

/** Begins to read at a cursor. */
export function readFrom(cursor: Cursor): Reading {
  const sinceNs = BigInt(cursor.sinceNs);
  let toSkip = cursor.count;
  /** Moments of the messages from `base` on, those that are committed and those that are not. */
  let committed: bigint[] = [];
  let open: bigint[] = [];
  let base = sinceNs;
  const commit = (): void => {
    for (const atNs of open) committed.push(atNs);
    open = [];
  };
  return {
    sinceNs,
    isNew(atNs) {
      // Some engines take the moment for a whole second.
      if (atNs < sinceNs) return false;
      open.push(atNs);
      if (toSkip === 0) return true;
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
