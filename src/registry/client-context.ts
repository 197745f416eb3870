import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Digest } from '../oci/digest.js';
import type { Patience } from './connections.js';
import type { Transport } from './transport.js';

/** What every call of a client needs. */
export interface ClientContext {
  /** As it was named. */
  readonly registry: string;
  readonly transport: Transport;
  readonly log: Log;
  readonly patience: Patience;
  readonly retryDelayMs: number;
  readonly signal: AbortSignal | undefined;
  /** Where the registry serves a repository, without a slash at the end. */
  readonly pathOf: (repository: string) => string;
}

export interface BlobSize {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** A blob to pull. */
export interface WantedBlob {
  readonly digest: Digest;
  /** Bytes, where a manifest says so. */
  readonly size?: number | undefined;
}

/** The scope of reading, in the words of the token flow ("Token Scope Documentation" of the distribution project). */
export function pullScope(context: ClientContext, repository: string): string {
  return `repository:${nameOf(context, repository)}:pull`;
}

/** The scope of writing, which includes reading. */
export function pushScope(context: ClientContext, repository: string): string {
  return `repository:${nameOf(context, repository)}:pull,push`;
}

/** The repository as the registry names it in scopes. */
export function nameOf({ pathOf }: ClientContext, repository: string): string {
  return pathOf(repository).slice('/v2/'.length);
}

/** DIGEST_MISMATCH for what a registry sent; `name` is what it was asked for. */
export function wrongBytes({ registry }: ClientContext, name: string, { expected, actual }: Hashes): WherryError {
  return new WherryError('DIGEST_MISMATCH', `registry '${registry}' sent other bytes for '${name}': they hash to '${actual}'`, {
    hint: 'try again; if it returns, push the image there again',
    detail: { expected, actual },
  });
}

interface Hashes {
  readonly expected: string;
  readonly actual: string;
}

/** What a repository shows of a blob, without a size where the registry tells none. Throws what the transport throws. */
export async function findBlob(context: ClientContext, repository: string, digest: Digest): Promise<WantedBlob | undefined> {
  const path = `${context.pathOf(repository)}/blobs/${digest}`;
  const answer = await context.transport.ask({ method: 'HEAD', path, scopes: [pullScope(context, repository)], accept: [200, 404] });
  if (answer.statusCode === 404) return undefined;
  // Some servers say 0 of every HEAD.
  const size = Number(answer.headers['content-length']) || undefined;
  return { digest, size };
}

/** Whether a repository shows a blob with all its bytes. Throws what the transport throws. */
export async function hasBlob(context: ClientContext, repository: string, { digest, size }: BlobSize): Promise<boolean> {
  const found = await findBlob(context, repository, digest);
  return found !== undefined && (found.size ?? size) === size;
}
