import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage } from '../stage.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('race', nodeProject('race', ECHO, 'scale: { min: 2, max: 2 }\n')));
});
afterAll(() => stage.close());

const cancel = (id: string) => stage.call(`/v2/race/cancel/${id}`, { method: 'POST' });

describe('cancel', () => {
  it('racing the end of a job leaves one terminal state that every later answer repeats (B4)', async () => {
    const ends = { CANCELLED: 0, COMPLETED: 0 };
    // Until both sides won some races, else this proves nothing.
    for (let round = 0; round < 40 || (round < 400 && (ends.CANCELLED === 0 || ends.COMPLETED === 0)); round++) {
      const jobs = await Promise.all(Array.from({ length: 5 }, () => stage.submit('race', { value: round, sleepMs: round % 40 })));
      // From at once to after the end: jobs of a later round take longer, and each of a round is cancelled a little later than the one before.
      const cancelled = await Promise.all(
        jobs.map(async ({ id }, index) => {
          for (let looks = 0; looks < index + (round % 4); looks++) await stage.status('race', id);
          return cancel(id);
        }),
      );
      for (const [index, { id }] of jobs.entries()) {
        const first = cancelled[index]?.json as { status: keyof typeof ends; output?: unknown };
        expect(first.status).toBeOneOf(['CANCELLED', 'COMPLETED']);
        ends[first.status] += 1;
        expect((await cancel(id)).json).toEqual(first);
        expect(await stage.status('race', id)).toEqual(first);
        if (first.status === 'CANCELLED') expect(first).not.toHaveProperty('output');
      }
    }
    expect(ends.CANCELLED).toBeGreaterThan(0);
    expect(ends.COMPLETED).toBeGreaterThan(0);
    const { jobs } = (await stage.call('/v2/race/health')).json as { jobs: Record<string, number> };
    expect(jobs).toMatchObject({ completed: ends.COMPLETED, failed: 0, inQueue: 0, inProgress: 0 });
  });

  it('twice at once is one cancel, and of an unknown job is 404 (B4)', async () => {
    const job = await stage.submit('race', { sleepMs: 30_000 });
    const answers = await Promise.all(Array.from({ length: 10 }, () => cancel(job.id)));
    for (const { status, json } of answers) expect([status, json]).toEqual([200, expect.objectContaining({ status: 'CANCELLED' })]);
    expect((await cancel('00000000-0000-7000-8000-000000000000')).status).toBe(404);
  });
});
