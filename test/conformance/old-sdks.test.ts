import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSpoken, type Speaker } from '../speaker.js';
import { openStage, type Stage, until } from '../stage.js';

/** How each generation of the Python worker SDK asks and answers; old SDKs are not installed, their requests are written out. */
interface Generation {
  readonly name: string;
  /** Appended to the take URL. */
  readonly takes: readonly string[];
  /** Asks for several with the batch route. */
  readonly batch?: string;
  /** Appended to the URL of the result. */
  readonly done: string;
  readonly ping: string;
  readonly isListening?: boolean;
  readonly error: Readonly<Record<string, string>>;
}

const OLD_ERROR = { error_type: "<class 'ValueError'>", error_message: 'bad', error_traceback: '…', host_name: 'h', pod_id: 'p' };
const ERROR = { error_type: "<class 'ValueError'>", error_message: 'bad', error_traceback: '…', hostname: 'h', worker_id: 'w' };
const FLAG = '&job_in_progress=0';

const GENERATIONS: readonly Generation[] = [
  { name: '0.9', takes: [''], done: '', ping: '', error: OLD_ERROR },
  { name: '1.2.0', takes: [FLAG], done: '', ping: '&runpod_version=1.2.0', error: OLD_ERROR },
  { name: '1.4', takes: [FLAG], done: '', ping: '&runpod_version=1.4.0', error: ERROR },
  {
    name: '1.6 with several takes at once',
    takes: [FLAG, FLAG, FLAG],
    done: '&isStream=false',
    ping: '&runpod_version=1.6.2',
    error: ERROR,
  },
  { name: '1.7.0', takes: [FLAG], done: '&isStream=false', ping: '&runpod_version=1.7.0', error: ERROR },
  {
    name: '1.7.1 with a batch strategy',
    takes: [],
    batch: `&batch_size=3${FLAG}&batch_strategy=LMove`,
    done: '&isStream=false',
    ping: '&runpod_version=1.7.1',
    error: ERROR,
  },
  { name: '1.7.3', takes: [FLAG], done: '&isStream=false', ping: '&runpod_version=1.7.3', error: ERROR },
  { name: '1.7.11', takes: [], batch: `&batch_size=2${FLAG}`, done: '&isStream=false', ping: '&runpod_version=1.7.11', error: ERROR },
  { name: '1.10', takes: [FLAG], done: '&isStream=false', ping: '&runpod_version=1.10.0', isListening: true, error: ERROR },
  { name: '1.12', takes: [FLAG], done: '&isStream=false', ping: '&runpod_version=1.12.0', isListening: true, error: ERROR },
];

let stage: Stage;
let worker: Speaker;
beforeAll(async () => {
  stage = await openStage();
  worker = await (await openSpoken(stage, 'old', 'scale: { min: 1, max: 1, idle: 1h }\n')).next();
});
afterAll(() => stage.close());

const url = (name: string, jobId = '') =>
  (worker.env[name] ?? '').replaceAll('$RUNPOD_POD_ID', worker.id).replaceAll('$ID', name === 'RUNPOD_WEBHOOK_GET_JOB' ? worker.id : jobId);

async function send(address: string, body?: unknown): Promise<{ status: number; json: unknown }> {
  const headers = {
    authorization: worker.env['RUNPOD_AI_API_KEY'] ?? '',
    'content-type': body === undefined ? 'application/json' : 'application/x-www-form-urlencoded',
  };
  const answer = await fetch(address, { headers, ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }) });
  const text = await answer.text();
  return { status: answer.status, json: text === '' ? undefined : JSON.parse(text) };
}

type Taken = { readonly id: string; readonly input: { readonly n: number } };

describe('a worker with SDK', () => {
  it.each(GENERATIONS)(
    '$name takes jobs, pings, finishes one and fails one (row 39)',
    async ({ takes, batch, done, ping, isListening, error }) => {
      const take = url('RUNPOD_WEBHOOK_GET_JOB');
      const wanted = batch === undefined ? Math.max(2, takes.length) : 2;
      const polls = batch === undefined ? takes.map((more) => send(take + more)) : [];
      const stops = isListening ? send(take.replace('/job-take/', '/job-stop/')) : undefined;
      const submitted = [];
      for (let n = 0; n < wanted; n++) submitted.push((await stage.submit('old', { n })).id);
      const jobs: Taken[] = [];
      if (batch !== undefined) jobs.push(...((await send(take.replace('/job-take/', '/job-take-batch/') + batch)).json as Taken[]));
      else jobs.push(...(await Promise.all(polls)).map(({ json }) => json as Taken));
      const finish = async ({ id, input: { n } }: Taken) => {
        expect((await send(`${url('RUNPOD_WEBHOOK_PING')}&job_id=${id}${ping}`)).status).toBe(200);
        const body = n === 1 ? { error: JSON.stringify(error) } : { output: { n } };
        expect((await send(url('RUNPOD_WEBHOOK_POST_OUTPUT', id) + done, body)).status).toBe(200);
      };
      while (jobs.length > 0) {
        for (const job of jobs.splice(0)) await finish(job);
        const open = await Promise.all(submitted.map(async (id) => (await stage.status('old', id)).status));
        if (open.includes('IN_QUEUE')) jobs.push((await send(take + (takes[0] ?? ''))).json as Taken);
      }
      for (const [n, id] of submitted.entries()) {
        const job = await until(async () => {
          const found = await stage.status('old', id);
          return found.status === (n === 1 ? 'FAILED' : 'COMPLETED') ? found : undefined;
        }, `job ${n} to end`);
        if (n === 1) expect(JSON.parse(String(job.error))).toEqual(error);
        else expect(job.output).toEqual({ n });
      }
      if (stops) {
        // Its poll is still open: cancelling something ends it with the job's name or, at the latest, the hold.
        const { id } = await stage.submit('old', { n: 0 });
        await send(take + FLAG);
        await stage.call(`/v2/old/cancel/${id}`, { method: 'POST' });
        expect((await stops).json).toEqual({ jobsToStop: [id] });
        await worker.ping([]);
      }
    },
  );
});
