import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WherryError } from '../base/errors.js';
import { type ClientContext, nameOf, pullScope, type WantedBlob, wrongBytes } from './client-context.js';
import { TRIES } from './connections.js';
import { type Answer, abandon, backOffMs, unreachable } from './refusal.js';

/** A try that brought less did not get on, and a body that brings less in its time only trickles: a byte now and then would hold a pull for ever. */
const LEAST_BYTES = 16 * 1024;

/**
 * The bytes of a blob, hashed and counted on their way. Tries count from the last one that got on, so that a long pull over a bad line
 * ends, and a dead one does not go on. A registry that ignores the range sends everything again; what was seen is skipped.
 */
export async function* pullBlob(context: ClientContext, repository: string, blob: WantedBlob): AsyncIterable<Uint8Array> {
  const name = `${nameOf(context, repository)}@${blob.digest}`;
  const hash = createHash('sha256');
  let done = 0;
  let broken = 0;
  for (;;) {
    const answer = await openPull(context, { repository, name, blob, from: done });
    const from = done;
    let skip = answer.statusCode === 206 ? 0 : done;
    const read = readerOf(context, name, answer);
    try {
      for (;;) {
        const next = await read();
        if (next instanceof WherryError) {
          broken = done - from < LEAST_BYTES ? broken + 1 : 1;
          if (broken >= TRIES) throw next;
          context.log.debug({ registry: context.registry, digest: blob.digest, done, cause: next }, 'a pull broke; going on');
          break;
        }
        if (next === undefined) {
          checkWhole(context, name, { blob, done, actual: `sha256:${hash.digest('hex')}` });
          return;
        }
        const part = next.subarray(Math.min(skip, next.length));
        skip -= next.length - part.length;
        if (part.length === 0) continue;
        hash.update(part);
        done += part.length;
        if (blob.size !== undefined && done > blob.size)
          throw wrongSize(context, name, { sent: `more than ${blob.size}`, size: blob.size });
        yield part;
      }
    } finally {
      abandon(answer);
    }
    await delay(backOffMs(broken, context.retryDelayMs), undefined, { signal: context.signal });
  }
}

/** Gives part after part, undefined at the end, and a failure when the line broke or hardly anything comes. Time counts only while something is waited for. */
function readerOf({ registry, patience }: ClientContext, name: string, { body }: Answer) {
  const parts: AsyncIterator<Uint8Array> = body[Symbol.asyncIterator]();
  const broken = (cause: unknown) => unreachable(`registry '${registry}'`, `all of '${name}'`, cause);
  let waitedMs = 0;
  let bytes = 0;
  return async (): Promise<Uint8Array | undefined | WherryError> => {
    const askedAt = performance.now();
    try {
      const { value, done } = await parts.next();
      if (done) return undefined;
      waitedMs += performance.now() - askedAt;
      bytes += value.length;
      if (waitedMs < patience.readMs) return value;
      if (bytes < LEAST_BYTES) return broken(new Error(`it sent ${bytes} bytes in ${Math.round(waitedMs)} ms`));
      waitedMs = 0;
      bytes = 0;
      return value;
    } catch (cause) {
      return broken(cause);
    }
  };
}

interface Pulled {
  readonly blob: WantedBlob;
  readonly done: number;
  readonly actual: string;
}

/** Bytes may be those of the digest and yet not as many as a manifest says: then the manifest is no description of them. */
function checkWhole(context: ClientContext, name: string, { blob: { digest, size }, done, actual }: Pulled): void {
  if (actual !== digest) throw wrongBytes(context, name, { expected: digest, actual });
  if (size !== undefined && size !== done) throw wrongSize(context, name, { sent: String(done), size });
}

function wrongSize(
  { registry }: ClientContext,
  name: string,
  { sent, size }: { readonly sent: string; readonly size: number },
): WherryError {
  const what = `registry '${registry}' sends ${sent} bytes as '${name}', which should have ${size}`;
  return new WherryError('SIZE_INVALID', what, { hint: 'push the image there again' });
}

interface PullFrom {
  readonly repository: string;
  readonly name: string;
  readonly blob: WantedBlob;
  readonly from: number;
}

async function openPull(context: ClientContext, { repository, name, blob, from }: PullFrom): Promise<Answer> {
  const { registry, transport, pathOf } = context;
  const answer = await transport.send({
    method: 'GET',
    path: `${pathOf(repository)}/blobs/${blob.digest}`,
    scopes: [pullScope(context, repository)],
    headers: from === 0 ? {} : { range: `bytes=${from}-` },
    accept: [200, 206, 404],
  });
  if (answer.statusCode === 404) {
    abandon(answer);
    throw new WherryError('BLOB_UNKNOWN', `registry '${registry}' has no blob '${name}'`, {
      hint: 'push the image there again',
      detail: { digest: blob.digest },
    });
  }
  const announced = answer.headers['content-length'];
  if (answer.statusCode === 200 && blob.size !== undefined && announced !== undefined && Number(announced) !== blob.size) {
    abandon(answer);
    throw wrongSize(context, name, { sent: String(announced), size: blob.size });
  }
  const range = String(answer.headers['content-range'] ?? '');
  if (answer.statusCode === 206 && !range.startsWith(`bytes ${from}-`)) {
    abandon(answer);
    throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${registry}' sent range '${range}' when asked for byte ${from} and on`, {
      hint: 'try again; a proxy on the way may answer out of its cache',
    });
  }
  return answer;
}
