import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Stage } from '../stage.js';
import { openStages } from './beside.js';
import { nodeProject } from './projects.js';

interface Release {
  readonly number: number;
  readonly source: string;
  readonly sourceRevision: string | null;
  readonly image: { readonly digest: string; readonly reference: string; readonly tag: string | null; readonly repository: string };
  readonly spec: { readonly env: Readonly<Record<string, string>> };
}

let stage: Stage;
let remote: Stage;
let close: () => Promise<void>;
beforeAll(async () => {
  ({ stage, remote, close } = await openStages());
});
afterAll(() => close());

const answering = (value: string) => `export const handler = () => [${JSON.stringify(value)}, process.env.STAGE ?? null];\n`;

async function deploy(...args: readonly string[]): Promise<Release> {
  return (JSON.parse(await stage.cli('deploy', ...args, '--json')) as { release: Release }).release;
}

describe('the image of a release, promoted to another endpoint', () => {
  it('has the digest that was released, whatever its tag means by now; settings stay those of each endpoint (row 16)', async () => {
    const dir = stage.project('app', nodeProject('app', answering('first'), 'env: { STAGE: own }\n'));
    await stage.cli('push', dir, '--to', 'app:nightly');
    const tested = await deploy('--image', 'app:nightly', '-e', 'staging');
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'production' } });
    const before = await stage.call('/api/v1/endpoints/production/releases', {
      method: 'POST',
      body: { reference: 'app:nightly', spec: { env: { STAGE: 'production' } } },
    });
    expect(before.status).toBe(201);
    writeFileSync(join(dir, 'handler.mjs'), answering('second'));
    const moved = JSON.parse(await stage.cli('push', dir, '--to', 'app:nightly', '--json')) as { digest: string };
    await deploy('--image', 'app:nightly', '-e', 'production');
    expect(await stage.runsync('production', null)).toMatchObject({ output: ['second', 'production'] });
    const promoted = await deploy('--image', `staging@r${tested.number}`, '-e', 'production');
    expect(promoted).toMatchObject({
      number: 3,
      source: 'promote:staging@r1',
      image: tested.image,
      spec: { env: { STAGE: 'production' } },
    });
    expect(promoted.image.digest).not.toBe(moved.digest);
    expect(await stage.runsync('production', null)).toMatchObject({ output: ['first', 'production'] });
    expect(await stage.cli('releases', '-e', 'production')).toMatch(/r3 .*promote:staging@r1 +nightly/);
  });

  it('needs neither the registry it came from nor the endpoint it came from, nor does going back (row 16, B2)', async () => {
    const host = new URL(remote.url).host;
    const dir = remote.project('far', nodeProject('far', answering('far')));
    await remote.cli('push', dir, '--to', 'far:1.0.0');
    const tested = await deploy('--image', `${host}/far:1.0.0`, '-e', 'trial');
    writeFileSync(join(dir, 'handler.mjs'), answering('farther'));
    await remote.cli('push', dir, '--to', 'far:1.1.0');
    await deploy('--image', `${host}/far:1.1.0`, '-e', 'trial');
    await remote.kill();
    expect(await stage.tryCli('deploy', '--image', `${host}/far:1.0.0`, '-e', 'live')).toMatchObject({
      code: 6,
      stderr: expect.stringContaining(`registry '${host}' cannot be reached`),
    });
    const promoted = await deploy('--image', 'trial@r1', '-e', 'live');
    expect(promoted.image).toEqual({ ...tested.image, repository: 'retained/live' });
    expect(await stage.runsync('live', null)).toMatchObject({ output: ['far', null] });
    expect((await deploy('--image', 'trial@r2', '-e', 'live')).number).toBe(2);
    await stage.call('/api/v1/endpoints/trial', { method: 'DELETE' });
    await stage.cli('rollback', '-e', 'live');
    expect(await stage.runsync('live', null)).toMatchObject({ output: ['far', null] });
    expect(await stage.cli('registry', 'verify')).toContain('all sound');
  });

  it('is refused when there is no such release, or no endpoint was named for it', async () => {
    await deploy(stage.project('sole', nodeProject('sole', answering('sole'))));
    expect(await stage.tryCli('deploy', '--image', 'sole@r7', '-e', 'other')).toMatchObject({
      code: 4,
      stderr: expect.stringContaining("RELEASE_UNKNOWN  endpoint 'sole' has no release r7"),
    });
    expect(await stage.tryCli('deploy', '--image', 'nobody@r1', '-e', 'other')).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('ENDPOINT_UNKNOWN'),
    });
    expect(await stage.tryCli('deploy', '--image', 'sole@r1')).toMatchObject({ code: 2, stderr: expect.stringContaining('add -e') });
    const both = { reference: 'sole:1', from: { endpointId: 'sole', number: 1 } };
    for (const body of [both, {}]) {
      const refused = await stage.call('/api/v1/endpoints/sole/releases', { method: 'POST', body });
      expect(refused).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } });
    }
  });
});
