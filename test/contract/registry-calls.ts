import { expect } from 'vitest';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { composeImage } from './registry-gate.js';
import { openRegistryServer } from './registry-server.js';

/** A registry over HTTP, as the conformance suite of the distribution-spec asks it. */
export async function openCalls() {
  const registry = await openRegistryServer();
  let count = 0;
  const call = (method: string, path: string, init: RequestInit & { duplex?: 'half' } = {}) =>
    fetch(new URL(path, registry.url), { method, redirect: 'manual', ...init });
  const send = (method: string, path: string, body: Uint8Array, headers: Record<string, string> = {}) =>
    call(method, path, { body: new Uint8Array(body), headers });
  /** Under a repository's tag or digest. */
  const putManifest = ([repository, reference]: readonly [string, string], bytes: Uint8Array, type: string = MEDIA_TYPES.manifest) =>
    send('PUT', `/v2/${repository}/manifests/${reference}`, bytes, { 'content-type': type });

  /** Gives where it is. */
  async function pushBlob(repository: string, bytes: Uint8Array): Promise<string> {
    const answer = await send('POST', `/v2/${repository}/blobs/uploads/?digest=${digestOf(bytes)}`, bytes);
    expect([answer.status, answer.headers.get('docker-content-digest')]).toEqual([201, digestOf(bytes)]);
    return answer.headers.get('location') ?? '';
  }

  return {
    call,
    send,
    putManifest,
    pushBlob,
    /** A repository that nothing was pushed to. */
    fresh() {
      count += 1;
      return `conformance/r${count}`;
    },
    /** Gives where the upload is. */
    begin: async (repository: string) => (await call('POST', `/v2/${repository}/blobs/uploads/`)).headers.get('location') ?? '',
    /** The last chunk, with the end of the upload, when there is a digest. */
    sendChunk: (location: string, bytes: Uint8Array, { from, digest }: { readonly from: number; readonly digest?: string }) =>
      send(digest === undefined ? 'PATCH' : 'PUT', digest === undefined ? location : `${location}?digest=${digest}`, bytes, {
        'content-range': `${from}-${from + bytes.length - 1}`,
      }),
    async pushImage(repository: string, tags: readonly string[], changes: object = {}) {
      const image = composeImage([Buffer.from('layer')], changes);
      for (const bytes of image.blobs) await pushBlob(repository, bytes);
      for (const reference of [image.digest, ...tags])
        expect((await putManifest([repository, reference], image.manifest)).status).toBe(201);
      return image;
    },
    close: registry.close,
  };
}

/** The status, and the codes of a refusal. */
export async function outcomeOf(answer: Response): Promise<readonly unknown[]> {
  if (answer.status < 400) return [answer.status];
  const { errors } = (await answer.json()) as { errors: { code: string }[] };
  return [answer.status, ...errors.map(({ code }) => code)];
}
