import { expect, it } from 'vitest';
import { createUuid, hashSecret } from './ids.js';

it('makes UUIDs of version 7 that begin with their moment', () => {
  const at = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
  const id = createUuid(at);
  expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  expect(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(at);
  expect(createUuid(at)).not.toBe(id);
  expect(createUuid(0)).toMatch(/^00000000-0000-7/);
  expect(createUuid(at + 1) > id).toBe(true);
});

it('hashes secrets as SHA-256 in hex', () => {
  expect(hashSecret('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});
