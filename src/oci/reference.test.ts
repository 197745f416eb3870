import { describe, expect, it } from 'vitest';
import { formatReference, isRegistryHost, parseReference } from './reference.js';

const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('a reference', () => {
  it.each(['echo', 'acme/echo:1', `echo@${DIGEST}`, `localhost/echo:1@${DIGEST}`, 'r.example:5000/acme/echo', '[::1]:5000/echo'])(
    'is read and written alike: %s',
    (text) => {
      expect(formatReference(parseReference(text))).toBe(text);
    },
  );

  it.each(['./examples/x', '../x', '.x/y', 'x./y', '-a.b/y', 'a.b:/y', 'a.b:port/y', 'a_b.c/y', '[::1/y'])(
    'names no host in %s',
    (text) => {
      expect(() => parseReference(text)).toThrowError(expect.objectContaining({ code: 'REFERENCE_INVALID' }));
      expect(isRegistryHost(text.slice(0, text.indexOf('/')))).toBe(false);
    },
  );
});
