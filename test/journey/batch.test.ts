import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** The batch API (job-api §9). */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('many', nodeProject('many', ECHO, 'scale: { max: 2, idle: 2s }\n')));
  await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'parked', settings: { scale: { max: 0 } } } });
});
afterAll(() => stage.close());

interface BatchAnswer {
  readonly id: string;
  readonly status: string;
  readonly requestTotal: number;
  readonly requestInProgress: number;
  readonly requestCompleted: number;
  readonly requestFailed: number;
}
interface Page {
  readonly requests: readonly { readonly id: string; readonly status: string; readonly output?: unknown; readonly error?: unknown }[];
  readonly total: number;
  readonly hasMore: boolean;
}

const ask = async <T>(endpoint: string, path = '', method = 'GET', body?: unknown) => {
  const { status, json } = await stage.call(`/v2/${endpoint}/batch${path}`, { method, ...(body !== undefined && { body }) });
  return { status, json: json as T };
};
const make = async (endpoint: string, inputs: readonly unknown[]) =>
  (
    await ask<BatchAnswer>(
      endpoint,
      '',
      'POST',
      inputs.map((input) => ({ input })),
    )
  ).json;

describe('a batch (row 65)', () => {
  it('is collected, finalized, run from zero workers after normal jobs, and read with its results', async () => {
    const draft = await make('many', [{ value: 1 }, { throw: 'no' }]);
    expect(draft).toMatchObject({ id: expect.stringMatching(/^batch_/), status: 'DRAFT', requestTotal: 2 });
    const { json: added } = await ask<{ ids: string[] }>('many', `/${draft.id}/requests`, 'POST', {
      requests: [{ input: { value: 1.0 } }, { input: { job: true } }, { input: 'gone' }],
    });
    await ask('many', `/${draft.id}/requests/${added.ids[2]}`, 'DELETE');
    expect((await ask<BatchAnswer>('many', `/${draft.id}`, 'PUT', { name: 'night run' })).json).toMatchObject({ name: 'night run' });
    expect((await ask<BatchAnswer>('many', `/${draft.id}/finalize`, 'POST')).json).toMatchObject({ status: 'FINALIZED', requestTotal: 4 });
    const done = await until(async () => {
      const { json } = await ask<BatchAnswer>('many', `/${draft.id}`);
      return json.requestCompleted + json.requestFailed === json.requestTotal ? json : undefined;
    }, 'the batch to be done');
    expect(done).toMatchObject({ status: 'FINALIZED', requestTotal: 4, requestInProgress: 0, requestCompleted: 3, requestFailed: 1 });
    const { json: page } = await ask<Page>('many', `/${draft.id}/requests?offset=0&limit=3`);
    expect(page).toMatchObject({ total: 4, offset: 0, limit: 3, hasMore: true });
    const { json: rest } = await ask<Page>('many', `/${draft.id}/requests?offset=3`);
    expect(rest).toMatchObject({ hasMore: false });
    const all = [...page.requests, ...rest.requests];
    expect(all.find(({ id }) => id === added.ids[1])?.output).toMatchObject({ batchId: draft.id });
    expect(all.filter(({ status }) => status === 'FAILED')).toHaveLength(1);
    expect(await stage.status('many', added.ids[0] ?? '')).toMatchObject({ status: 'COMPLETED', output: 1 });
  });

  it('cannot be changed once it is finalized; finalizing again changes nothing', async () => {
    const { id } = await make('parked', [1]);
    const finalize = () => ask<BatchAnswer>('parked', `/${id}/finalize`, 'POST');
    expect((await finalize()).json.requestTotal).toBe(1);
    expect((await finalize()).json.requestTotal).toBe(1);
    expect((await ask('parked', `/${id}/requests`, 'POST', { requests: [{ input: 2 }] })).status).toBe(409);
    expect(((await stage.call('/v2/parked/health')).json as { jobs: { inQueue: number } }).jobs.inQueue).toBe(1);
    await ask('parked', `/${id}/cancel`, 'POST');
  });

  it('ends its queued requests when it is cancelled', async () => {
    const { id } = await make('parked', [1, 2, 3]);
    await ask('parked', `/${id}/finalize`, 'POST');
    expect((await ask<BatchAnswer>('parked', `/${id}/cancel`, 'POST')).json).toMatchObject({ status: 'CANCELLED', requestFailed: 3 });
    const draft = await make('parked', [1]);
    expect((await ask<BatchAnswer>('parked', `/${draft.id}/cancel`, 'POST')).json).toMatchObject({ status: 'CANCELLED', requestTotal: 0 });
    expect((await ask('parked', `/${draft.id}/finalize`, 'POST')).status).toBe(409);
  });

  it('lists batches newest first and refuses more than ten that are not done', async () => {
    const made: string[] = [];
    for (let n = 0; n < 10; n++) made.push((await make('parked', [])).id);
    expect(
      (await ask<BatchAnswer[]>('parked')).json
        .slice(0, 10)
        .map(({ id }) => id)
        .sort(),
    ).toEqual([...made].sort());
    expect((await ask('parked', '', 'POST', [])).status).toBe(429);
    for (const id of made) await ask('parked', `/${id}/cancel`, 'POST');
  });

  it('keeps a draft and runs what was finalized over a kill of the server', async () => {
    const draft = await make('parked', [1, 2]);
    const finalized = await make('parked', [3]);
    await ask('parked', `/${finalized.id}/finalize`, 'POST');
    await stage.kill();
    await stage.restart();
    expect((await ask<BatchAnswer>('parked', `/${draft.id}`)).json).toMatchObject({ status: 'DRAFT', requestTotal: 2 });
    expect((await ask<Page>('parked', `/${finalized.id}/requests`)).json.requests).toMatchObject([{ status: 'IN_QUEUE' }]);
  });

  it.each([
    ['no list', '', {}],
    ['a request without input', '', [{ other: 1 }]],
    ['no JSON', '', 'x'],
    ['an unknown batch', '/batch_unknown/finalize', {}],
    ['an unknown path', '/batch_unknown/other', {}],
  ])('answers %s with a clear 4xx', async (_what, path, body) => {
    const { status, json } = await ask<{ error: string }>('parked', path, 'POST', body);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
    expect(json.error).not.toBe('');
  });
});
