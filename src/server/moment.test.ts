import { describe, expect, it } from 'vitest';
import { readMoment } from './moment.js';

describe('readMoment', () => {
  it('reads RFC 3339, and nothing that lacks a part of it', () => {
    const noon = Date.UTC(2026, 0, 31, 12);
    expect(['2026-01-31T12:00:00Z', '2026-01-31T13:00:00.000+01:00'].map((text) => readMoment('at', text))).toEqual([noon, noon]);
    for (const text of [
      '',
      'today',
      '2026-01-31',
      '2026-01-31T12:00:00',
      '2026-01-31T12:00Z',
      '2026-13-31T12:00:00Z',
      '2026-01-31T25:00:00Z',
    ]) {
      expect(() => readMoment('at', text)).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }));
    }
  });
});
