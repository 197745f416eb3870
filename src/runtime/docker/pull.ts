import { messageOf, WherryError } from '../../base/errors.js';
import { formatBytes } from '../../base/size.js';
import type { ImageName } from '../runtime.js';
import type { Engine } from './engine.js';
import { type EngineRequest, engineFailed } from './engine-api.js';
import { readJsonLines } from './json-lines.js';
import { imageReferenceOf, markOf } from './names.js';

/** What opens the embedded registry for a pull, and for nothing else. */
export interface PullCredentials {
  readonly username: string;
  readonly password: string;
}

export interface PullOptions {
  readonly engine: Engine;
  readonly instanceId: string;
  /** Host and port under which the engine reaches the embedded registry. */
  readonly registry: string;
  readonly credentials: PullCredentials;
  /** A line about how far it is, at most about one a second. */
  readonly onProgress: (text: string) => void;
  /** Milliseconds. */
  readonly now: () => number;
  readonly signal?: AbortSignal;
}

/** A large layer may be unpacked for long without a word. */
const SILENCE_MS = 10 * 60_000;
const PROGRESS_MS = 1_000;

/** The bytes of the image in the engine, or undefined when it has none under this digest. Throws RUNTIME_UNAVAILABLE. */
export async function measureImage({ engine, registry }: Pick<PullOptions, 'engine' | 'registry'>, image: ImageName) {
  const answer = await engine.api.call({ method: 'GET', path: `/images/${imageReferenceOf(registry, image)}/json` });
  if (answer.status === 200) return (answer.body as { Size?: number }).Size ?? 0;
  if (answer.status === 404) return undefined;
  throw engineFailed(`a look at image '${image.repository}@${image.digest}'`, answer);
}

/** Pulls an image by its digest and marks it as pulled by this server; gives the bytes that came. Throws RUNTIME_UNAVAILABLE. */
export async function pullImage(options: PullOptions, image: ImageName): Promise<number> {
  const { engine, registry, credentials, now, onProgress } = options;
  const startedAt = now();
  const stream = await engine.api.stream({
    method: 'POST',
    ...pullPlace(options, image),
    headers: { 'x-registry-auth': encodeAuth({ ...credentials, serveraddress: registry }) },
    idleMs: SILENCE_MS,
    ...(options.signal && { signal: options.signal }),
  });
  const progress = createPullProgress();
  let toldAt = startedAt;
  try {
    for await (const event of readJsonLines(stream)) {
      progress.take(event);
      if (progress.failure !== undefined || now() - toldAt < PROGRESS_MS) continue;
      toldAt = now();
      onProgress(`pulling: ${progress.text()}`);
    }
  } catch (cause) {
    throw pullFailed(image, messageOf(cause), cause);
  }
  if (progress.failure !== undefined || stream.statusCode !== 200)
    throw pullFailed(image, progress.failure ?? `status ${stream.statusCode}`);
  await markImage(options, image);
  // Podman does not say how much it fetched.
  const bytes = progress.bytes() || (await measureImage(options, image)) || 0;
  onProgress(`pulled ${formatBytes(bytes)} in ${((now() - startedAt) / 1000).toFixed(1)} s`);
  return bytes;
}

/** Docker takes loopback for a registry in the clear by itself. Podman wants to be told, and listens only on a path of its own. */
function pullPlace({ engine, registry }: PullOptions, image: ImageName): Pick<EngineRequest, 'path' | 'query'> {
  if (engine.facts.product === 'podman')
    return { path: '/libpod/images/pull', query: { reference: imageReferenceOf(registry, image), tlsVerify: 'false' } };
  return { path: '/images/create', query: { fromImage: `${registry}/${image.repository}`, tag: image.digest } };
}

/** URL-safe and padded: without the padding Docker takes it for no credentials at all. */
function encodeAuth(auth: object): string {
  return Buffer.from(JSON.stringify(auth)).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

async function markImage({ engine, instanceId, registry }: PullOptions, image: ImageName): Promise<void> {
  const answer = await engine.api.call({
    method: 'POST',
    path: `/images/${imageReferenceOf(registry, image)}/tag`,
    query: { repo: `${registry}/${image.repository}`, tag: markOf(instanceId, image.digest) },
  });
  if (answer.status !== 201) throw engineFailed(`the marking of image '${image.repository}@${image.digest}'`, answer);
}

function pullFailed({ repository, digest }: ImageName, why: string, cause?: unknown): WherryError {
  return new WherryError('RUNTIME_UNAVAILABLE', `pull of '${repository}@${digest}' by the docker engine failed: ${why.trim()}`, {
    hint: 'the engine has to reach the embedded registry; `wherry doctor` shows under which address',
    cause,
  });
}

/** Sums up the progress that an engine tells layer by layer. */
export interface PullProgress {
  readonly failure: string | undefined;
  take(event: Readonly<Record<string, unknown>>): void;
  /** Bytes that were fetched so far. */
  bytes(): number;
  text(): string;
}

export function createPullProgress(): PullProgress {
  const fetched = new Map<string, { current: number; total: number }>();
  let failure: string | undefined;
  let step = '';
  const sum = (part: 'current' | 'total') => [...fetched.values()].reduce((all, layer) => all + layer[part], 0);
  return {
    get failure() {
      return failure;
    },
    take({ id, status, error, message, progressDetail }) {
      // A refusal before the first step is the body of an answer like any other.
      const why = error ?? message;
      if (typeof why === 'string') failure = why;
      if (typeof status === 'string') step = status;
      const { current, total } = (progressDetail ?? {}) as { current?: unknown; total?: unknown };
      if (status !== 'Downloading' || typeof id !== 'string' || typeof current !== 'number') return;
      const known = fetched.get(id) ?? { current: 0, total: 0 };
      fetched.set(id, {
        current: Math.max(known.current, current),
        total: Math.max(known.total, current, typeof total === 'number' ? total : 0),
      });
    },
    bytes: () => sum('current'),
    text: () => `${formatBytes(sum('current'))} of ${formatBytes(sum('total'))}, ${step.toLowerCase()}`,
  };
}
