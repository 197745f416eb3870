// Requests to the server over kept connections. Its own HTTP client (ADR 14): Node's costs a warm worker several times what its job does.
import * as net from 'node:net';
import { AnswerReader } from './answer.mjs';

/** Longer than workers live without a server: a result is not given up while anybody could still take it. */
const POST_LIMIT_MS = 300_000;
/** Longer than the server holds an answer that brings the next job. */
const POST_TRY_MS = 60_000;

/**
 * `call(method, url, …)` resolves with status and text; status 0 when nothing answered, or nothing came for `limitMs`. `onRequest` gets
 * what can be destroyed, `onHead` the status before the text is there. With `isHeadEnough` an answer that breaks off keeps its status,
 * without a text. Rejects a URL that cannot be sent.
 */
export function createCaller(key) {
  /** Open connections that carry no request, by origin. */
  const idle = new Map();
  return async (method, url, { body, limitMs = 0, onRequest, onHead, isHeadEnough = false }) => {
    const { origin, path } = split(url);
    const head = `${method} ${path} HTTP/1.1\r\nhost: ${origin.host}\r\nauthorization: ${key}\r\ncontent-type: application/json\r\n`;
    const length = body === undefined ? '' : `content-length: ${Buffer.byteLength(body)}\r\n`;
    if (/[^\x21-\x7e]/.test(path) || /[^\x20-\x7e]/.test(key)) throw new TypeError('a URL or key has characters that HTTP cannot carry');
    const kept = listOf(idle, origin);
    const connection = kept.pop() ?? new Connection(await connect(origin), kept);
    const { status, text, isWhole } = await connection.exchange(`${head}${length}\r\n${body ?? ''}`, { limitMs, onRequest, onHead });
    if (isWhole) return { status, text };
    return { status: isHeadEnough ? status : 0, text: '' };
  };
}

/** TLS is loaded only by a worker that needs it, so that others start faster. */
async function connect({ isSecure, target }) {
  return (isSecure ? await import('node:tls') : net).connect(target);
}

/** A socket that carries one request at a time, and waits in `kept` for the next. */
class Connection {
  #socket;
  #kept;
  #reader;
  #settle;

  constructor(socket, kept) {
    this.#socket = socket;
    this.#kept = kept;
    socket.setNoDelay(true);
    socket.on('data', (bytes) => this.#take(bytes));
    socket.on('timeout', () => socket.destroy());
    // `close` follows.
    socket.on('error', () => {});
    socket.on('close', () => this.#lose());
  }

  /** Never rejects: an answer that breaks off is not whole, one that never began has status 0. */
  exchange(request, { limitMs, onRequest, onHead }) {
    return new Promise((resolve) => {
      const reader = new AnswerReader(onHead);
      this.#settle = resolve;
      this.#reader = reader;
      this.#socket.setTimeout(limitMs);
      this.#socket.write(request);
      // Only while it is this one: the connection may carry another request by then.
      onRequest?.({ destroy: () => this.#reader === reader && this.#socket.destroy() });
    });
  }

  #take(bytes) {
    const reader = this.#reader;
    // Bytes that nobody asked for.
    if (!reader) return this.#socket.destroy();
    reader.push(bytes);
    if (reader.isBroken) this.#socket.destroy();
    else if (reader.isDone) this.#finish(reader.isReusable);
  }

  #lose() {
    const at = this.#kept.indexOf(this);
    if (at >= 0) this.#kept.splice(at, 1);
    if (!this.#reader) return;
    this.#reader.end();
    this.#finish(false);
  }

  #finish(isReusable) {
    const { status, isDone } = this.#reader;
    const text = isDone ? this.#reader.text() : '';
    const settle = this.#settle;
    this.#reader = undefined;
    this.#settle = undefined;
    if (isReusable) this.#kept.push(this);
    else this.#socket.destroy();
    settle({ status, text, isWhole: isDone });
  }
}

function listOf(map, key) {
  const found = map.get(key);
  if (found) return found;
  const made = [];
  map.set(key, made);
  return made;
}

const origins = new Map();

/** The origin of a URL, taken apart once because each job needs several requests, and what comes after it. */
function split(url) {
  const slash = url.indexOf('/', url.indexOf('://') + 3);
  const text = url.slice(0, slash);
  const origin = origins.get(text) ?? readOrigin(text);
  origins.set(text, origin);
  return { origin, path: url.slice(slash) };
}

function readOrigin(text) {
  const { protocol, hostname, host, port } = new URL(text);
  const isSecure = protocol === 'https:';
  const name = hostname.replace(/^\[|\]$/g, '');
  const target = { host: name, port: Number(port) || (isSecure ? 443 : 80) };
  // A name for the certificate; addresses have none (RFC 6066 §3).
  if (isSecure && net.isIP(name) === 0) target.servername = name;
  return { host, isSecure, target };
}

/**
 * The server's answer, or status 0 when it stayed away: (job, worker) makes a repeated post harmless, so a restarting server loses no
 * result. `url()` is asked anew for each try; the text may be missing. `more` is what each call gets besides.
 */
export async function postUntilTaken(call, url, body, more = {}) {
  const end = Date.now() + POST_LIMIT_MS;
  for (let waitMs = 50; ; waitMs = Math.min(2_000, waitMs * 2)) {
    const answer = await call('POST', url(), { body, limitMs: POST_TRY_MS, isHeadEnough: true, ...more });
    if (answer.status >= 200 && answer.status < 500) return answer;
    if (Date.now() > end) return { status: 0, text: '' };
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}
