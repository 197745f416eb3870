import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS, type Endpoint } from '../domain/endpoint.js';
import { postponeExpiry } from './expire.js';

const none = { activeRelease: null, pausedReason: null, labels: {} };
const endpointOf = (expiresAt: number | null): Endpoint => ({
  ...{ id: 'e', name: 'e', type: 'queue', settings: DEFAULT_SETTINGS, createdAt: 0, expiresAt },
  ...none,
});

describe('postponeExpiry', () => {
  it('counts from now, whatever was planned, and takes the moment away', () => {
    expect([
      postponeExpiry(endpointOf(11), 5, 10),
      postponeExpiry(endpointOf(100), 5, 10),
      postponeExpiry(endpointOf(null), 5, 10),
    ]).toEqual([15, 15, 15]);
    expect(postponeExpiry(endpointOf(11), null, 10)).toBeNull();
  });

  it('refuses an endpoint whose moment has passed: its removal may have begun', () => {
    for (const expiresInMs of [5, null]) {
      expect(() => postponeExpiry(endpointOf(10), expiresInMs, 10)).toThrow(expect.objectContaining({ code: 'ENDPOINT_UNKNOWN' }));
    }
  });
});
