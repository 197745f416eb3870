import { describe, expect, it } from 'vitest';
import { readMoment } from './moment.js';

const NOW = Date.UTC(2026, 0, 31, 12);

describe('a time on the command line', () => {
  it.each([
    ['10m', '2026-01-31T11:50:00.000Z'],
    ['1h30m', '2026-01-31T10:30:00.000Z'],
    ['2d', '2026-01-29T12:00:00.000Z'],
    ['2026-01-31T11:00:00+01:00', '2026-01-31T10:00:00.000Z'],
    ['2026-01-30', '2026-01-30T00:00:00.000Z'],
  ])('%s is %s', (text, at) => {
    expect(readMoment('since', text, NOW)).toBe(at);
  });

  it.each(['', 'yesterday', '10', '-5m', '2026-99-99'])('refuses %j', (text) => {
    expect(() => readMoment('since', text, NOW)).toThrow(/--since '.*' is not a time/);
  });
});
