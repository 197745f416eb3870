import { createHash } from 'node:crypto';
import { WherryError } from '../base/errors.js';

/** `sha256:` and 64 lower-case hex digits (OCI image-spec, descriptor.md, "Digests"). Made only by {@link parseDigest} and {@link digestOf}. */
export type Digest = string & { readonly brand: 'Digest' };

/** Parses a digest. Throws DIGEST_INVALID; the message counts the hex digits when their number is wrong. */
export function parseDigest(text: string): Digest {
  if (/^sha256:[0-9a-f]{64}$/.test(text)) return text as Digest;
  throw new WherryError('DIGEST_INVALID', `not a digest: '${text}' ${explain(text)}`, {
    hint: 'a digest is sha256: and 64 hex digits, as printed by `wherry push` or `docker images --digests`',
  });
}

function explain(text: string): string {
  const hex = /^sha256:([0-9a-fA-F]*)$/.exec(text)?.[1];
  if (hex === undefined) return text.startsWith('sha256:') ? 'has characters that are not hex digits' : 'does not begin with sha256:';
  if (hex.length !== 64) return `has ${hex.length} hex digits, needs 64`;
  return 'has upper-case hex digits';
}

/** Whether a text is `sha256:` and 64 hex digits in lower case. */
export function isDigest(text: string): text is Digest {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}

/** The digest of bytes or of text as UTF-8. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

/** The first twelve hex digits, for tables. */
export function shortDigest(digest: Digest): string {
  return digest.slice(7, 19);
}
