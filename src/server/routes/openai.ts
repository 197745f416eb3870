import { once } from 'node:events';
import { type Ending, toAbortSignal } from '../../base/ending.js';
import { toWherryError, WherryError } from '../../base/errors.js';
import type { EndpointSettings } from '../../domain/endpoint.js';
import { isTerminal, JOB_LIMITS, type Job } from '../../domain/job.js';
import type { Engine, JobName } from '../../engine/engine.js';
import { type Exchange, sendJson } from '../exchange.js';
import { readLimited } from '../submission.js';

/**
 * The OpenAI-compatible route (job-api §7): the request becomes a job for a worker that speaks worker-vllm's formats, its output
 * the answer. Held as long as the job may take, cold start and all; a client that goes away cancels its job.
 */
export async function serveOpenai(
  engine: Engine,
  exchange: Exchange,
  { endpointId, limits }: { readonly endpointId: string; readonly limits: EndpointSettings['limits'] },
): Promise<void> {
  const { input, isStream } = await readRequest(exchange, endpointId, limits.runsyncBytes ?? JOB_LIMITS.runsyncBytes);
  const job = await engine.submit({ endpointId, isSync: true, input, extras: null });
  const name = { endpointId, jobId: job.id };
  const cancelWhenLeft = () => {
    if (!exchange.response.writableFinished) engine.cancel(endpointId, job.id).catch(() => {});
  };
  exchange.response.once('close', cancelWhenLeft);
  if (isStream) await sendStream(engine, exchange, name);
  else await sendWhole(engine, exchange, name);
}

/** A failure as OpenAI's clients read it. */
export function sendOpenaiFailure(exchange: Exchange, thrown: unknown): void {
  const { status, code, message } = toWherryError(thrown);
  sendJson(exchange, status, formatError({ message, type: status < 500 ? 'invalid_request_error' : 'server_error', code }));
}

interface OpenaiError {
  readonly message: string;
  readonly type: string;
  readonly code: string;
}

const formatError = (error: OpenaiError) => JSON.stringify({ error });

/** The body goes to the worker as the client wrote it. */
async function readRequest(
  exchange: Exchange,
  endpointId: string,
  limitBytes: number,
): Promise<{ readonly input: string; readonly isStream: boolean }> {
  const route = exchange.path.slice(`/v2/${endpointId}/openai`.length);
  if (!route.startsWith('/v1/')) throw new WherryError('NOT_FOUND', `'${route}' is not an OpenAI route; they begin with /v1/`);
  const named = `"openai_route":${JSON.stringify(route)}`;
  if (exchange.method === 'GET') return { input: `{${named}}`, isStream: false };
  const text = await readLimited(exchange, limitBytes);
  return { input: `{${named},"openai_input":${text}}`, isStream: wantsStream(text) };
}

function wantsStream(text: string): boolean {
  try {
    const body: unknown = JSON.parse(text);
    return typeof body === 'object' && body !== null && 'stream' in body && body.stream === true;
  } catch (cause) {
    throw new WherryError('REQUEST_INVALID', 'the body is not JSON', { cause });
  }
}

async function sendWhole(engine: Engine, exchange: Exchange, { endpointId, jobId }: JobName): Promise<void> {
  let job = await engine.getJob(endpointId, jobId);
  while (!isTerminal(job.state) && !exchange.signal.aborted) {
    job = await engine.waitFor({ endpointId, jobId }, JOB_LIMITS.waitMs.max, exchange.signal);
  }
  if (job.state !== 'COMPLETED') return sendJson(exchange, isTerminal(job.state) ? 500 : 503, formatError(errorOf(job)));
  const output = unwrap(JSON.parse(job.output ?? 'null'));
  sendJson(exchange, statusOf(output), JSON.stringify(output));
}

/** An aggregated answer is a list with the one object. */
function unwrap(output: unknown): unknown {
  return Array.isArray(output) && output.length === 1 ? output[0] : output;
}

/** The worker's own error decides the status when it names one. */
function statusOf(output: unknown): number {
  if (typeof output !== 'object' || output === null || !('error' in output) || !output.error) return 200;
  const { code } = output.error as { readonly code?: unknown };
  return typeof code === 'number' && code >= 400 && code <= 599 ? code : 500;
}

function errorOf({ id, state, error }: Job): OpenaiError {
  if (!isTerminal(state)) return { message: `the server stops; job ${id} goes on`, type: 'server_error', code: state };
  return { message: error === null ? `the job ended as ${state}` : messageOf(error), type: 'server_error', code: state };
}

/** RunPod's SDKs put an object into a text into JSON; its message is what a person wants to read. */
function messageOf(error: string): string {
  try {
    const value: unknown = JSON.parse(error);
    const inner = (typeof value === 'string' ? JSON.parse(value) : value) as { readonly error_message?: unknown };
    if (typeof inner?.error_message === 'string') return inner.error_message;
  } catch {
    // Not such an object: shown as it is.
  }
  const plain: unknown = JSON.parse(error);
  return typeof plain === 'string' ? plain : error;
}

/** Chunks as they come, without framing of our own. Nothing is sent before the first: until then a failure has its status. */
async function sendStream(engine: Engine, exchange: Exchange, name: JobName): Promise<void> {
  const { response } = exchange;
  const signal = toAbortSignal(exchange.signal);
  const write = async (text: string) => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    if (!response.write(text)) await once(response, 'drain', { signal });
  };
  const failure = await passOn(engine, { name, signal, write });
  if (response.destroyed) return;
  if (failure && !response.headersSent) return sendJson(exchange, 500, formatError(failure));
  await write(failure ? `data: ${formatError(failure)}\n\n` : '');
  response.end();
}

interface Passing {
  readonly name: JobName;
  readonly signal: Ending;
  readonly write: (text: string) => Promise<void>;
}

/** Why the stream ended before its job completed; undefined when it did not. */
async function passOn(engine: Engine, { name, signal, write }: Passing): Promise<OpenaiError | undefined> {
  try {
    for await (const chunks of engine.followStream(name, signal)) {
      for (const chunk of chunks) await write(textOf(chunk));
    }
    const job = await engine.getJob(name.endpointId, name.jobId);
    return job.state === 'COMPLETED' ? undefined : errorOf(job);
  } catch (thrown) {
    const { message, code } = toWherryError(thrown);
    return { message, type: 'server_error', code };
  }
}

/** A chunk is text of events, or a list of such texts; an object of another worker is framed as one event. */
function textOf(chunk: string): string {
  const value: unknown = JSON.parse(chunk);
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && value.every((part) => typeof part === 'string')) return value.join('');
  return `data: ${chunk}\n\n`;
}
