import { expect } from 'vitest';
import { type Stage, until } from '../stage.js';

export interface WorkerRow {
  readonly id: string;
  readonly state: string;
  readonly release: number;
  readonly isCandidate: boolean;
  readonly isStale: boolean;
  readonly reason: string | null;
}

export interface RolloutRow {
  readonly from: number | null;
  readonly to: number;
  readonly state: string;
  readonly share: number;
  readonly reason: string | null;
  readonly provedAt: string | null;
  readonly percentOnLatest: number | null;
}

type Counts = Readonly<Record<'completed' | 'failed' | 'retried' | 'inProgress' | 'inQueue', number>>;

/** Releases of a stage's endpoints through the API: without a build, so that many can be made. */
export function createRollouts(stage: () => Stage) {
  const read = async (path: string) => (await stage().call(`/api/v1/endpoints/${path}`)).json as { items: readonly never[] };

  const workers = async (endpoint: string, all = false): Promise<readonly WorkerRow[]> =>
    (await read(`${endpoint}/workers?all=${all}`)).items;
  const list = async (endpoint: string): Promise<readonly RolloutRow[]> => (await read(`${endpoint}/rollouts`)).items;
  const newest = async (endpoint: string): Promise<RolloutRow> => {
    const [row] = await list(endpoint);
    if (!row) throw new Error(`${endpoint} has no rollout`);
    return row;
  };
  const counts = async (endpoint: string): Promise<Counts> =>
    ((await stage().call(`/v2/${endpoint}/health`)).json as { jobs: Counts }).jobs;
  /** Of the image of the first release. */
  const reference = async (endpoint: string): Promise<string> => {
    const { items } = (await read(`${endpoint}/releases?before=2`)) as {
      items: readonly { image: { repository: string; digest: string } }[];
    };
    const [first] = items;
    return `${first?.image.repository}@${first?.image.digest}`;
  };
  const post = async (endpoint: string, body: object) =>
    stage().call(`/api/v1/endpoints/${endpoint}/releases`, { method: 'POST', body: { reference: await reference(endpoint), ...body } });
  /** Until nothing more happens to the newest rollout by itself. */
  const settled = (endpoint: string) =>
    until(async () => {
      const row = await newest(endpoint);
      return row.state !== 'PROVING' || row.provedAt !== null ? row : undefined;
    }, `the rollout of ${endpoint}`);
  /** A release of the same image with another code. */
  const deploy = async (endpoint: string, code: string, more: object = {}): Promise<RolloutRow> => {
    const answer = await post(endpoint, { spec: { env: { CODE: code } }, ...more });
    expect(answer).toMatchObject({ status: 201 });
    return settled(endpoint);
  };
  return { workers, list, newest, counts, reference, post, settled, deploy };
}
