import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WherryError } from '../base/errors.js';
import type { Digest } from '../oci/digest.js';
import { mismatch, unknownBlob } from './blob-files.js';
import { type ClientContext, pullScope } from './client-context.js';
import { type Answer, backOffMs, TRIES, unreachable } from './transport.js';

/**
 * The bytes of a blob, hashed on their way. Tries count from the last byte that arrived, so that a long pull over a bad line ends, and a dead one does not go on.
 * A registry that ignores the range sends everything again; what was seen is skipped.
 */
export async function* pullBlob(context: ClientContext, repository: string, digest: Digest): AsyncIterable<Uint8Array> {
  const hash = createHash('sha256');
  let done = 0;
  let broken = 0;
  for (;;) {
    const answer = await openPull(context, { repository, digest, from: done });
    let skip = answer.statusCode === 206 ? 0 : done;
    const parts = answer.body[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await readNext(parts);
        if (next instanceof WherryError) {
          broken += 1;
          if (broken >= TRIES) throw next;
          context.log.debug({ registry: context.registry, digest, done, cause: next }, 'a pull broke; going on');
          break;
        }
        if (next === undefined) {
          const actual = `sha256:${hash.digest('hex')}`;
          if (actual !== digest) throw mismatch(digest, actual);
          return;
        }
        const part = next.subarray(Math.min(skip, next.length));
        skip -= next.length - part.length;
        if (part.length === 0) continue;
        broken = 0;
        hash.update(part);
        done += part.length;
        yield part;
      }
    } finally {
      answer.body.destroy();
    }
    await delay(backOffMs(broken, context.retryDelayMs));
  }

  async function readNext(parts: AsyncIterator<Uint8Array>): Promise<Uint8Array | undefined | WherryError> {
    try {
      const { value, done: isEnd } = await parts.next();
      return isEnd ? undefined : value;
    } catch (cause) {
      return unreachable(context.registry, cause);
    }
  }
}

interface PullFrom {
  readonly repository: string;
  readonly digest: Digest;
  readonly from: number;
}

async function openPull(context: ClientContext, { repository, digest, from }: PullFrom): Promise<Answer> {
  const answer = await context.transport.send({
    method: 'GET',
    path: `${context.pathOf(repository)}/blobs/${digest}`,
    scopes: [pullScope(context, repository)],
    headers: from === 0 ? {} : { range: `bytes=${from}-` },
    accept: [200, 206, 404],
  });
  if (answer.statusCode === 404) {
    await answer.body.dump();
    throw unknownBlob(digest);
  }
  const range = String(answer.headers['content-range'] ?? '');
  if (answer.statusCode === 206 && !range.startsWith(`bytes ${from}-`)) {
    answer.body.destroy();
    throw new WherryError(
      'REGISTRY_UNAVAILABLE',
      `registry '${context.registry}' sent range '${range}' when asked for byte ${from} and on`,
    );
  }
  return answer;
}
