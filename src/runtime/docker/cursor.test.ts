import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Cursor, readFrom, START } from './cursor.js';

/** What an engine gives for `since`: messages from that moment on, or from its second on, in the order in which they are stored. */
function give(stored: readonly bigint[], { sinceNs }: Cursor, gridNs: bigint): readonly { atNs: bigint; index: number }[] {
  const from = (BigInt(sinceNs) / gridNs) * gridNs;
  return stored.map((atNs, index) => ({ atNs, index })).filter(({ atNs }) => atNs >= from);
}

describe('readFrom', () => {
  it.each([1n, 1_000_000_000n])(
    'tells each message once over any number of readers, also when neighbours stand in the wrong order (since by %s ns)',
    (gridNs) => {
      const MS = 1_000_000n;
      const storedLogs = fc.array(fc.record({ stepMs: fc.integer({ min: 0, max: 400 }), backMs: fc.integer({ min: 0, max: 1_000 }) }), {
        maxLength: 60,
      });
      fc.assert(
        fc.property(storedLogs, fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 10 }), (steps, reads) => {
          let clock = 1_000n;
          const stored = steps.map(({ stepMs, backMs }) => {
            clock += BigInt(stepMs);
            return (clock - BigInt(backMs)) * MS;
          });
          const told: number[] = [];
          let cursor = START;
          for (const length of [...reads, stored.length]) {
            const reading = readFrom(cursor);
            let left = length;
            for (const { atNs, index } of give(stored, cursor, gridNs)) {
              if (left === 0) break;
              if (!reading.isNew({ atNs, endsLine: true })) continue;
              reading.commit();
              told.push(index);
              left -= 1;
              cursor = reading.mark();
            }
          }
          expect(told).toEqual(stored.map((_, index) => index));
        }),
      );
    },
  );

  it('asks only for what is near its end', () => {
    const reading = readFrom(START);
    for (let second = 1n; second <= 1_000n; second += 1n) {
      reading.isNew({ atNs: second * 1_000_000_000n, endsLine: true });
      reading.commit();
    }
    expect(reading.mark()).toEqual({ sinceNs: '998900000000', count: 2 });
  });

  it('begins before the message that makes no whole line yet', () => {
    const reading = readFrom(START);
    reading.isNew({ atNs: 5n, endsLine: true });
    reading.commit();
    reading.isNew({ atNs: 6n, endsLine: false });
    reading.isNew({ atNs: 7n, endsLine: true });
    expect(reading.mark()).toEqual({ sinceNs: '0', count: 1 });
  });

  it('skips as many lines as were told, in however many parts they come this time', () => {
    const reading = readFrom({ sinceNs: '0', count: 2 });
    const parts = [false, false, true, true, false, true];
    expect(parts.map((endsLine) => reading.isNew({ atNs: 5n, endsLine }))).toEqual([false, false, false, false, true, true]);
  });
});
