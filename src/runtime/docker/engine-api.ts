import { type IncomingMessage, type RequestOptions, request as sendRequest } from 'node:http';
import { systemCodeOf, WherryError } from '../../base/errors.js';

/** Where an engine listens: a socket file, or a host with port in the clear. */
export type EngineAddress = { readonly text: string } & (
  | { readonly socketPath: string }
  | { readonly host: string; readonly port: number }
);

/** Reads `unix:///path` or `tcp://host:port`, as DOCKER_HOST has them. Throws CONFIG_INVALID. */
export function parseEngineAddress(text: string): EngineAddress {
  const socketPath = /^unix:\/\/(\/.+)$/.exec(text)?.[1];
  if (socketPath !== undefined) return { text, socketPath };
  const [, host, port] = /^(?:tcp|http):\/\/([^/:]+|\[[^\]]+\]):(\d+)\/?$/.exec(text) ?? [];
  if (host !== undefined && port !== undefined) return { text, host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
  throw new WherryError('CONFIG_INVALID', `'${text}' is no address of a docker engine`, {
    hint: 'write unix:///path/to/docker.sock or tcp://HOST:PORT; for ssh or TLS forward a socket to this machine',
  });
}

export interface EngineRequest {
  readonly method: 'GET' | 'POST' | 'DELETE' | 'HEAD';
  /** Without the version. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** How long the connection may be silent; {@link IDLE_MS} when absent, 0 for ever. */
  readonly idleMs?: number;
  readonly signal?: AbortSignal;
}

/** What the engine answered: every status is an answer, and the caller knows which it expects. */
export interface EngineAnswer {
  readonly status: number;
  /** Parsed JSON, or text. */
  readonly body: unknown;
}

/** The Engine API of Docker, which Podman speaks too. Each call throws RUNTIME_UNAVAILABLE when no answer comes. */
export interface EngineApi {
  readonly address: string;
  call(request: EngineRequest): Promise<EngineAnswer>;
  /** An answer that is read while it comes. */
  stream(request: EngineRequest): Promise<IncomingMessage>;
}

const IDLE_MS = 60_000;

/** A client for one version of the API (`1.41`); without one, for what the engine thinks best. */
export function createEngineApi(address: EngineAddress, version?: string): EngineApi {
  const prefix = version === undefined ? '' : `/v${version}`;
  const stream = (request: EngineRequest): Promise<IncomingMessage> => send(address, prefix, request);
  return {
    address: address.text,
    stream,
    async call(request) {
      const answer = await stream(request);
      const text = await readText(answer, address);
      return { status: answer.statusCode ?? 0, body: parseBody(text) };
    },
  };
}

/** What the engine says of a refusal. */
export function reasonOf({ status, body }: EngineAnswer): string {
  const message = typeof body === 'object' && body !== null ? ((body as { message?: unknown }).message ?? '') : body;
  return `${typeof message === 'string' && message !== '' ? message.trim() : 'no reason given'} (status ${status})`;
}

/** The failure of a call that the engine refused for reasons of its own. */
export function engineFailed(what: string, answer: EngineAnswer): WherryError {
  return new WherryError('RUNTIME_UNAVAILABLE', `${what} failed: ${reasonOf(answer)}`, { hint: '`wherry doctor` looks at the engine' });
}

/** A connection for each request: on a socket of this machine it costs less than finding out that a kept one is dead. */
function send(address: EngineAddress, prefix: string, request: EngineRequest): Promise<IncomingMessage> {
  const { method, path, query = {}, body, headers = {}, idleMs = IDLE_MS, signal } = request;
  const text = body === undefined ? undefined : JSON.stringify(body);
  const search = new URLSearchParams(query).toString();
  const options: RequestOptions = {
    ...('socketPath' in address ? { socketPath: address.socketPath } : { host: address.host, port: address.port }),
    method,
    path: `${prefix}${path}${search === '' ? '' : `?${search}`}`,
    agent: false,
    timeout: idleMs,
    headers: {
      host: 'docker',
      ...(text !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
      ...headers,
    },
    ...(signal && { signal }),
  };
  return new Promise((resolve, reject) => {
    const sent = sendRequest(options, resolve);
    sent.on('timeout', () => sent.destroy(new Error(`it was silent for ${idleMs / 1000} s`)));
    sent.on('error', (cause) => reject(noAnswer(address, cause)));
    sent.end(text);
  });
}

async function readText(answer: IncomingMessage, address: EngineAddress): Promise<string> {
  const parts: Buffer[] = [];
  try {
    for await (const part of answer) parts.push(part as Buffer);
  } catch (cause) {
    throw noAnswer(address, cause);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What to do, for who asked what is wrong: the hint sends others there. */
export interface Remedy {
  readonly fix: string;
}

const OPEN_SOCKET = 'add this user to the group of the socket (often `docker`), and log in again';
const START = 'start the engine, or name another with WHERRY_DOCKER_HOST';

function noAnswer({ text }: EngineAddress, cause: unknown): WherryError {
  const code = systemCodeOf(cause);
  const why = REASONS[code ?? ''] ?? (cause instanceof Error ? cause.message : String(cause));
  return new WherryError('RUNTIME_UNAVAILABLE', `docker engine at '${text}' does not answer: ${why}`, {
    hint: 'start it; `wherry doctor` says what is missing',
    detail: { fix: code === 'EACCES' ? OPEN_SOCKET : START } satisfies Remedy,
    cause,
  });
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nothing listens there',
  EACCES: 'this user may not open the socket',
  ECONNRESET: 'the connection broke',
};
