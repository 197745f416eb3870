import { describe, expect, it } from 'vitest';
import type { Key } from '../domain/key.js';
import { readCredential } from './auth.js';
import { createKeys } from './keys.js';

function setup() {
  const kept = new Map<string, Key>();
  const records = {
    get: async (id: string) => kept.get(id),
    list: async () => [...kept.values()],
    put: async (id: string, key: Key) => void kept.set(id, key),
    remove: async (id: string) => void kept.delete(id),
  };
  return { kept, keys: createKeys({ records, clock: { now: () => 0 } }) };
}

describe('keys', () => {
  it('makes one admin key, once, and stores only its hash', async () => {
    const { keys, kept } = setup();
    const text = (await keys.ensureAdminKey()) ?? '';
    expect(await keys.ensureAdminKey()).toBeUndefined();
    expect(await keys.authenticate(text)).toMatchObject({ name: 'admin', scope: 'admin' });
    expect(JSON.stringify([...kept.values()])).not.toContain(text.split('_').slice(2).join('_'));
  });

  it('refuses changed, cut, foreign and disabled keys', async () => {
    const { keys } = setup();
    const { key, text } = await keys.create({ name: 'a', scope: 'admin', endpointId: null });
    for (const wrong of ['', 'wh_', `${text}x`, text.slice(0, -1), text.replace(key.id, 'other'), text.toUpperCase()])
      expect(await keys.authenticate(wrong), wrong).toBeUndefined();
    await keys.setEnabled(key.id, false);
    expect(await keys.authenticate(text)).toBeUndefined();
    await keys.setEnabled(key.id, true);
    expect(await keys.authenticate(text)).toBeDefined();
    await keys.remove(key.id);
    expect(await keys.authenticate(text)).toBeUndefined();
    await expect(keys.remove(key.id)).rejects.toMatchObject({ code: 'KEY_UNKNOWN' });
  });
});

describe('readCredential', () => {
  it.each([
    ['KEY', 'KEY'],
    ['Bearer KEY', 'KEY'],
    ['bearer KEY', 'KEY'],
    [`Basic ${Buffer.from('any:KEY').toString('base64')}`, 'KEY'],
    ['Digest KEY', undefined],
  ])('reads %s (row 52)', (authorization, expected) => {
    expect(readCredential({ authorization })).toBe(expected);
  });
});
