import { totalmem } from 'node:os';
import { describe, expect, it } from 'vitest';
import { readFrozenMemory } from './compose-settings.js';

describe('the memory of frozen workers', () => {
  it('is what is set, nothing at 0, and else a quarter of what there is at most', () => {
    expect(readFrozenMemory({ WHERRY_FROZEN_MEMORY: '8GB' })).toBe(8e9);
    expect(readFrozenMemory({ WHERRY_FROZEN_MEMORY: '0' })).toBe(0);
    expect(readFrozenMemory({})).toBeGreaterThan(0);
    expect(readFrozenMemory({})).toBeLessThanOrEqual(totalmem() / 4);
  });

  it('is refused by name when it is no size', () => {
    expect(() => readFrozenMemory({ WHERRY_FROZEN_MEMORY: '8G' })).toThrow(/WHERRY_FROZEN_MEMORY: '8G' is not a size/);
  });
});
