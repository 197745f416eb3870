import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Ender, type Ending } from '../base/ending.js';
import { WherryError } from '../base/errors.js';
import { limitReader } from './stall.js';

/** One request and its answer, with the URL taken apart once. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Aborts when the other side goes away before it was answered, and when the wait is ended here. */
  readonly signal: Ending;
  /** Ends what it waits for: it is answered as things stand. */
  endWait(): void;
}

/** A client that reads nothing of its answer for so long is gone. */
const READER_IDLE_MS = 60_000;
const NO_QUERY = new URLSearchParams();

export function openExchange(request: IncomingMessage, response: ServerResponse): Exchange {
  return new HttpExchange(request, response);
}

/** A class, because a getter in an object literal makes V8 a hidden class of each object, which keeps the request until the next full collection. */
class HttpExchange implements Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  #ender: Ender | undefined;
  #isEnded = false;

  constructor(request: IncomingMessage, response: ServerResponse) {
    const url = request.url ?? '/';
    const mark = url.indexOf('?');
    this.request = request;
    this.response = response;
    this.method = request.method ?? 'GET';
    this.path = mark < 0 ? url : url.slice(0, mark);
    this.query = mark < 0 ? NO_QUERY : new URLSearchParams(url.slice(mark + 1));
  }

  /** Made on demand: most requests are answered at once and never look at it. */
  get signal(): Ending {
    this.#ender ??= this.#listen();
    return this.#ender;
  }

  #listen(): Ender {
    const ender = new Ender();
    const { request, response } = this;
    if (this.#isEnded || response.destroyed || request.socket.destroyed) ender.abort();
    response.once('close', () => {
      if (!response.writableFinished) ender.abort();
    });
    return ender;
  }

  endWait(): void {
    this.#isEnded = true;
    this.#ender?.abort();
  }
}

/** Sends JSON text. */
export function sendJson({ response }: Exchange, status: number, text: string, headers: Readonly<Record<string, string>> = {}): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers });
  endWith(response, text);
}

/** Sends the head of a JSON answer now, its text when there is one. */
export function beginJson({ response }: Exchange, status: number): void {
  if (!response.headersSent) response.writeHead(status, { 'content-type': 'application/json' }).flushHeaders();
}

/** The JSON text of an answer, whether it was begun or not. */
export function endJson(exchange: Exchange, status: number, text: string): void {
  if (exchange.response.headersSent) endWith(exchange.response, text);
  else sendJson(exchange, status, text);
}

function endWith(response: ServerResponse, text: string): void {
  response.end(text);
  limitReader(response, READER_IDLE_MS);
}

/** An answer without a body. */
export function sendEmpty({ response }: Exchange, status: number): void {
  if (response.headersSent) return;
  response.writeHead(status);
  response.end();
}

/** The whole body as text; undefined when it is larger than the limit: the rest is read and thrown away, so that the answer arrives. Throws REQUEST_INVALID when `isStrict` and it is not UTF-8. */
export function readBody(
  { request }: Exchange,
  limitBytes: number,
  { isStrict = false }: { readonly isStrict?: boolean } = {},
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    request.on('data', (part: Buffer) => {
      size += part.length;
      if (size <= limitBytes) parts.push(part);
      else parts.length = 0;
    });
    request.on('end', () => {
      if (size > limitBytes) return resolve(undefined);
      const body = Buffer.concat(parts);
      // Replacing what is no UTF-8 would store something else than what was sent.
      if (isStrict && !isUtf8(body)) reject(new WherryError('REQUEST_INVALID', 'the body is not UTF-8'));
      else resolve(body.toString('utf8'));
    });
    request.on('error', reject);
    request.on('close', () => reject(new Error('the connection closed in the middle of the body')));
  });
}
