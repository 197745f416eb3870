import { toWherryError, WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { once } from '../base/once.js';
import { type Descriptor, MEDIA_TYPES } from '../oci/descriptor.js';
import { type Digest, digestOf, isDigest } from '../oci/digest.js';
import { mediaTypeOf, parseManifest } from '../oci/manifest.js';
import { isRegistryHost } from '../oci/reference.js';
import { isLoopback } from './auth.js';
import {
  type BlobSize,
  type ClientContext,
  findBlob,
  hasBlob,
  pullScope,
  pushScope,
  type WantedBlob,
  wrongBytes,
} from './client-context.js';
import { DIRECT, type Network, PATIENCE, type Patience } from './connections.js';
import type { Credentials } from './credentials.js';
import { listReferrers, listTags } from './lists.js';
import { pullBlob } from './pull-blob.js';
import { pushBlob } from './push-blob.js';
import { MANIFEST_LIMIT_BYTES } from './repositories.js';
import { openTransport, type Received } from './transport.js';

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

/** The client side of the OCI distribution-spec for one registry. Any call throws UNAUTHORIZED, DENIED, TOOMANYREQUESTS, REGISTRY_UNAVAILABLE. */
export interface RegistryClient {
  /** Undefined when the repository does not show it; without a size where the registry tells none. */
  findBlob(repository: string, digest: Digest): Promise<WantedBlob | undefined>;
  /** Whether the repository shows the blob, and with as many bytes. */
  hasBlob(repository: string, blob: BlobSize): Promise<boolean>;
  /** The bytes as they come; a broken transfer goes on where it stopped. Ends with DIGEST_MISMATCH or SIZE_INVALID when they are wrong; throws BLOB_UNKNOWN. */
  getBlob(repository: string, blob: WantedBlob): AsyncIterable<Uint8Array>;
  /** Uploads unless the registry has the blob; a broken upload goes on where it stopped, so `open` may be called again. True when bytes were sent. */
  putBlob(repository: string, blob: BlobSize, open: () => AsyncIterable<Uint8Array>, options?: PutBlobOptions): Promise<boolean>;
  /** By tag or digest; the bytes are hashed, and are a manifest of the media type they came with. Throws IMAGE_UNKNOWN, DIGEST_MISMATCH, MANIFEST_INVALID, SIZE_INVALID. */
  getManifest(repository: string, reference: string): Promise<PulledManifest>;
  /** What a tag means now, without the manifest's bytes where the registry tells. Throws IMAGE_UNKNOWN. */
  getDigest(repository: string, tag: string): Promise<Digest>;
  /** Throws DIGEST_MISMATCH when the registry says that it got something else. */
  putManifest(repository: string, reference: string, bytes: Uint8Array, mediaType: string): Promise<TakenManifest>;
  /** In the registry's order. Throws NAME_UNKNOWN. */
  listTags(repository: string): Promise<readonly string[]>;
  /** Manifests whose subject is `digest`; undefined when the registry knows no such list. */
  listReferrers(repository: string, digest: Digest): Promise<readonly Descriptor[] | undefined>;
  /** Asks whether the registry takes the credentials. Throws UNAUTHORIZED when it does not. */
  logIn(): Promise<void>;
  close(): Promise<void>;
}

/** What a registry says of a manifest that it took. */
export interface TakenManifest {
  /** Under which image it lists it (distribution-spec, "Pushing Manifests with Subject"); undefined where it keeps no such lists. */
  readonly subject: string | undefined;
}

export interface PutBlobOptions {
  /** A repository of the same registry that may have the blob already. */
  readonly mountFrom?: string;
  /** Told of the bytes of a large blob as they go out. */
  readonly onSent?: (bytes: number) => void;
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
  readonly patience?: Patience;
  /** First pause before trying again, in milliseconds. */
  readonly retryDelayMs?: number;
  /** Ends every call with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const MANIFEST_TYPES = [MEDIA_TYPES.manifest, MEDIA_TYPES.index, MEDIA_TYPES.dockerManifest, MEDIA_TYPES.dockerManifestList].join(', ');
const HUB: readonly string[] = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];

/** Opens a client; no request is made yet. Throws REFERENCE_INVALID for a bad host. */
export function createRegistryClient(options: RegistryClientOptions): RegistryClient {
  const { registry, credentials, log, network = DIRECT, patience = PATIENCE, retryDelayMs = 250, signal } = options;
  const transport = openTransport({ origin: originOf(options), credentials, log, network, patience, retryDelayMs, signal });
  const context: ClientContext = {
    registry,
    transport,
    log,
    patience,
    retryDelayMs,
    signal,
    pathOf: (repository) => `/v2/${HUB.includes(registry) && !repository.includes('/') ? `library/${repository}` : repository}`,
  };
  return {
    findBlob: (repository, digest) => findBlob(context, repository, digest),
    hasBlob: (repository, blob) => hasBlob(context, repository, blob),
    getBlob: (repository, blob) => pullBlob(context, repository, blob),
    async putBlob(repository, blob, open, { mountFrom, onSent = () => {} } = {}) {
      if (await hasBlob(context, repository, blob)) return false;
      return pushBlob(context, { repository, blob, open, mountFrom, onSent });
    },
    getManifest: (repository, reference) => pullManifest(context, repository, reference),
    getDigest: (repository, tag) => askDigest(context, repository, tag),
    async putManifest(repository, reference, bytes, mediaType) {
      const answer = await transport.ask({
        method: 'PUT',
        path: `${context.pathOf(repository)}/manifests/${reference}`,
        scopes: [pushScope(context, repository)],
        headers: { 'content-type': mediaType, 'content-length': String(bytes.length) },
        body: () => once(bytes),
        accept: [201],
      });
      const [expected, actual] = [digestOf(bytes), String(answer.headers['docker-content-digest'])];
      if (isDigest(actual) && actual !== expected) throw wrongBytes(context, `${repository}@${expected}`, { expected, actual });
      const subject = answer.headers['oci-subject'];
      return { subject: typeof subject === 'string' ? subject : undefined };
    },
    listTags: (repository) => listTags({ registry, transport, path: context.pathOf(repository) }),
    listReferrers: (repository, digest) => listReferrers({ registry, transport, path: context.pathOf(repository) }, digest),
    async logIn() {
      await transport.ask({ method: 'GET', path: '/v2/', scopes: [], accept: [200] });
    },
    close: () => transport.close(),
  };
}

function originOf({ registry, isPlainHttpAllowed = false }: RegistryClientOptions): URL {
  const host = HUB.includes(registry) ? 'registry-1.docker.io' : registry;
  if (!isRegistryHost(host)) {
    throw new WherryError('REFERENCE_INVALID', `not a registry host: '${registry}'`, { hint: 'write HOST or HOST:PORT' });
  }
  const isPlain = isPlainHttpAllowed || isLoopback(new URL(`https://${host}`).hostname);
  return new URL(`${isPlain ? 'http' : 'https'}://${host}`);
}

async function pullManifest(context: ClientContext, repository: string, reference: string): Promise<PulledManifest> {
  const call = {
    method: 'GET',
    path: `${context.pathOf(repository)}/manifests/${reference}`,
    scopes: [pullScope(context, repository)],
    headers: { accept: MANIFEST_TYPES },
    accept: [200, 404],
  } as const;
  const answer = await context.transport.receive(call, MANIFEST_LIMIT_BYTES);
  if (answer.statusCode === 404) throw unknownImage(context.registry, repository, reference);
  const name = nameManifest(repository, reference);
  const actual = digestOf(answer.bytes);
  for (const expected of promisedDigests(answer, reference)) {
    if (expected !== actual) throw wrongBytes(context, name, { expected, actual });
  }
  return { bytes: answer.bytes, digest: actual, mediaType: readMediaType(context, name, answer) };
}

/** What the bytes must hash to. A registry may name what it was asked for by digest with another algorithm as well (distribution-spec, "Pulling manifests"). */
function promisedDigests({ headers }: Received, reference: string): readonly string[] {
  const told = headers['docker-content-digest'];
  const asked = isDigest(reference) ? [reference] : [];
  return typeof told === 'string' && (isDigest(told) || asked.length === 0) ? [...asked, told] : asked;
}

function readMediaType({ registry }: ClientContext, name: string, { bytes, headers }: Received): string {
  const type = headers['content-type'];
  try {
    return mediaTypeOf(parseManifest(bytes), typeof type === 'string' ? type : undefined);
  } catch (thrown) {
    const { message, hint } = toWherryError(thrown);
    throw new WherryError('MANIFEST_INVALID', `registry '${registry}' sent '${name}', ${message}`, { hint, cause: thrown });
  }
}

/** `name:tag` or `name@digest`. */
function nameManifest(repository: string, reference: string): string {
  return `${repository}${isDigest(reference) ? '@' : ':'}${reference}`;
}

async function askDigest(context: ClientContext, repository: string, tag: string): Promise<Digest> {
  const answer = await context.transport.ask({
    method: 'HEAD',
    path: `${context.pathOf(repository)}/manifests/${tag}`,
    scopes: [pullScope(context, repository)],
    headers: { accept: MANIFEST_TYPES },
    accept: [200, 404],
  });
  if (answer.statusCode === 404) throw unknownImage(context.registry, repository, tag);
  const digest = String(answer.headers['docker-content-digest'] ?? '');
  return isDigest(digest) ? digest : (await pullManifest(context, repository, tag)).digest;
}

function unknownImage(registry: string, repository: string, reference: string): WherryError {
  const name = `${registry}/${nameManifest(repository, reference)}`;
  return new WherryError('IMAGE_UNKNOWN', `image '${name}' is not in its registry`, {
    hint: 'check the name and the tag',
    detail: { reference: name },
  });
}
