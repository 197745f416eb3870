import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CliResult, openStage, runCli, type Stage } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** Another wherry is the private registry: its admin key is the password. */
let remote: Stage;
let stage: Stage;
let host: string;
let image: string;
beforeAll(async () => {
  [remote, stage] = await Promise.all([openStage(), openStage({ DOCKER_CONFIG: '/nonexistent' })]);
  host = new URL(remote.url).host;
  await remote.cli('push', remote.project('private', nodeProject('private', ECHO)), '--to', 'acme/private:v1');
  image = `${host}/acme/private:v1`;
  await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'private' } });
});
afterAll(() => Promise.all([remote.close(), stage.close()]));

const credentials = (args: readonly string[], input = ''): Promise<CliResult> =>
  runCli(['credentials', ...args, '--data', stage.dataDir], { input });
const add = (registry: string, secret: string, ...more: readonly string[]) =>
  credentials(['add', registry, '-u', 'ada', '--password-stdin', ...more], `${secret}\n`);
const deploy = () => stage.call('/api/v1/endpoints/private/releases', { method: 'POST', body: { reference: image } });
const listed = async () => JSON.parse((await credentials(['--json'])).stdout) as { items: object[] };

/** Every file below a directory, as one text of bytes. */
function readBelow(dir: string): string {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')).join('\n');
}

describe('credentials for a private registry', () => {
  it('are needed to deploy a private image; the refusal says how to store them (row 9)', async () => {
    const { status, json } = await deploy();
    expect(status).toBe(401);
    expect(json).toMatchObject({ error: { code: 'UNAUTHORIZED', hint: expect.stringContaining(`wherry credentials add ${host}`) } });
  });

  it('are tried before they are kept', async () => {
    const refused = await add(host, 'wh_wrong_password');
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain('UNAUTHORIZED');
    expect(await listed()).toEqual({ items: [] });
    expect((await add(host, 'wh_wrong_password', '--no-try')).code).toBe(0);
    expect((await deploy()).status).toBe(401);
  });

  it('let the private image start, and nothing shows the secret (row 9, S8)', async () => {
    const added = await add(host, remote.key, '--json');
    expect(added).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(added.stdout)).toEqual({ registry: host, username: 'ada', createdAt: expect.any(String) });
    expect((await listed()).items).toEqual([JSON.parse(added.stdout)]);
    expect((await deploy()).status).toBe(201);
    expect(await stage.runsync('private', { value: 7 })).toMatchObject({ status: 'COMPLETED', output: 7 });
    const exposed = [JSON.stringify((await stage.call('/api/v1/endpoints/private/logs')).json), stage.log(), readBelow(stage.dataDir)];
    for (const text of exposed) {
      expect(text).not.toContain(remote.key);
      expect(text).not.toContain(Buffer.from(`ada:${remote.key}`).toString('base64'));
    }
  });

  it('of the longest path win', async () => {
    expect((await add(`${host}/acme`, 'wh_wrong_password', '--no-try')).code).toBe(0);
    expect((await deploy()).status).toBe(401);
    expect((await credentials(['remove', `${host}/acme`])).code).toBe(0);
    expect((await deploy()).status).toBeLessThan(300);
  });

  it('outlive a restart and go when they are removed', async () => {
    await stage.kill();
    await stage.restart();
    expect((await deploy()).status).toBeLessThan(300);
    expect((await credentials(['remove', host])).code).toBe(0);
    expect((await deploy()).status).toBe(401);
    const unknown = await credentials(['remove', host, '--json']);
    expect(unknown.code).toBe(4);
    expect(unknown.stderr).toContain('CREDENTIAL_UNKNOWN');
  });

  it('are refused for what is no registry, without a secret, and to keys of one endpoint', async () => {
    expect((await add('not a host', 'x', '--no-try')).stderr).toContain('REFERENCE_INVALID');
    expect((await add('name-without-dot', 'x', '--no-try')).stderr).toContain('REFERENCE_INVALID');
    expect((await add('ghcr.io/Upper', 'x', '--no-try')).stderr).toContain('REFERENCE_INVALID');
    expect((await add(host, '')).stderr).toContain('USAGE');
    expect((await credentials(['add', host, '-u', 'ada'])).stderr).toContain('--password-stdin');
    const body = { username: 'ada', identityToken: 'x', try: false };
    expect((await stage.call('/api/v1/credentials/ghcr.io', { method: 'PUT', body })).status).toBe(400);
    const { key } = (await stage.call('/api/v1/keys', { method: 'POST', body: { name: 'one', scope: 'endpoint', endpointId: 'private' } }))
      .json as { key: string };
    expect((await stage.call('/api/v1/credentials', { key })).status).toBe(403);
  });
});
