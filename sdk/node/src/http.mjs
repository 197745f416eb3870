// Requests to the server over kept connections. Only node:http unless the server's address needs more, so that it starts fast.
import * as http from 'node:http';

/** Longer than workers live without a server: a result is not given up while anybody could still take it. */
const POST_LIMIT_MS = 300_000;
/** Longer than the server holds an answer that brings the next job. */
const POST_TRY_MS = 60_000;

/**
 * `call(method, url, …)` resolves with status and text; status 0 when nothing answered. `onRequest` gets what can be destroyed. With
 * `isHeadEnough` an answer that breaks off keeps its status, without a text.
 */
export async function createCaller(key, isSecure) {
  const { Agent, request } = isSecure ? await import('node:https') : http;
  const agent = new Agent({ keepAlive: true });
  return (method, url, { body, limitMs, onRequest, onHead, isHeadEnough = false }) =>
    new Promise((resolve) => {
      const { protocol, hostname, port, path } = place(url);
      const headers = { authorization: key, 'content-type': 'application/json' };
      if (body !== undefined) headers['content-length'] = Buffer.byteLength(body);
      const failed = () => resolve({ status: 0, text: '' });
      const outgoing = request({ protocol, hostname, port, path, method, headers, agent, timeout: limitMs }, (answer) => {
        onHead?.(answer.statusCode);
        const parts = [];
        const broken = () => (isHeadEnough ? resolve({ status: answer.statusCode, text: '' }) : failed());
        answer.on('data', (part) => parts.push(part));
        answer.on('end', () => resolve({ status: answer.statusCode, text: Buffer.concat(parts).toString() }));
        answer.on('error', broken);
        answer.on('aborted', broken);
      });
      onRequest?.(outgoing);
      outgoing.on('timeout', () => outgoing.destroy());
      outgoing.on('error', failed);
      outgoing.end(body);
    });
}

const origins = new Map();

/** The parts of a URL; the origin is taken apart once, because each job needs several requests. */
function place(url) {
  const slash = url.indexOf('/', url.indexOf('://') + 3);
  const origin = url.slice(0, slash);
  let known = origins.get(origin);
  if (!known) {
    const { protocol, hostname, port } = new URL(origin);
    known = { protocol, hostname, port };
    origins.set(origin, known);
  }
  return { path: url.slice(slash), ...known };
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
