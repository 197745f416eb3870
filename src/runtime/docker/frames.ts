/** One message of a container: a line, or a part of one that was too long for the engine. */
export interface Frame {
  readonly stream: 'stdout' | 'stderr';
  /** When it was printed, in nanoseconds since the epoch. */
  readonly atNs: bigint;
  readonly content: Buffer;
}

const HEADER_BYTES = 8;

/**
 * Reads the multiplexed stream of `/containers/{id}/logs` with timestamps (Engine API, "Stream format"): a header of eight bytes
 * with the stream's number and the length, then the timestamp, a space and the content.
 */
export function createFrameReader(onFrame: (frame: Frame) => void): { push(chunk: Buffer): void } {
  let rest: Buffer = Buffer.alloc(0);
  return {
    push(chunk) {
      let buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      while (buffer.length >= HEADER_BYTES) {
        const end = HEADER_BYTES + buffer.readUInt32BE(4);
        if (buffer.length < end) break;
        onFrame(parseFrame(buffer[0] === 2 ? 'stderr' : 'stdout', buffer.subarray(HEADER_BYTES, end)));
        buffer = buffer.subarray(end);
      }
      rest = buffer;
    },
  };
}

function parseFrame(stream: Frame['stream'], payload: Buffer): Frame {
  const space = payload.indexOf(32);
  return { stream, atNs: parseTimestamp(payload.subarray(0, space).toString('latin1')), content: payload.subarray(space + 1) };
}

/** RFC 3339 with up to nine digits behind the second, in nanoseconds; 0 for what is none. */
export function parseTimestamp(text: string): bigint {
  const [, whole = '', fraction = '', zone = ''] = /^(.*T\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const ms = Date.parse(`${whole}${zone}`);
  if (Number.isNaN(ms)) return 0n;
  return BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0') || 0);
}

/** Nanoseconds as the API takes moments: seconds, a point, nine digits. */
export function formatMoment(ns: bigint): string {
  return `${ns / 1_000_000_000n}.${String(ns % 1_000_000_000n).padStart(9, '0')}`;
}
