import type { Log } from '../base/log.js';
import type { Digest } from '../oci/digest.js';
import type { Transport } from './transport.js';

/** What every call of a client needs. */
export interface ClientContext {
  /** As it was named. */
  readonly registry: string;
  readonly transport: Transport;
  readonly log: Log;
  readonly retryDelayMs: number;
  /** Where the registry serves a repository, without a slash at the end. */
  readonly pathOf: (repository: string) => string;
}

export interface BlobSize {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** The scope of reading, in the words of the token flow ("Token Scope Documentation" of the distribution project). */
export function pullScope(context: ClientContext, repository: string): string {
  return `repository:${nameOf(context, repository)}:pull`;
}

export function pushScope(context: ClientContext, repository: string): string {
  return `repository:${nameOf(context, repository)}:pull,push`;
}

/** The repository as the registry names it in scopes. */
export function nameOf({ pathOf }: ClientContext, repository: string): string {
  return pathOf(repository).slice('/v2/'.length);
}

/** What a repository shows of a blob. Throws what the transport throws. */
export async function findBlob(context: ClientContext, repository: string, digest: Digest): Promise<BlobSize | undefined> {
  const path = `${context.pathOf(repository)}/blobs/${digest}`;
  const answer = await context.transport.send({ method: 'HEAD', path, scopes: [pullScope(context, repository)], accept: [200, 404] });
  await answer.body.dump();
  return answer.statusCode === 200 ? { digest, size: Number(answer.headers['content-length']) } : undefined;
}
