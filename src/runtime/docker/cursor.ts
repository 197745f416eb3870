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

/** By how much messages may stand in the wrong order. */
const DISORDER_NS = 100_000_000n;

/** Follows what was read and says where a later reader goes on. */
export interface Reading {
  /** The moment to ask the engine for. */
  readonly sinceNs: bigint;
  /** False for a message that was told before. */
  isNew(atNs: bigint): boolean;
  /** The cursor behind every message seen so far. */
  mark(): Cursor;
}

/** Begins to read at a cursor. */
export function readFrom(cursor: Cursor): Reading {
  const sinceNs = BigInt(cursor.sinceNs);
  let toSkip = cursor.count;
  /** Moments of the messages that count, from the cursor that `mark` would give. */
  let seen: bigint[] = [];
  let base = sinceNs;
  let latest = 0n;
  return {
    sinceNs,
    isNew(atNs) {
      seen.push(atNs);
      if (atNs > latest) latest = atNs;
      if (toSkip === 0) return true;
      toSkip -= 1;
      return false;
    },
    mark() {
      if (latest - DISORDER_NS > base) {
        base = latest - DISORDER_NS;
        seen = seen.filter((atNs) => atNs >= base);
      }
      return { sinceNs: String(base), count: seen.length };
    },
  };
}
