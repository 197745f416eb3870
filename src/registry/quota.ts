import { WherryError } from '../base/errors.js';

/** How much may still come in. Bytes on their way count as those that are stored. */
export interface Quota {
  /** Counts bytes that arrive. Throws QUOTA_EXCEEDED, and then counts nothing. */
  take(bytes: number): void;
  /** Bytes that were taken are stored now, or thrown away. */
  give(bytes: number): void;
  /** Throws QUOTA_EXCEEDED when so many more would not fit; counts nothing. */
  check(bytes: number): void;
  /** Counts bytes that were here before; never throws. */
  count(bytes: number): void;
}

export interface QuotaOptions {
  /** Bytes; undefined for no limit. */
  readonly limitBytes: number | undefined;
  readonly storedBytes: () => number;
}

/**
 * A limit on the bytes in blobs and uploads, looked at for each part that arrives: a push is refused when it begins, if it
 * says its size, else at the part that goes over. Manifests are not counted, so that a push whose blobs were taken ends whole.
 */
export function createQuota({ limitBytes, storedBytes }: QuotaOptions): Quota {
  let incomingBytes = 0;
  const check = (bytes: number) => {
    const used = storedBytes() + incomingBytes;
    if (limitBytes === undefined || used + bytes <= limitBytes) return;
    throw new WherryError('QUOTA_EXCEEDED', `${bytes} more bytes refused: the registry holds ${used} of at most ${limitBytes} bytes`, {
      hint: 'delete images, or free what nothing needs with `wherry registry collect`; WHERRY_REGISTRY_QUOTA sets the limit',
      detail: { usedBytes: used, limitBytes },
    });
  };
  return {
    check,
    take(bytes) {
      check(bytes);
      incomingBytes += bytes;
    },
    give: (bytes) => {
      incomingBytes -= bytes;
    },
    count: (bytes) => {
      incomingBytes += bytes;
    },
  };
}

/** The parts of a stream, each counted against the quota while the whole of it comes in. */
export async function* meter(quota: Quota, source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  let taken = 0;
  try {
    for await (const part of source) {
      quota.take(part.length);
      taken += part.length;
      yield part;
    }
  } finally {
    quota.give(taken);
  }
}
