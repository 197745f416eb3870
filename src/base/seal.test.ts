import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createSeal, SEAL_KEY_BYTES } from './seal.js';

describe('seal', () => {
  const seal = createSeal(randomBytes(SEAL_KEY_BYTES));

  it('opens what it closed, and hides it', () => {
    const sealed = seal.close('whsec_☃', 'endpoint e1');
    expect(seal.open(sealed, 'endpoint e1')).toBe('whsec_☃');
    expect(Buffer.from(sealed, 'base64').includes('whsec')).toBe(false);
    expect(seal.close('whsec_☃', 'endpoint e1')).not.toBe(sealed);
  });

  it('refuses another key, another purpose and changed bytes', () => {
    const sealed = seal.close('x', 'endpoint e1');
    const changed = Buffer.from(sealed, 'base64');
    changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);
    expect(() => seal.open(sealed, 'endpoint e2')).toThrow(expect.objectContaining({ code: 'SEAL_BROKEN' }));
    expect(() => createSeal(randomBytes(SEAL_KEY_BYTES)).open(sealed, 'endpoint e1')).toThrow(/another key/);
    expect(() => seal.open(changed.toString('base64'), 'endpoint e1')).toThrow(/could not be read/);
  });
});
