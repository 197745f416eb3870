import type { RegistryClient } from './client.js';

interface PullMeter {
  readonly record: (pull: { readonly durationMs: number; readonly bytes: number }) => void;
  /** Milliseconds. */
  readonly now: () => number;
}

/** A client that tells of each blob that came from its registry, whole or not, with the time that the bytes took. */
export function meterPulls(client: RegistryClient, { record, now }: PullMeter): RegistryClient {
  async function* meter(parts: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    const begunAt = now();
    let bytes = 0;
    try {
      for await (const part of parts) {
        bytes += part.length;
        yield part;
      }
    } finally {
      record({ durationMs: now() - begunAt, bytes });
    }
  }
  return { ...client, getBlob: (repository, digest) => meter(client.getBlob(repository, digest)) };
}
