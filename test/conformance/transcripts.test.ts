import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSpoken, type Speaker, type SpokenEndpoint } from '../speaker.js';
import { openStage, ROOT, type Stage, until } from '../stage.js';

/**
 * Recorded traffic of a real worker (Python package runpod 1.12.0) is replayed in its order: where it got a job, that job is
 * submitted here and taken; what it posted and pinged is posted and pinged with the ids of here. Its states must come out.
 */
const DIR = join(ROOT, 'test/fixtures/transcripts');

/** States by recorded id, from the tables of the worker protocol; a file that is not named has no jobs. */
const EXPECTED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'sync-values': { j1: 'COMPLETED', j2: 'FAILED', j3: 'FAILED', j4: 'FAILED', j5: 'COMPLETED', j6: 'COMPLETED' },
  'unserialisable-progress-refresh': { j7: 'FAILED', j8: 'COMPLETED', j9: 'COMPLETED', j10: 'COMPLETED' },
  'generator-plain': { g1: 'COMPLETED', g2: 'FAILED', g3: 'FAILED', g4: 'FAILED' },
  'generator-aggregated': { g1: 'COMPLETED', g2: 'FAILED', g3: 'FAILED', g4: 'FAILED' },
  'concurrent-and-stop': { c1: 'CANCELLED', c2: 'COMPLETED', c3: 'COMPLETED', c4: 'COMPLETED', c5: 'COMPLETED' },
  'result-retries': { d1: 'COMPLETED', d2: 'COMPLETED', d3: 'COMPLETED', d4: 'COMPLETED' },
  'sigterm-busy': { k1: 'COMPLETED' },
  // It exited: the job waits for another worker.
  'handler-exits': { e1: 'IN_QUEUE' },
  // Its blocked handler let a late result go.
  'stop-of-blocking-handler': { y1: 'CANCELLED', y2: 'COMPLETED' },
  'refresh-worker': { r1: 'COMPLETED' },
  'take-error-statuses': { z1: 'COMPLETED' },
  'steady-polling': { f1: 'COMPLETED' },
};

/** Outputs and errors that must come back as they were posted. */
const VALUES: Readonly<Record<string, Readonly<Record<string, object>>>> = {
  'sync-values': {
    j3: { error: 'custom', output: { x: 1 } },
    j4: { error: { code: 7 }, output: { x: 1 } },
    j5: { output: null },
    j6: { output: null },
  },
  'generator-plain': { g1: { output: [] }, g3: { error: 'mid' }, g4: { error: "{'message': 'm', 'code': None}" } },
  'generator-aggregated': { g1: { output: [{ tok: 0 }, { tok: 1 }, { tok: 2 }] } },
};

type Event =
  | { readonly kind: 'take'; readonly isBusy: boolean }
  | { readonly kind: 'jobs'; readonly jobs: readonly { readonly id: string; readonly input: unknown }[] }
  | { readonly kind: 'stop'; readonly ids: readonly string[] }
  | { readonly kind: 'post'; readonly verb: string; readonly id: string; readonly body: string; readonly isStream: boolean }
  | { readonly kind: 'ping'; readonly ids: readonly string[]; readonly more: string };

let stage: Stage;
let spoken: SpokenEndpoint;
let worker: Speaker;
beforeAll(async () => {
  stage = await openStage();
  spoken = await openSpoken(stage, 'replay', 'scale: { min: 1, max: 1, idle: 1h }\n');
  worker = await spoken.next();
});
afterAll(() => stage.close());

function readEvents(file: string): readonly Event[] {
  const lines = readFileSync(join(DIR, file), 'utf8').split('\n');
  return lines.flatMap((line): readonly Event[] => {
    const answer = /^ *[\d.]+ +-> 200 (.+)$/.exec(line);
    if (answer) return readAnswer(JSON.parse(answer[1] ?? 'null'));
    const take = /GET \/v2\/ep1\/job-take\S*job_in_progress=(0|1)/.exec(line);
    if (take) return [{ kind: 'take', isBusy: take[1] === '1' }];
    const post = /POST \/v2\/ep1\/(job-done|job-stream)\/w-abc\/([\w-]+)\?\S*isStream=(true|false).* BODY (.*)$/.exec(line);
    if (post) return [{ kind: 'post', verb: post[1] ?? '', id: post[2] ?? '', isStream: post[3] === 'true', body: post[4] ?? '' }];
    const ping = /GET \/v2\/ep1\/ping\/w-abc\?(\S*) /.exec(line);
    if (!ping) return [];
    const query = new URLSearchParams(ping[1]);
    const unhealthy = ['status', 'check', 'reason'].flatMap((name) =>
      query.has(name) ? [`&${name}=${encodeURIComponent(query.get(name) ?? '')}`] : [],
    );
    return [{ kind: 'ping', ids: (query.get('job_id') ?? '').split(',').filter((id) => id !== ''), more: unhealthy.join('') }];
  });
}

function readAnswer(body: unknown): readonly Event[] {
  const { jobsToStop } = body as { jobsToStop?: string[] };
  if (jobsToStop) return [{ kind: 'stop', ids: jobsToStop }];
  const jobs = (Array.isArray(body) ? body : [body]) as { id?: string; input?: unknown }[];
  const known = jobs.flatMap(({ id, input }) => (id === undefined ? [] : [{ id, input }]));
  return known.length > 0 ? [{ kind: 'jobs', jobs: known }] : [];
}

/** Another worker takes over when this one was replaced. */
async function present(): Promise<Speaker> {
  if (worker.isAlive()) return worker;
  worker = await spoken.next();
  await worker.ping();
  return worker;
}

/** Takes until the wanted jobs are there; a job that was lost comes by once more, and is lost again. */
async function takeAll(wanted: readonly string[], isBusy: boolean): Promise<void> {
  const missing = new Set(wanted);
  await until(async () => {
    const speaker = await present();
    for (const { id } of await speaker.takeBatch(missing.size, { busy: isBusy })) missing.delete(id);
    return missing.size === 0;
  }, 'the jobs to be taken');
}

async function replay(events: readonly Event[]): Promise<ReadonlyMap<string, string>> {
  const ids = new Map<string, string>();
  let isBusy = false;
  const idOf = (recorded: string) => ids.get(recorded) ?? 'unknown';
  for (const event of events) {
    if (event.kind === 'take') isBusy = event.isBusy;
    else if (event.kind === 'jobs') {
      for (const { id, input } of event.jobs) ids.set(id, (await stage.submit('replay', input)).id);
      await takeAll(
        event.jobs.map(({ id }) => idOf(id)),
        isBusy,
      );
    } else if (event.kind === 'stop') {
      for (const id of event.ids.filter((known) => ids.has(known))) {
        // It listened: so that it is told, and not ended at once.
        const told = worker.stops();
        await stage.call(`/v2/replay/cancel/${idOf(id)}`, { method: 'POST' });
        expect(await told).toEqual([idOf(id)]);
      }
    } else if (event.kind === 'ping') await worker.ping(event.ids.map(idOf), event.more);
    else {
      const send =
        event.verb === 'job-done' ? worker.done(idOf(event.id), event.body, event.isStream) : worker.chunk(idOf(event.id), event.body);
      expect((await send).status).toBe(200);
    }
  }
  return ids;
}

describe('recorded traffic of a real worker', () => {
  const files = readdirSync(DIR)
    .filter((file) => file.endsWith('.wire'))
    .map((file) => basename(file, '.wire'));

  it.each(files)('%s gives the right states', async (name) => {
    const ids = await replay(readEvents(`${name}.wire`));
    if (name === 'handler-exits') process.kill(worker.pid, 'SIGKILL');
    // A job that was never answered for shows when the worker asks for the next one.
    if (name === 'unserialisable-progress-refresh') await present();
    expect([...ids.keys()].sort()).toEqual(Object.keys(EXPECTED[name] ?? {}).sort());
    for (const [recorded, state] of Object.entries(EXPECTED[name] ?? {})) {
      const id = ids.get(recorded) ?? '';
      const job = await until(
        async () => {
          const found = await stage.status('replay', id);
          return found.status === state ? found : undefined;
        },
        `${recorded} to be ${state}`,
        20_000,
      );
      expect(job).toMatchObject(VALUES[name]?.[recorded] ?? {});
    }
    await stage.call('/v2/replay/purge-queue', { method: 'POST' });
    await present();
  });

  it('is complete: each file is looked at', () => {
    expect(files.length).toBe(14);
  });
});
