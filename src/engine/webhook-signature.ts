import { createHmac } from 'node:crypto';

/** What is signed: a delivery at a moment, in whole seconds since the epoch. */
export interface Signable {
  readonly id: string;
  readonly timestamp: number;
  readonly body: string;
}

/** Headers of a delivery: id and time always, and one `v1` signature a secret: hex HMAC-SHA-256 of `id.timestamp.body`. */
export function signatureHeaders({ id, timestamp, body }: Signable, secrets: readonly string[]): Record<string, string> {
  const signatures = secrets.map((secret) => `v1=${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('hex')}`);
  return {
    'wherry-webhook-id': id,
    'wherry-webhook-timestamp': String(timestamp),
    ...(signatures.length > 0 && { 'wherry-webhook-signature': signatures.join(',') }),
  };
}
