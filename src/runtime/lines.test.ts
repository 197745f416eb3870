import { describe, expect, it } from 'vitest';
import { createLineCutter, createLineRate, LINE_BOUNDS } from './lines.js';

function cut(...chunks: (string | Buffer)[]): string[] {
  const lines: string[] = [];
  const cutter = createLineCutter((text) => lines.push(text));
  for (const chunk of chunks) cutter.push(Buffer.from(chunk));
  cutter.flush();
  return lines;
}

describe('createLineCutter', () => {
  it('joins chunks into lines and gives an unfinished last one', () => {
    expect(cut('a', 'b\nc\r\n', '\nd')).toEqual(['ab', 'c', '', 'd']);
  });

  it('keeps a character whole that two chunks share', () => {
    const bytes = Buffer.from('é\n');
    expect(cut(bytes.subarray(0, 1), bytes.subarray(1))).toEqual(['é']);
  });

  it('cuts a long line and says how much is missing', () => {
    expect(cut(`${'x'.repeat(LINE_BOUNDS.lineBytes + 7)}\nnext\n`)).toEqual([
      `${'x'.repeat(LINE_BOUNDS.lineBytes)} [7 bytes more]`,
      'next',
    ]);
  });
});

describe('createLineRate', () => {
  const pass = (rate: ReturnType<typeof createLineRate>, at: number, lines: number): number => {
    let passed = 0;
    for (let n = 0; n < lines; n += 1) {
      if (!rate.hasRoom(at)) continue;
      rate.use();
      passed += 1;
    }
    return passed;
  };

  it('lets a burst pass, and then so many lines a second of the time in which they were printed', () => {
    const rate = createLineRate(0);
    expect(pass(rate, 0, LINE_BOUNDS.burstLines + 5)).toBe(LINE_BOUNDS.burstLines);
    expect(pass(rate, 1_000, LINE_BOUNDS.burstLines)).toBe(LINE_BOUNDS.linesPerSecond);
  });

  it('takes a line with an earlier moment for one of the latest', () => {
    const rate = createLineRate(1_000);
    pass(rate, 1_000, LINE_BOUNDS.burstLines);
    expect(pass(rate, 0, 5)).toBe(0);
    expect(pass(rate, 1_001, 5)).toBe(2);
  });
});
