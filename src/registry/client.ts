import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { type Descriptor, MEDIA_TYPES } from '../oci/descriptor.js';
import { type Digest, digestOf, isDigest } from '../oci/digest.js';
import { isLoopback } from './auth.js';
import { mismatch, unknownBlob } from './blob-files.js';
import { DIRECT, type Network } from './connections.js';
import type { Credentials } from './credentials.js';
import { listReferrers, listTags } from './lists.js';
import { MANIFEST_LIMIT_BYTES } from './repositories.js';
import { type Answer, backOffMs, openTransport, readLimited, TRIES, type Transport, unreachable } from './transport.js';

/** A manifest as a registry serves it. */
export interface PulledManifest {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  readonly mediaType: string;
}

/** A repository of a registry. */
export interface RemotePlace {
  /** `host[:port]`. */
  readonly registry: string;
  readonly repository: string;
}

export interface BlobSize {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** The client side of the OCI distribution-spec for one registry. Any call throws UNAUTHORIZED, DENIED, TOOMANYREQUESTS, REGISTRY_UNAVAILABLE. */
export interface RegistryClient {
  hasBlob(repository: string, digest: Digest): Promise<boolean>;
  /** Undefined when the repository does not show it. */
  findBlob(repository: string, digest: Digest): Promise<BlobSize | undefined>;
  /** The bytes as they come; a broken transfer goes on where it stopped. Ends with DIGEST_MISMATCH when they are wrong; throws BLOB_UNKNOWN. */
  getBlob(repository: string, digest: Digest): AsyncIterable<Uint8Array>;
  /** Uploads unless the registry has the blob; `open` is called anew for each try. True when bytes were sent. */
  putBlob(repository: string, blob: BlobSize, open: () => AsyncIterable<Uint8Array>, options?: PutBlobOptions): Promise<boolean>;
  /** By tag or digest; the bytes are hashed. Throws IMAGE_UNKNOWN, DIGEST_MISMATCH. */
  getManifest(repository: string, reference: string): Promise<PulledManifest>;
  /** What a tag means now, without the manifest's bytes where the registry tells. Throws IMAGE_UNKNOWN. */
  getDigest(repository: string, tag: string): Promise<Digest>;
  putManifest(repository: string, reference: string, bytes: Uint8Array, mediaType: string): Promise<void>;
  /** In the registry's order. Throws NAME_UNKNOWN. */
  listTags(repository: string): Promise<readonly string[]>;
  /** Manifests whose subject is `digest`; undefined when the registry knows no such list. */
  listReferrers(repository: string, digest: Digest): Promise<readonly Descriptor[] | undefined>;
  /** Asks whether the registry takes the credentials. Throws UNAUTHORIZED when it does not. */
  logIn(): Promise<void>;
  close(): Promise<void>;
}

export interface PutBlobOptions {
  /** A repository of the same registry that may have the blob already. */
  readonly mountFrom?: string;
}

export interface RegistryClientOptions {
  /** `host[:port]`. */
  readonly registry: string;
  readonly credentials?: Credentials | undefined;
  readonly log: Log;
  /** Plain http is used for this machine's own addresses, and for others only when this is true. */
  readonly isPlainHttpAllowed?: boolean;
  /** Reached directly by default. */
  readonly network?: Network;
  /** First pause before trying again, in milliseconds. */
  readonly retryDelayMs?: number;
}

const MANIFEST_TYPES = [MEDIA_TYPES.manifest, MEDIA_TYPES.index, MEDIA_TYPES.dockerManifest, MEDIA_TYPES.dockerManifestList].join(', ');
const HUB: readonly string[] = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];

/** Opens a client; no request is made yet. Throws REFERENCE_INVALID for a bad host. */
export function createRegistryClient(options: RegistryClientOptions): RegistryClient {
  const { registry, credentials, log, network = DIRECT, retryDelayMs = 250 } = options;
  const transport = openTransport({ origin: originOf(options), credentials, log, network, retryDelayMs });
  const context: Context = {
    registry,
    transport,
    log,
    retryDelayMs,
    pathOf: (repository) => `/v2/${HUB.includes(registry) && !repository.includes('/') ? `library/${repository}` : repository}`,
  };
  return {
    hasBlob: async (repository, digest) => (await findBlob(context, repository, digest)) !== undefined,
    findBlob: (repository, digest) => findBlob(context, repository, digest),
    getBlob: (repository, digest) => pullBlob(context, repository, digest),
    async putBlob(repository, blob, open, { mountFrom } = {}) {
      if (await findBlob(context, repository, blob.digest)) return false;
      return pushBlob(context, { repository, blob, open, mountFrom });
    },
    getManifest: (repository, reference) => pullManifest(context, repository, reference),
    getDigest: (repository, tag) => askDigest(context, repository, tag),
    async putManifest(repository, reference, bytes, mediaType) {
      const answer = await transport.send({
        method: 'PUT',
        path: `${context.pathOf(repository)}/manifests/${reference}`,
        scopes: [pushScope(context, repository)],
        headers: { 'content-type': mediaType, 'content-length': String(bytes.length) },
        body: () => once(bytes),
        accept: [201],
      });
      await answer.body.dump();
    },
    listTags: (repository) => listTags({ registry, transport, path: context.pathOf(repository) }),
    listReferrers: (repository, digest) => listReferrers({ registry, transport, path: context.pathOf(repository) }, digest),
    async logIn() {
      const answer = await transport.send({ method: 'GET', path: '/v2/', scopes: [], accept: [200] });
      await answer.body.dump();
    },
    close: () => transport.close(),
  };
}

interface Context {
  readonly registry: string;
  readonly transport: Transport;
  readonly log: Log;
  readonly retryDelayMs: number;
  readonly pathOf: (repository: string) => string;
}

function originOf({ registry, isPlainHttpAllowed = false }: RegistryClientOptions): URL {
  const host = HUB.includes(registry) ? 'registry-1.docker.io' : registry;
  if (!/^[A-Za-z0-9.-]+(?::\d+)?$|^\[[0-9a-f:]+\](?::\d+)?$/.test(host) || !URL.canParse(`https://${host}`)) {
    throw new WherryError('REFERENCE_INVALID', `not a registry host: '${registry}'`, { hint: 'write HOST or HOST:PORT' });
  }
  const isPlain = isPlainHttpAllowed || isLoopback(new URL(`https://${host}`).hostname);
  return new URL(`${isPlain ? 'http' : 'https'}://${host}`);
}

/** The repository as the registry names it in scopes. */
function nameOf({ pathOf }: Context, repository: string): string {
  return pathOf(repository).slice('/v2/'.length);
}

async function findBlob(context: Context, repository: string, digest: Digest): Promise<BlobSize | undefined> {
  const path = `${context.pathOf(repository)}/blobs/${digest}`;
  const scopes = [`repository:${nameOf(context, repository)}:pull`];
  const answer = await context.transport.send({ method: 'HEAD', path, scopes, accept: [200, 404] });
  await answer.body.dump();
  return answer.statusCode === 200 ? { digest, size: Number(answer.headers['content-length']) } : undefined;
}

/**
 * Tries count from the last byte that arrived, so that a long pull over a bad line ends, and a dead one does not go on.
 * A registry that ignores the range sends everything again; what was seen is skipped.
 */
async function* pullBlob(context: Context, repository: string, digest: Digest): AsyncIterable<Uint8Array> {
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

async function openPull(context: Context, { repository, digest, from }: PullFrom): Promise<Answer> {
  const answer = await context.transport.send({
    method: 'GET',
    path: `${context.pathOf(repository)}/blobs/${digest}`,
    scopes: [`repository:${nameOf(context, repository)}:pull`],
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

interface PushedBlob {
  readonly repository: string;
  readonly blob: BlobSize;
  readonly open: () => AsyncIterable<Uint8Array>;
  readonly mountFrom: string | undefined;
}

/** Uploads in one session. A session that broke may hold a part of the bytes, so each try begins a new one. */
async function pushBlob(context: Context, push: PushedBlob): Promise<boolean> {
  for (let tried = 1; ; tried += 1) {
    const location = await startPush(context, push);
    if (location === undefined) return false;
    try {
      await finishPush(context, push, location);
      return true;
    } catch (thrown) {
      if (!(thrown instanceof WherryError) || !thrown.isRetryable || tried === TRIES) throw thrown;
      context.log.debug({ registry: context.registry, digest: push.blob.digest, tried, cause: thrown }, 'an upload broke; trying again');
    }
    await delay(backOffMs(tried, context.retryDelayMs));
  }
}

/** The address of a new session, or undefined when the registry mounted the blob instead. */
async function startPush(context: Context, { repository, blob, mountFrom }: PushedBlob): Promise<string | undefined> {
  const mounted = mountFrom === undefined ? undefined : nameOf(context, mountFrom);
  const scopes = [pushScope(context, repository), ...(mounted === undefined ? [] : [`repository:${mounted}:pull`])];
  const answer = await context.transport.send({
    method: 'POST',
    path: `${context.pathOf(repository)}/blobs/uploads/${mounted === undefined ? '' : `?mount=${blob.digest}&from=${mounted}`}`,
    scopes,
    headers: { 'content-length': '0' },
    accept: [201, 202],
  });
  await answer.body.dump();
  if (answer.statusCode === 201) return undefined;
  const { location } = answer.headers;
  if (typeof location === 'string') return location;
  throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${context.registry}' gave no address for an upload`);
}

async function finishPush(context: Context, { repository, blob, open }: PushedBlob, location: string): Promise<void> {
  const answer = await context.transport.send({
    method: 'PUT',
    path: `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(blob.digest)}`,
    scopes: [pushScope(context, repository)],
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(blob.size) },
    body: open,
    accept: [201],
    tries: 1,
  });
  await answer.body.dump();
}

function pushScope(context: Context, repository: string): string {
  return `repository:${nameOf(context, repository)}:pull,push`;
}

async function pullManifest(context: Context, repository: string, reference: string): Promise<PulledManifest> {
  const { registry, transport, pathOf } = context;
  const answer = await transport.send({
    method: 'GET',
    path: `${pathOf(repository)}/manifests/${reference}`,
    scopes: [`repository:${nameOf(context, repository)}:pull`],
    headers: { accept: MANIFEST_TYPES },
    accept: [200, 404],
  });
  const bytes = await readLimited(answer, MANIFEST_LIMIT_BYTES);
  if (answer.statusCode === 404) throw unknownImage(registry, repository, reference);
  const digest = digestOf(bytes);
  const promised = isDigest(reference) ? reference : String(answer.headers['docker-content-digest'] ?? digest);
  if (promised !== digest) throw mismatch(promised, digest);
  return { bytes, digest, mediaType: String(answer.headers['content-type'] ?? MEDIA_TYPES.manifest).split(';')[0] ?? '' };
}

async function askDigest(context: Context, repository: string, tag: string): Promise<Digest> {
  const answer = await context.transport.send({
    method: 'HEAD',
    path: `${context.pathOf(repository)}/manifests/${tag}`,
    scopes: [`repository:${nameOf(context, repository)}:pull`],
    headers: { accept: MANIFEST_TYPES },
    accept: [200, 404],
  });
  await answer.body.dump();
  if (answer.statusCode === 404) throw unknownImage(context.registry, repository, tag);
  const digest = String(answer.headers['docker-content-digest'] ?? '');
  return isDigest(digest) ? digest : (await pullManifest(context, repository, tag)).digest;
}

function unknownImage(registry: string, repository: string, reference: string): WherryError {
  const name = `${registry}/${repository}${isDigest(reference) ? '@' : ':'}${reference}`;
  return new WherryError('IMAGE_UNKNOWN', `image '${name}' is not in its registry`, {
    hint: 'check the name and the tag',
    detail: { reference: name },
  });
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
