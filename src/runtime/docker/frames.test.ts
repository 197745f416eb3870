import { describe, expect, it } from 'vitest';
import { createFrameReader, type Frame, formatMoment, parseTimestamp } from './frames.js';

function frame(stream: 1 | 2, text: string): Buffer {
  const payload = Buffer.from(text);
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

describe('createFrameReader', () => {
  const bytes = Buffer.concat([
    frame(1, '2026-11-25T23:05:57.042486124Z first\n'),
    frame(2, '2026-11-25T23:05:57.1Z with a space\n'),
    frame(1, '2026-11-25T23:05:58Z part'),
  ]);
  const read = (...chunks: readonly Buffer[]): readonly string[] => {
    const frames: Frame[] = [];
    const reader = createFrameReader((each) => frames.push(each));
    for (const chunk of chunks) reader.push(chunk);
    return frames.map(({ stream, atNs, content }) => `${stream} ${atNs} ${content}`);
  };
  const whole = read(bytes);

  it('reads stream, moment and content of each message', () => {
    expect(whole).toEqual([
      'stdout 1795647957042486124 first\n',
      'stderr 1795647957100000000 with a space\n',
      'stdout 1795647958000000000 part',
    ]);
  });

  it('reads the same wherever the stream is cut', () => {
    for (let at = 0; at <= bytes.length; at += 1) expect(read(bytes.subarray(0, at), bytes.subarray(at))).toEqual(whole);
  });
});

describe('moments', () => {
  it('keep their nanoseconds, in any zone', () => {
    expect(parseTimestamp('1970-01-01T00:00:01.000000001Z')).toBe(1_000_000_001n);
    expect(parseTimestamp('1970-01-01T01:00:01.5+01:00')).toBe(1_500_000_000n);
    expect(formatMoment(1_000_000_001n)).toBe('1.000000001');
  });

  it('are 0 when the text is none', () => {
    expect(parseTimestamp('yesterday')).toBe(0n);
  });
});
