import { describe, expect, it } from 'vitest';
import { describeEnd, type EndFacts } from './ending.js';

const end = (ExitCode: number, more: Partial<EndFacts> = {}, OOMKilled = false) =>
  describeEnd({
    state: { Running: false, ExitCode, OOMKilled },
    memoryBytes: 64 * 1024 * 1024,
    isEndedByOthers: false,
    isOutage: false,
    ...more,
  });
const LOST = { exitCode: null, signal: null };

describe('describeEnd', () => {
  it('tells a code, and a death by a signal', () => {
    expect(end(7)).toEqual({ exitCode: 7, signal: null });
    expect(end(137)).toEqual({ exitCode: null, signal: 'SIGKILL' });
    expect(end(139)).toEqual({ exitCode: null, signal: 'SIGSEGV' });
    expect(end(255)).toEqual({ exitCode: 255, signal: null });
  });

  it('names memory as the cause of a kill, whoever else was about to end it', () => {
    const cause = 'was killed: out of memory, limit 64 MiB';
    expect(end(137, {}, true)).toMatchObject({ signal: 'SIGKILL', cause });
    expect(end(137, { isEndedByOthers: true, isOutage: true }, true)).toMatchObject({ cause });
    expect(end(137, { memoryBytes: undefined }, true)).toMatchObject({ cause: 'was killed: out of memory' });
  });

  it('keeps the code of a worker of which only a child was killed for memory', () => {
    expect(end(1, {}, true)).toEqual({ exitCode: 1, signal: null, note: 'a process of it was killed: out of memory, limit 64 MiB' });
  });

  it('takes one for lost that was ended by others, or together with its engine', () => {
    expect(end(143, { isEndedByOthers: true })).toMatchObject(LOST);
    expect(end(137, { isOutage: true })).toMatchObject(LOST);
    expect(end(0, { isOutage: true })).toMatchObject(LOST);
    expect(describeEnd({ state: undefined, memoryBytes: undefined, isEndedByOthers: false, isOutage: false })).toMatchObject(LOST);
  });

  it('keeps the code of one that failed by itself while its engine was away', () => {
    expect(end(5, { isOutage: true })).toEqual({ exitCode: 5, signal: null });
  });
});
