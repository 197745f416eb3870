import { hash, randomBytes, randomUUID } from 'node:crypto';

/** A UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then random bits; sorts by time. */
export function createUuid(now: number): string {
  const time = now.toString(16).padStart(12, '0');
  // What follows the version is made alike in version 4.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}

/** `size` random bytes as base64url text; for tokens and secrets. */
export function createSecret(size = 24): string {
  return randomBytes(size).toString('base64url');
}

/** A new worker id, `w-` and twelve random characters of [a-z0-9]; never reused. */
export function createWorkerId(): string {
  return `w-${createWord(12)}`;
}

/** A new endpoint id, for those who choose none: fourteen random characters of [a-z0-9]. */
export function createEndpointId(): string {
  return createWord(14);
}

function createWord(length: number): string {
  const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';
  return Array.from(randomBytes(length), (byte) => alphabet[byte % 32]).join('');
}

/** SHA-256 of a secret as lower-case hex: how keys and tokens are stored. High-entropy secrets need no salt. */
export function hashSecret(secret: string): string {
  return hash('sha256', secret, 'hex');
}
