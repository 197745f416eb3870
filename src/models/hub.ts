import { posix } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { messageOf, WherryError } from '../base/errors.js';
import { formatModel, type Model } from '../domain/model.js';
import { isLoopback } from '../registry/auth.js';
import { MAX_REDIRECTS, type Network, openConnections, type Patience, REDIRECTS, TRIES, targetOf } from '../registry/connections.js';
import { backOffMs, readLimited, retryAfterMs, retryAfterOf } from '../registry/refusal.js';

/** A file of a repository, and what its bytes must be. */
export interface ModelFile {
  /** Below the repository, with `/`. */
  readonly path: string;
  readonly sizeBytes: number;
  /** What the hub calls its ETag: the SHA-256 of a large file, git's SHA-1 of any other. */
  readonly hash: string;
}

/** A repository at one commit. */
export interface Snapshot {
  readonly commit: string;
  readonly files: readonly ModelFile[];
}

/** Which bytes of which file are asked for. */
export interface FileRequest {
  readonly model: Model;
  readonly commit: string;
  readonly path: string;
  /** From this byte on. */
  readonly from: number;
}

/** Who asks, and until when. */
export interface Caller {
  readonly token: string | undefined;
  readonly signal: AbortSignal;
}

/** The HTTP API of huggingface.co, or of what stands in its place. */
export interface Hub {
  /** Throws MODEL_UNKNOWN, DENIED, MODEL_UNAVAILABLE. */
  describe(model: Model, caller: Caller): Promise<Snapshot>;
  /** One try, with redirects followed; the status is 200 or 206. Throws as `describe` does. */
  open(file: FileRequest, caller: Caller): Promise<Dispatcher.ResponseData>;
  close(): Promise<void>;
}

export interface HubOptions {
  /** `https://huggingface.co`, perhaps with a path, without a final slash. */
  readonly endpoint: string;
  readonly network: Network;
  readonly patience: Patience;
  /** First pause before another try, in milliseconds; each further one is twice as long. */
  readonly retryDelayMs: number;
}

const TRANSIENT: readonly number[] = [408, 429, 500, 502, 503, 504];
/** A list of a hundred thousand files. */
const LIST_LIMIT_BYTES = 32 * 1024 * 1024;

/** A client of a hub; the token goes to the hub itself only, and only where nobody listens on the way. */
export function openHub({ endpoint, network, patience, retryDelayMs }: HubOptions): Hub {
  const connections = openConnections(network, patience);
  const home = new URL(endpoint);
  const isSafe = home.protocol === 'https:' || isLoopback(home.hostname);

  const send = async (path: string, { token, signal }: Caller, headers: Readonly<Record<string, string>>) => {
    let url = new URL(`${endpoint}${path}`);
    let isHome = true;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const answer = await connections.dispatcherFor(url).request({
        ...targetOf(url),
        method: 'GET',
        headers: {
          'user-agent': 'wherry',
          ...headers,
          ...(isHome && isSafe && token !== undefined && { authorization: `Bearer ${token}` }),
        },
        headersTimeout: patience.readMs,
        bodyTimeout: patience.readMs,
        signal,
      });
      const location = answer.headers['location'];
      if (!REDIRECTS.includes(answer.statusCode) || typeof location !== 'string') return answer;
      await answer.body.dump();
      url = resolveAddress(location, url);
      isHome &&= url.origin === home.origin;
    }
    throw new WherryError('MODEL_UNAVAILABLE', `the hub '${home.host}' redirects in a circle`);
  };
  const ask = async (model: Model, path: string, { headers = {}, ...caller }: Asking): Promise<Dispatcher.ResponseData> => {
    const answer = await send(path, caller, headers).catch((thrown: unknown) => {
      throw thrown instanceof WherryError ? thrown : unreachable(home.host, model, thrown);
    });
    if (answer.statusCode === 200 || answer.statusCode === 206) return answer;
    await answer.body.dump();
    throw refusal(answer, { host: home.host, model, hasToken: isSafe && caller.token !== undefined });
  };

  return {
    async describe(model, caller) {
      const revision = encodeURIComponent(model.commit ?? model.revision);
      for (let tried = 1; ; tried++) {
        try {
          const answer = await ask(model, `/api/models/${model.repository}/revision/${revision}?blobs=true`, caller);
          const bytes = await readLimited(answer, LIST_LIMIT_BYTES, `the hub '${home.host}'`).catch((thrown: unknown) => {
            throw thrown instanceof WherryError ? thrown : unreachable(home.host, model, thrown);
          });
          return parseSnapshot(bytes, model);
        } catch (thrown) {
          if (tried >= TRIES || !isPassing(thrown) || caller.signal.aborted) throw thrown;
          await pauseAfter(thrown, backOffMs(tried, retryDelayMs), caller.signal);
        }
      }
    },
    open({ model, commit, path, from }, caller) {
      const name = path.split('/').map(encodeURIComponent).join('/');
      const headers = { 'accept-encoding': 'identity', ...(from > 0 && { range: `bytes=${from}-` }) };
      return ask(model, `/${model.repository}/resolve/${commit}/${name}`, { ...caller, headers });
    },
    close: () => connections.close(),
  };
}

interface Asking extends Caller {
  readonly headers?: Readonly<Record<string, string>>;
}

/** Waits as long as the hub asked for, else so long; not beyond the signal. */
export async function pauseAfter(thrown: unknown, elseMs: number, signal: AbortSignal): Promise<void> {
  const asked = thrown instanceof WherryError ? retryAfterOf(thrown) : undefined;
  await delay(asked ?? elseMs, undefined, { signal }).catch(() => {});
}

/** Whether the same request may go well a little later. */
export function isPassing(thrown: unknown): boolean {
  if (!(thrown instanceof WherryError) || thrown.code !== 'MODEL_UNAVAILABLE') return false;
  const { status } = (thrown.detail ?? {}) as { readonly status?: number };
  return status === undefined ? thrown.cause !== undefined : TRANSIENT.includes(status);
}

/** MODEL_UNAVAILABLE for a connection that failed or broke. */
export function unreachable(host: string, model: Model, cause: unknown): WherryError {
  return new WherryError('MODEL_UNAVAILABLE', `model '${formatModel(model)}' cannot be fetched from '${host}': ${messageOf(cause)}`, {
    hint: 'check that the hub is up and that this machine reaches it; HF_ENDPOINT names another one',
    cause,
  });
}

interface Asked {
  readonly host: string;
  readonly model: Model;
  readonly hasToken: boolean;
}

/** The hub answers 401 for what is not there as well as for what may not be seen; a header of its own says which. */
function refusal(answer: Dispatcher.ResponseData, { host, model, hasToken }: Asked): WherryError {
  const { statusCode: status, headers } = answer;
  const name = `model '${formatModel(model)}'`;
  const isGated = headers['x-error-code'] === 'GatedRepo' || (status === 403 && hasToken);
  if (isGated)
    return new WherryError('DENIED', `${name} is gated: '${host}' refused it with ${status}`, {
      hint: 'accept its terms at the hub, and give the token of that account as HF_TOKEN, in the release or to the server',
    });
  if (status === 401 || status === 403 || status === 404)
    return new WherryError('MODEL_UNKNOWN', `${name} is not at '${host}', or may not be seen with${hasToken ? ' this' : 'out a'} token`, {
      hint: 'check name and revision; for a private one give HF_TOKEN, in the release or to the server',
      detail: { status },
    });
  return new WherryError('MODEL_UNAVAILABLE', `${name} cannot be fetched: '${host}' answered ${status}`, {
    hint: 'try again later; HF_ENDPOINT names another hub',
    detail: { status, retryAfterMs: retryAfterMs(answer) },
  });
}

/** Where a redirect leads. Its query may hold a signature, so no message shows it. */
function resolveAddress(location: string, from: URL): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  const isDowngrade = from.protocol === 'https:' && to?.protocol !== 'https:';
  if (to && /^https?:$/.test(to.protocol) && (!isDowngrade || isLoopback(to.hostname))) return to;
  throw new WherryError('MODEL_UNAVAILABLE', `the hub '${from.host}' sends to '${to?.origin ?? 'what is no address'}', which is not safe`);
}

/** Throws MODEL_UNAVAILABLE for an answer that is no list of files, or names what no disk should get. */
function parseSnapshot(bytes: Buffer, model: Model): Snapshot {
  const bad = (why: string) => new WherryError('MODEL_UNAVAILABLE', `the hub's list of '${formatModel(model)}' cannot be used: ${why}`);
  let answer: { readonly sha?: unknown; readonly siblings?: unknown };
  try {
    answer = JSON.parse(bytes.toString('utf8')) as typeof answer;
  } catch {
    throw bad('it is not JSON');
  }
  const { sha, siblings } = answer;
  if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha) || !Array.isArray(siblings)) throw bad('it has no commit and files');
  if (model.commit !== null && sha !== model.commit) throw bad(`it is of commit ${sha}`);
  const files = siblings.map(
    (sibling: { rfilename?: unknown; size?: unknown; blobId?: unknown; lfs?: { sha256?: unknown; size?: unknown } }) => {
      const { rfilename: path, blobId, lfs } = sibling;
      const sizeBytes = lfs?.size ?? sibling.size;
      const hash = lfs ? lfs.sha256 : blobId;
      if (typeof path !== 'string' || !isInside(path)) throw bad(`'${String(path)}' is no path in it`);
      if (typeof hash !== 'string' || !/^(?:[0-9a-f]{64}|[0-9a-f]{40})$/.test(hash)) throw bad(`'${path}' has no hash`);
      if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw bad(`'${path}' has no size`);
      return { path, sizeBytes, hash };
    },
  );
  return { commit: sha, files };
}

function isInside(path: string): boolean {
  return path !== '' && posix.normalize(path) === path && !posix.isAbsolute(path) && !/^\.\.(?:\/|$)|[\\\0]|\/$|^\.$/.test(path);
}
