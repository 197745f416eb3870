import { expect, it } from 'vitest';
import { formatReleaseName, parseReleaseName } from './release.js';

it('reads the name of a release as it is written, and takes nothing else for one', () => {
  const name = { endpointId: 'staging-2', number: 17 };
  expect(formatReleaseName(name)).toBe('staging-2@r17');
  expect(parseReleaseName('staging-2@r17')).toEqual(name);
  for (const text of ['staging', 'r17', 'staging@17', 'staging@r0', 'staging@r1x', 'acme/app@r1', `app@sha256:${'a'.repeat(64)}`])
    expect(parseReleaseName(text), text).toBeUndefined();
});
