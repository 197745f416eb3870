import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { openStage, runCli, type Stage } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

const run = promisify(execFile);

/** Another wherry is the mirrored registry; it wants a key. */
let remote: Stage;
let stage: Stage;
let host: string;
let digest: string;
beforeAll(async () => {
  remote = await openStage();
  host = new URL(remote.url).host;
  const pushed = await remote.cli('push', remote.project('image', nodeProject('image', ECHO)), '--to', 'acme/image:v1', '--json');
  digest = (JSON.parse(pushed) as { digest: string }).digest;
  stage = await openStage({ WHERRY_REGISTRY_MIRRORS: `team.example=${host}`, DOCKER_CONFIG: '/nonexistent' });
});
afterAll(() => Promise.all([remote.close(), stage.close()]));

const mirrored = () => `${new URL(stage.url).host}/team.example/acme/image`;

describe('a server that mirrors another registry', () => {
  it('needs credentials for it, and says so', async () => {
    const answer = await stage.call('/v2/team.example/acme/image/manifests/v1');
    expect(answer.status).toBe(403);
    expect(JSON.stringify(answer.json)).toContain(`wherry credentials add ${host}`);
  });

  it.skipIf(!needs('skopeo'))('serves its images to other tools with the digest unchanged', async () => {
    const added = await runCli(['credentials', 'add', host, '-u', 'x', '--password-stdin', '--data', stage.dataDir], { input: remote.key });
    expect(added.code).toBe(0);
    const layout = join(stage.dir, 'layout');
    const from = ['--preserve-digests', '--src-tls-verify=false', '--src-creds', `x:${stage.key}`];
    await run('skopeo', ['--insecure-policy', 'copy', ...from, `docker://${mirrored()}:v1`, `oci:${layout}:v1`]);
    const inspected = JSON.parse((await run('skopeo', ['inspect', `oci:${layout}:v1`])).stdout) as { Digest: string };
    expect(inspected.Digest).toBe(digest);
  });

  it('runs them, also while that registry is away', async () => {
    await stage.cli('deploy', '--image', `${mirrored()}:v1`, '-e', 'first');
    await remote.kill();
    await stage.cli('deploy', '--image', `${mirrored()}:v1`, '-e', 'copy');
    expect(await stage.runsync('copy', { value: 1 })).toMatchObject({ status: 'COMPLETED' });
  });
});
