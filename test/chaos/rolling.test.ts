import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { nodeProject } from '../journey/projects.js';
import { createRollouts } from '../journey/rollouts.js';
import { openStage, type Stage, until } from '../stage.js';

/** A sample by default; `WHERRY_ROLL_JOBS=10000 WHERRY_ROLL_MOVES=50` is the whole of row D6. */
const JOBS = Number(process.env['WHERRY_ROLL_JOBS'] ?? 1_000);
const MOVES = Number(process.env['WHERRY_ROLL_MOVES'] ?? 8);
/** Jobs that are not finished, at most. */
const IN_FLIGHT = 60;
const LIMIT_MS = 60_000 + JOBS * 60 + MOVES * 5_000;

/** Writes each run down, and answers with the code that ran. */
const HANDLER = `
import { appendFileSync } from 'node:fs';
export async function handler({ id, input }) {
  appendFileSync(input.file, id + ' ' + process.env.CODE + '\\n');
  await new Promise((resolve) => setTimeout(resolve, input.ms));
  return process.env.CODE;
}
`;

let stage: Stage;

/** Held by the server: sixty clients that ask again and again would be the load. */
async function finish(id: string): Promise<Ended> {
  for (;;) {
    const job = (await stage.call(`/v2/roll/status-sync/${id}?wait=20000`)).json as Ended;
    if (job.status !== 'IN_QUEUE' && job.status !== 'IN_PROGRESS') return job;
  }
}
afterEach(() => stage.close());

interface Ended {
  readonly id: string;
  readonly status: string;
  readonly output?: unknown;
  readonly error?: unknown;
}

describe('releases that roll under load', () => {
  it(
    `lose none of ${JOBS} jobs in ${MOVES} deploys, rollbacks, promoted and aborted canaries, fail none and run none twice (D6)`,
    async () => {
      stage = await openStage();
      const rollouts = createRollouts(() => stage);
      const settings = 'env: { CODE: c0 }\nscale: { max: 4, type: requestCount, value: 8, idle: 2s }\n';
      await stage.cli('deploy', stage.project('roll', nodeProject('roll', HANDLER, settings)));
      const file = join(stage.dir, 'runs');
      const ended: Ended[] = [];
      let sent = 0;
      const client = async () => {
        while (sent < JOBS) {
          const { id } = await stage.submit('roll', { file, ms: sent++ % 40 });
          ended.push(await finish(id));
        }
      };
      const clients = Array.from({ length: IN_FLIGHT }, client);

      const step = (action: string) => stage.call('/api/v1/endpoints/roll/rollout', { method: 'POST', body: { action } });
      const moves = [
        (code: string) => rollouts.deploy('roll', code),
        async () => {
          expect(await stage.call('/api/v1/endpoints/roll/rollback', { method: 'POST', body: {} })).toMatchObject({ status: 201 });
          await rollouts.settled('roll');
        },
        (code: string) => rollouts.deploy('roll', code, { canary: 30 }).then(() => step('promote')),
        (code: string) => rollouts.deploy('roll', code, { canary: 60 }).then(() => step('abort')),
      ];
      for (let move = 0; move < MOVES; move++) {
        await until(() => ended.length >= (move * JOBS) / (MOVES + 1), `the jobs before move ${move}`, LIMIT_MS);
        await moves[move % moves.length]?.(`c${move + 1}`);
      }
      await Promise.all(clients);

      const listed = await rollouts.list('roll');
      expect(listed.length).toBe(Math.min(100, MOVES + 1));
      expect(listed.filter(({ state }) => state !== 'DONE' && state !== 'REVERTED')).toEqual([]);
      expect(ended.filter(({ status }) => status !== 'COMPLETED')).toEqual([]);
      expect(new Set(ended.map(({ id }) => id)).size).toBe(JOBS);
      expect(await rollouts.counts('roll')).toEqual({ completed: JOBS, failed: 0, retried: 0, inProgress: 0, inQueue: 0 });
      const runs = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];
      expect(runs.toSorted()).toEqual(ended.map(({ id, output }) => `${id} ${String(output)}`).toSorted());
      expect(new Set(ended.map(({ output }) => output)).size).toBeGreaterThan(MOVES / 4);
    },
    LIMIT_MS,
  );
});
