import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Stage, until } from './stage.js';

/** Writes down what it was started with and then does nothing: a test speaks for it. */
const SILENT = `
import { writeFileSync, renameSync } from 'node:fs';
const { env } = process;
writeFileSync(env.SPEAKER_DIR + '/' + env.RUNPOD_POD_ID + '.new', JSON.stringify({ ...env, pid: process.pid }));
renameSync(env.SPEAKER_DIR + '/' + env.RUNPOD_POD_ID + '.new', env.SPEAKER_DIR + '/' + env.RUNPOD_POD_ID + '.json');
setInterval(() => {}, 60_000);
await new Promise(() => {});
export const handler = () => null;
`;

interface Answer {
  readonly status: number;
  readonly json: unknown;
}

/** One worker process of an endpoint, spoken for on the wire as an SDK would: same URLs, same headers, same placeholders. */
export interface Speaker {
  readonly id: string;
  readonly pid: number;
  readonly env: Readonly<Record<string, string>>;
  /** The next job, or undefined after a 204. */
  take(options?: { readonly busy?: boolean }): Promise<{ readonly id: string; readonly input: unknown } | undefined>;
  takeBatch(size: number, options?: { readonly busy?: boolean }): Promise<readonly { readonly id: string; readonly input: unknown }[]>;
  done(jobId: string, body: unknown, isStream?: boolean): Promise<Answer>;
  /** Posts a result and asks for the next job with it; resolves at the head of the answer, `next` with its body. */
  doneAndNext(jobId: string, body: unknown): Promise<{ readonly status: number; next(): Promise<unknown>; leave(): void }>;
  stream(jobId: string, output: unknown, number?: number): Promise<Answer>;
  /** A chunk with its body as text. */
  chunk(jobId: string, body: string): Promise<Answer>;
  ping(jobIds?: readonly string[], more?: string): Promise<Answer>;
  /** Ids to stop; empty after a 204. */
  stops(): Promise<readonly string[]>;
  isAlive(): boolean;
}

/** An endpoint whose workers a test speaks for. */
export interface SpokenEndpoint {
  /** The next worker process that was started and is not spoken for yet. */
  next(): Promise<Speaker>;
}

/** Deploys a silent handler as `name` and proves it with its first worker, which then is the first `next()`. */
export async function openSpoken(stage: Stage, name: string, settings = ''): Promise<SpokenEndpoint> {
  const dir = stage.project(`${name}-workers`, { 'readme.txt': 'what the workers were started with' });
  const files = {
    'wherry.yaml': `name: ${name}\nhandler: handler.mjs:handler\nbase: scratch\nenv: { SPEAKER_DIR: ${JSON.stringify(dir)} }\n${settings}`,
    'handler.mjs': SILENT,
  };
  const taken = new Set<string>();
  const next = async (): Promise<Speaker> => {
    const file = await until(
      () => readdirSync(dir).find((found) => found.endsWith('.json') && !taken.has(found)),
      `a worker of ${name} to start`,
    );
    taken.add(file);
    return createSpeaker(JSON.parse(readFileSync(join(dir, file), 'utf8')) as Record<string, string>);
  };
  const deployed = stage.cli('deploy', stage.project(name, files));
  const first = await next();
  await first.ping();
  await deployed;
  const waiting = [first];
  return { next: async () => waiting.pop() ?? (await next()) };
}

function createSpeaker(env: Record<string, string>): Speaker {
  const id = env['RUNPOD_POD_ID'] ?? '';
  const pid = Number(env['pid']);
  const call = async (url: string, init: { method?: string; body?: string; form?: boolean } = {}): Promise<Answer> => {
    const type = init.body === undefined ? 'application/json' : 'application/x-www-form-urlencoded';
    const answer = await fetch(url, {
      method: init.method ?? 'GET',
      headers: { authorization: env['RUNPOD_AI_API_KEY'] ?? '', 'content-type': type, charset: 'utf-8' },
      ...(init.body !== undefined && { body: init.body }),
    });
    const text = await answer.text();
    return { status: answer.status, json: text === '' ? undefined : JSON.parse(text) };
  };
  const take = (env['RUNPOD_WEBHOOK_GET_JOB'] ?? '').replaceAll('$ID', id);
  const fill = (template: string | undefined, jobId: string) => (template ?? '').replaceAll('$RUNPOD_POD_ID', id).replaceAll('$ID', jobId);
  const flag = (busy = false) => `job_in_progress=${busy ? 1 : 0}`;
  const post = (template: string | undefined, jobId: string, { body, isStream }: { body: unknown; isStream: boolean }) =>
    call(`${fill(template, jobId)}&isStream=${isStream}`, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  return {
    id,
    pid,
    env,
    take: async ({ busy } = {}) => (await call(`${take}&${flag(busy)}`)).json as { id: string; input: unknown } | undefined,
    takeBatch: async (size, { busy } = {}) => {
      const url = take.replace('/job-take/', '/job-take-batch/');
      return ((await call(`${url}&batch_size=${size}&${flag(busy)}`)).json ?? []) as { id: string; input: unknown }[];
    },
    done: (jobId, body, isStream = false) => post(env['RUNPOD_WEBHOOK_POST_OUTPUT'], jobId, { body, isStream }),
    doneAndNext: async (jobId, body) => {
      const leaving = new AbortController();
      const answer = await fetch(`${fill(env['RUNPOD_WEBHOOK_POST_OUTPUT'], jobId)}&isStream=false&next=1`, {
        method: 'POST',
        headers: { authorization: env['RUNPOD_AI_API_KEY'] ?? '' },
        body: JSON.stringify(body),
        signal: leaving.signal,
      });
      return { status: answer.status, next: () => answer.json(), leave: () => leaving.abort() };
    },
    stream: (jobId, output, number) => {
      const template = env['RUNPOD_WEBHOOK_POST_STREAM'];
      const numbered = number === undefined ? template : `${template}&chunk=${number}`;
      return post(numbered, jobId, { body: { output }, isStream: false });
    },
    chunk: (jobId, body) => post(env['RUNPOD_WEBHOOK_POST_STREAM'], jobId, { body, isStream: false }),
    ping: (jobIds = [], more = '') =>
      call(`${fill(env['RUNPOD_WEBHOOK_PING'], '')}${jobIds.length > 0 ? `&job_id=${jobIds.join(',')}` : ''}&runpod_version=1.12.0${more}`),
    stops: async () => {
      const { json } = await call(take.replace('/job-take/', '/job-stop/'));
      return (json as { jobsToStop?: string[] } | undefined)?.jobsToStop ?? [];
    },
    isAlive: () => existsSync(`/proc/${pid}`),
  };
}
