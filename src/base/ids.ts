import { createHash, randomBytes } from 'node:crypto';

/** A UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then random bits; sorts by time. */
export function createUuid(now: number): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** `size` random bytes as base64url text; for tokens and secrets. */
export function createSecret(size = 24): string {
  return randomBytes(size).toString('base64url');
}

/** A new worker id, `w-` and twelve random characters of [a-z0-9]; never reused. */
export function createWorkerId(): string {
  const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';
  return `w-${Array.from(randomBytes(12), (byte) => alphabet[byte % 32]).join('')}`;
}

/** SHA-256 of a secret as lower-case hex: how keys and tokens are stored. High-entropy secrets need no salt. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
