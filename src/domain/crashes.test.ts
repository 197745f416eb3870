import { describe, expect, it } from 'vitest';
import { addCrash, type CrashRow, isReleaseToBlame } from './crashes.js';

const judge = (...crashes: readonly (readonly string[])[]) => {
  const row = crashes.reduce<CrashRow | undefined>(addCrash, undefined);
  return row !== undefined && isReleaseToBlame(row);
};

describe('crashes in a row', () => {
  it.each([
    ['not the release for one or two', [[], []], false],
    ['the release when workers end before they have a job', [[], [], []], true],
    ['the release when several jobs end their workers', [['a'], ['a'], ['b']], true],
    ['the release when one of three had no job', [['a'], [], ['a']], true],
    ['the job when it alone ends every worker it gets', [['a'], ['a'], ['a']], false],
    ['the release once the next job ends one too', [['a'], ['a'], ['a'], ['b']], true],
  ] as const)('blame %s', (_title, crashes, isBlamed) => {
    expect(judge(...crashes)).toBe(isBlamed);
  });
});
