import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EndpointWhyView, ReleaseView, SecretView, WorkerView } from '../../src/api/resources.js';
import { openStage, runCli, type Stage, until } from '../stage.js';
import { filesWith } from './canary.js';
import { HASHES, nodeProject } from './projects.js';

const newValue = () => `canary-${randomBytes(12).toString('hex')}\nsecond line`;
const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');
const SETTINGS = `secrets: [TOKEN]
env: { URL: 'x://ada:{{ RUNPOD_SECRET_db/pass-word }}@host', PLAIN: plain }
scale: { max: 1, idle: 1s }
`;

let stage: Stage;
let token = newValue();
const password = newValue();
beforeAll(async () => {
  stage = await openStage({ WHERRY_LOG: 'debug' });
});
afterAll(() => stage.close());

const set = (name: string, value: string) =>
  runCli(['secrets', 'set', name, '--json', '--data', stage.dataDir], { input: `${value}\n` }).then(({ code, stdout }) => {
    expect(code).toBe(0);
    return JSON.parse(stdout) as SecretView;
  });
const deploy = (settings = SETTINGS) => stage.tryCli('deploy', stage.project('vault', nodeProject('vault', HASHES, settings)));
const read = async <T>(path: string) => (await stage.call(`/api/v1/endpoints/vault${path}`)).json as T;
const listReleases = async () => (await read<{ items: ReleaseView[] }>('/releases')).items;
const listWorkers = async () => (await read<{ items: WorkerView[] }>('/workers')).items;
const seen = async (...names: readonly string[]) => (await stage.runsync('vault', names)).output;

describe('secrets (row 83)', () => {
  it('are wanted at the deploy, which says what is missing and how to store it', async () => {
    const refused = await deploy();
    expect(refused.code).toBe(4);
    expect(refused.stderr).toContain("SECRET_UNKNOWN  'vault' needs the secrets 'TOKEN', 'db/pass-word', which are not stored");
    expect(refused.stderr).toContain('wherry secrets set TOKEN');
    expect((await stage.call('/api/v1/endpoints/vault')).status).toBe(404);
  });

  it('are stored, listed without values, and seen by the handler: as variables and inside of others', async () => {
    expect(await set('TOKEN', token)).toEqual({ name: 'TOKEN', createdAt: expect.any(String), updatedAt: expect.any(String), usedBy: [] });
    expect(await stage.cli('secrets', 'set', 'db/pass-word', password)).toContain('is stored');
    expect(await deploy()).toMatchObject({ code: 0 });
    expect(await seen('TOKEN', 'URL', 'PLAIN')).toEqual([token, `x://ada:${password}@host`, 'plain'].map(hashOf));
    const listed = JSON.parse(await stage.cli('secrets', 'list', '--json')) as { items: SecretView[] };
    expect(listed.items.map(({ name, usedBy }) => [name, usedBy])).toEqual([
      ['TOKEN', ['vault@r1']],
      ['db/pass-word', ['vault@r1']],
    ]);
    const [release] = await listReleases();
    expect(release?.spec).toMatchObject({ secrets: ['TOKEN'], env: { URL: 'x://ada:{{ RUNPOD_SECRET_db/pass-word }}@host' } });
  });

  it('have another value without a release: who has the one before ends, a frozen worker too', async () => {
    const frozen = await until(async () => (await listWorkers()).find(({ state }) => state === 'FROZEN'), 'a frozen worker');
    const before = await set('TOKEN', token);
    expect((await listWorkers()).map(({ id }) => id)).toEqual([frozen.id]);
    token = newValue();
    const after = await set('TOKEN', token);
    expect(after.createdAt).toBe(before.createdAt);
    expect(after.updatedAt > before.updatedAt).toBe(true);
    expect(await seen('TOKEN')).toEqual([hashOf(token)]);
    expect((await listWorkers()).map(({ id }) => id)).not.toContain(frozen.id);
    expect(await listReleases()).toHaveLength(1);
  });

  it('are refused to go while a release in use needs them; without one workers do not start, and why says so', async () => {
    const refused = await stage.tryCli('secrets', 'rm', 'TOKEN');
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain("SECRET_IN_USE  the secret 'TOKEN' is needed by vault@r1");
    await set('TOKEN', newValue());
    await until(async () => (await listWorkers()).length === 0, 'the worker to end');
    await stage.cli('secrets', 'rm', 'TOKEN', '--force');
    const job = await stage.submit('vault', ['TOKEN']);
    const waiting = await until(async () => {
      const why = await read<EndpointWhyView>('/why');
      return why.waiting?.reason === 'no-capacity' ? why.waiting : undefined;
    }, 'the failed start');
    expect(waiting.evidence).toContain("'vault' needs the secret 'TOKEN', which is not stored");
    expect(await stage.cli('why', 'vault')).toContain('which is not stored');
    await set('TOKEN', token);
    expect((await stage.finished('vault', job.id)).output).toEqual([hashOf(token)]);
  });

  it('differ by name between releases, and a rollback warns of values that changed since', async () => {
    expect(await deploy('scale: { max: 1, idle: 1s }\n')).toMatchObject({ code: 0 });
    expect(await stage.cli('rollback', 'r1', '-e', 'vault', '--dry-run')).toContain('env +PLAIN +TOKEN +URL');
    const back = await stage.tryCli('rollback', 'r1', '-e', 'vault');
    expect(back).toMatchObject({ code: 0, stderr: expect.stringContaining("the secret 'TOKEN' got another value after r1") });
    expect(back.stderr).not.toContain('db/pass-word');
  });

  it('are for admin keys, and what is wrong is not repeated', async () => {
    const made = await stage.call('/api/v1/keys', { method: 'POST', body: { name: 'look', scope: 'read-only' } });
    const { key } = made.json as { key: string };
    expect((await stage.call('/api/v1/secrets', { key })).status).toBe(200);
    expect((await stage.call('/api/v1/secrets/A', { method: 'PUT', key, body: { value: 'x' } })).status).toBe(403);
    for (const body of [{ value: `${token}\0` }, { value: '' }, { value: token, more: token }, `{"value": ${token}}`]) {
      const { status, json } = await stage.call('/api/v1/secrets/A', { method: 'PUT', body });
      expect([status, JSON.stringify(json)]).toEqual([400, expect.not.stringContaining('canary')]);
    }
    const long = `/api/v1/secrets/a${encodeURIComponent('/'.repeat(190))}`;
    expect((await stage.call(long, { method: 'PUT', body: { value: 'x' } })).status).toBe(200);
    expect((await stage.call(long, { method: 'DELETE' })).status).toBe(204);
    expect((await stage.call('/api/v1/secrets/9', { method: 'PUT', body: { value: 'x' } })).status).toBe(400);
    expect((await stage.tryCli('secrets', 'rm', 'nothing')).code).toBe(4);
    expect((await runCli(['secrets', 'set', 'A', '--data', stage.dataDir])).stderr).toContain('held no value');
  });

  it('are in no answer, no log and no file of the data directory (S8)', async () => {
    const paths = ['', '/releases', '/rollouts', '/workers?all=true', '/jobs', '/why', '/logs', '/decisions', '/health'];
    const answers = await Promise.all([
      ...paths.map((path) => stage.call(`/api/v1/endpoints/vault${path}`)),
      ...['secrets', 'status', 'keys', 'registry'].map((path) => stage.call(`/api/v1/${path}`)),
    ]);
    for (const { status, json } of answers) expect([status, JSON.stringify(json)]).toEqual([200, expect.not.stringContaining('canary')]);
    expect(stage.log()).not.toContain('canary');
    expect(filesWith(stage.dataDir, 'canary')).toEqual([]);
    // It is looked for where it would be found.
    expect(filesWith(stage.dataDir, hashOf(token))).not.toEqual([]);
  });
});
