/** What a worker's output may be: bytes a line, lines a second. One bound for every runtime. */
export const LINE_BOUNDS = { lineBytes: 16 * 1024, linesPerSecond: 2_000, burstLines: 10_000 } as const;

/** Cuts a byte stream into lines of at most {@link LINE_BOUNDS}.lineBytes; a longer one says so at its end. */
export function createLineCutter(onLine: (text: string) => void): { push(chunk: Buffer): void; flush(): void } {
  let parts: Buffer[] = [];
  let kept = 0;
  let seen = 0;
  const add = (bytes: Buffer): void => {
    seen += bytes.length;
    const part = bytes.subarray(0, LINE_BOUNDS.lineBytes - kept);
    kept += part.length;
    if (part.length > 0) parts.push(part);
  };
  const end = (): void => {
    // Decoding as a stream leaves out a character that the cut broke.
    const text = new TextDecoder().decode(Buffer.concat(parts), { stream: seen > kept });
    const lost = seen - kept;
    parts = [];
    kept = 0;
    seen = 0;
    onLine(lost > 0 ? `${text} [${lost} bytes more]` : text.replace(/\r$/, ''));
  };
  return {
    push(chunk) {
      let start = 0;
      for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, start)) {
        add(chunk.subarray(start, at));
        end();
        start = at + 1;
      }
      if (start < chunk.length) add(chunk.subarray(start));
    },
    flush() {
      if (seen > 0) end();
    },
  };
}

/** A token bucket of {@link LINE_BOUNDS}: says of each line, by the moment it was printed, whether it may pass. */
export interface LineRate {
  hasRoom(at: number): boolean;
  /** Call for each line that passes. */
  use(): void;
}

export function createLineRate(from: number): LineRate {
  let tokens: number = LINE_BOUNDS.burstLines;
  let filledAt = from;
  return {
    hasRoom(at) {
      tokens = Math.min(LINE_BOUNDS.burstLines, tokens + (Math.max(0, at - filledAt) * LINE_BOUNDS.linesPerSecond) / 1000);
      filledAt = Math.max(filledAt, at);
      return tokens >= 1;
    },
    use() {
      tokens -= 1;
    },
  };
}
