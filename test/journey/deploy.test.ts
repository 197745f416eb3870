import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRegistryServer } from '../contract/registry-server.js';
import { openStage, type Stage, until } from '../stage.js';
import { nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const answering = (value: string) => `export const handler = () => ${JSON.stringify(value)};\n`;

interface Release {
  readonly number: number;
  readonly source: string;
  readonly author: string;
  readonly image: { readonly digest: string; readonly reference: string; readonly tag: string | null };
  readonly state: string;
  readonly envChanges: readonly string[];
}

async function releases(endpoint: string): Promise<readonly Release[]> {
  return (JSON.parse(await stage.cli('releases', '-e', endpoint, '--json')) as { items: Release[] }).items;
}

async function liveWorkers(endpoint: string) {
  return ((await stage.call(`/api/v1/endpoints/${endpoint}/workers`)).json as { items: { id: string; state: string; release: number }[] })
    .items;
}

describe('the whole way', () => {
  it('takes a directory to an answer from zero workers, pinned by digest (rows 10, 68, B17)', async () => {
    const dir = stage.project('way', nodeProject('way', answering('one'), 'scale: { idle: 1s }\n'));
    const deployed = JSON.parse(await stage.cli('deploy', dir, '--json')) as { digest: string; release: Release };
    expect(deployed.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    await until(async () => (await liveWorkers('way')).length === 0, 'the candidate to retire');
    expect(await stage.runsync('way', null)).toMatchObject({ status: 'COMPLETED', output: 'one' });
    expect(deployed.release.image.digest).toBe(deployed.digest);
  });

  it('keeps running the digest when the tag moves (row 10)', async () => {
    const dir = stage.project('moved', nodeProject('moved', answering('first')));
    await stage.cli('push', dir, '--to', 'moved:1.0');
    await stage.cli('deploy', '--image', 'moved:1.0', '-e', 'moved');
    writeFileSync(join(dir, 'handler.mjs'), answering('second'));
    await stage.cli('push', dir, '--to', 'moved:1.0');
    expect(await stage.runsync('moved', null)).toMatchObject({ output: 'first' });
    await stage.cli('deploy', '--image', 'moved:1.0', '-e', 'moved');
    expect(await stage.runsync('moved', null)).toMatchObject({ output: 'second' });
    const [second, first] = await releases('moved');
    expect(first?.image.digest).not.toBe(second?.image.digest);
    expect(second?.image).toMatchObject({ tag: '1.0', reference: 'moved:1.0' });
  });

  it('accepts all four forms of a reference, and counts the digits of a bad digest (row 11)', async () => {
    const dir = stage.project('forms', nodeProject('forms', answering('x')));
    const { digest } = JSON.parse(await stage.cli('push', dir, '--to', 'forms:latest', '--json')) as { digest: string };
    for (const reference of ['forms', 'forms:latest', `forms@${digest}`, `forms:latest@${digest}`]) {
      const result = await stage.tryCli('deploy', '--image', reference, '-e', 'forms', '--json');
      expect(result.code, result.stderr).toBe(0);
      expect((JSON.parse(result.stdout) as { digest: string }).digest).toBe(digest);
    }
    const bad = await stage.tryCli('deploy', '--image', `forms@${digest.slice(0, -1)}`, '-e', 'forms');
    expect(bad.code).toBe(2);
    expect(bad.stderr).toContain('has 63 hex digits, needs 64');
    const refused = await stage.call('/api/v1/endpoints/forms/releases', {
      method: 'POST',
      body: { reference: `forms:latest@${digest.slice(0, -1)}` },
    });
    expect(refused).toMatchObject({ status: 400, json: { error: { code: 'DIGEST_INVALID' } } });
  });

  it('warns about latest and a missing tag, and pins anyway; strict, it refuses (row 12)', async () => {
    const dir = stage.project('latest', nodeProject('latest', answering('x')));
    const { digest } = JSON.parse(await stage.cli('push', dir, '--to', 'latest-image:latest', '--json')) as { digest: string };
    for (const reference of ['latest-image', 'latest-image:latest']) {
      const { stderr, code } = await stage.tryCli('deploy', '--image', reference, '-e', 'latest');
      expect(code).toBe(0);
      expect(stderr).toContain(`pinned to ${digest}`);
      expect(await stage.tryCli('deploy', '--image', reference, '-e', 'latest', '--strict')).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(`REFERENCE_INVALID  '${reference}' has `),
      });
    }
    expect((await stage.tryCli('deploy', '--image', `latest-image:latest@${digest}`, '-e', 'latest', '--strict')).code).toBe(0);
  });

  it("releases the image of another endpoint's release by its digest, wherever its tag is now (row 16)", async () => {
    const dir = stage.project('env', nodeProject('env', answering('tested')));
    await stage.cli('push', dir, '--to', 'env:1.0-rc');
    await stage.cli('deploy', '--image', 'env:1.0-rc', '-e', 'staging');
    writeFileSync(join(dir, 'handler.mjs'), answering('newer'));
    await stage.cli('push', dir, '--to', 'env:1.0-rc');
    await stage.cli('deploy', '--image', 'env:1.0-rc', '-e', 'staging');
    await stage.cli('deploy', '--image', 'staging@r1', '-e', 'production');
    expect(await stage.runsync('production', null)).toMatchObject({ output: 'tested' });
    const [[production], [, tested]] = await Promise.all([releases('production'), releases('staging')]);
    expect(production?.image).toMatchObject({ digest: tested?.image.digest, tag: '1.0-rc' });
    expect((await stage.tryCli('deploy', '--image', 'staging@r9', '-e', 'production')).code).toBe(4);
  });

  it('refuses an image that does not exist, naming it, and makes no endpoint for it (row 17)', async () => {
    const result = await stage.tryCli('deploy', '--image', 'absent:1.2', '-e', 'absent');
    expect(result.code).toBe(4);
    expect(result.stderr).toContain('IMAGE_UNKNOWN');
    expect(result.stderr).toContain('absent:1.2');
    const endpoint = { name: 'Absent', settings: { scale: { max: 7 } }, labels: { made: 'here' } };
    const make = (reference: string) => stage.call('/api/v1/endpoints/absent/releases', { method: 'POST', body: { endpoint, reference } });
    expect(await make('absent:1.2')).toMatchObject({ status: 404, json: { error: { code: 'IMAGE_UNKNOWN' } } });
    await stage.cli('push', stage.project('present', nodeProject('present', answering('x'))), '--to', 'present:1');
    // Nothing is left of either, so that the name is free; one of the next two gets it.
    expect(await stage.call('/api/v1/endpoints/absent')).toMatchObject({ status: 404 });
    expect((await Promise.all([make('present:1'), make('present:1')])).map(({ status }) => status).sort()).toEqual([201, 409]);
    expect(await stage.call('/api/v1/endpoints/absent')).toMatchObject({
      json: { name: 'Absent', settings: { scale: { max: 7, min: 0 } }, labels: { made: 'here' } },
    });
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'nothing' } });
    const refused = await stage.call('/api/v1/endpoints/nothing/releases', { method: 'POST', body: { reference: 'absent:1.2' } });
    expect(refused).toMatchObject({
      status: 404,
      json: { error: { code: 'IMAGE_UNKNOWN', message: expect.stringContaining('absent:1.2') } },
    });
  });

  it('lists what was deployed, by whom and what changed in the environment (rows 13, 14)', async () => {
    const dir = stage.project('listed', nodeProject('listed', answering('1'), 'env: { A: "1", B: "2" }\n'));
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'wherry.yaml'), 'name: listed\nhandler: handler.mjs:handler\nbase: scratch\nenv: { A: "9", C: "3" }\n');
    await stage.cli('deploy', dir);
    const [second, first] = await releases('listed');
    expect(first).toMatchObject({
      number: 1,
      author: 'admin',
      source: 'deploy',
      image: { tag: expect.any(String), digest: expect.any(String) },
    });
    expect(second).toMatchObject({ number: 2, state: 'SERVES', envChanges: ['~A', '-B', '+C'] });
    await stage.cli('push', dir, '--to', 'listed:1.4.2');
    await stage.cli('deploy', '--image', 'listed:1.4.2', '-e', 'listed');
    const [third] = await releases('listed');
    expect(await stage.cli('releases', '-e', 'listed')).toMatch(new RegExp(`^r3 .* 1\\.4\\.2 +${third?.image.digest.slice(7, 19)}`, 'm'));
  });

  it('makes no release when nothing changed, and none for a scaling change (row 20)', async () => {
    const dir = stage.project('same', nodeProject('same', answering('1')));
    await stage.cli('deploy', dir);
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'wherry.yaml'), 'name: same\nhandler: handler.mjs:handler\nbase: scratch\nscale: { max: 7 }\n');
    await stage.cli('deploy', dir);
    expect(await releases('same')).toHaveLength(1);
    expect((await stage.call('/api/v1/endpoints/same')).json).toMatchObject({ settings: { scale: { max: 7 } } });
  });

  it('rolls back to an earlier release as a new one, without any other registry (rows 15, B2)', async () => {
    const dir = stage.project('back', nodeProject('back', answering('one'), 'env: { WHO: a }\n'));
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'handler.mjs'), answering('two'));
    await stage.cli('deploy', dir);
    expect(await stage.runsync('back', null)).toMatchObject({ output: 'two' });
    rmSync(join(stage.dataDir, 'images'), { recursive: true, force: true });
    await stage.cli('rollback', '-e', 'back');
    expect(await stage.runsync('back', null)).toMatchObject({ output: 'one' });
    const [third, , first] = await releases('back');
    expect(third).toMatchObject({ number: 3, source: 'rollback:r1', state: 'SERVES' });
    expect(third?.image.digest).toBe(first?.image.digest);
    await stage.cli('rollback', 'r2', '-e', 'back');
    expect(await stage.runsync('back', null)).toMatchObject({ output: 'two' });
    expect((await stage.tryCli('rollback', 'r99', '-e', 'back')).code).toBe(4);
  });

  it('rolls back in two seconds out of its own copy while the registry of the image is away (D3, B2)', async () => {
    const origin = await openRegistryServer();
    const dir = stage.project('afar', nodeProject('afar', answering('one')));
    for (const [version, answer] of [
      ['1', 'one'],
      ['2', 'two'],
    ] as const) {
      writeFileSync(join(dir, 'handler.mjs'), answering(answer));
      await stage.cli('push', dir, '--to', `${origin.host}/afar:${version}`);
      await stage.cli('deploy', '--image', `${origin.host}/afar:${version}`, '-e', 'afar');
    }
    await origin.close();
    const begunAt = performance.now();
    await stage.call('/api/v1/endpoints/afar/rollback', { method: 'POST', body: {} });
    await stage.call('/api/v1/endpoints/afar/rollouts/3?waitMs=20000');
    expect(performance.now() - begunAt).toBeLessThan(2_000);
    expect((await releases('afar'))[0]).toMatchObject({ number: 3, state: 'SERVES' });
    expect(await stage.runsync('afar', null)).toMatchObject({ output: 'one' });
  });

  it('refuses to delete a blob that a kept release needs (row B2)', async () => {
    const dir = stage.project('kept', nodeProject('kept', answering('kept')));
    const { digest } = JSON.parse(await stage.cli('deploy', dir, '--json')) as { digest: string };
    const manifest = (await stage.call(`/v2/kept/manifests/${digest}`)).json as { layers: { digest: string }[] };
    for (const layer of manifest.layers) {
      const { status } = await stage.call(`/v2/kept/blobs/${layer.digest}`, { method: 'DELETE' });
      expect(status).toBe(409);
    }
    expect((await stage.call(`/v2/kept/manifests/${digest}`, { method: 'DELETE' })).status).toBe(409);
  });

  it('keeps the old release when the new one cannot start, and shows its last lines', async () => {
    const dir = stage.project('broken', nodeProject('broken', answering('good')));
    await stage.cli('deploy', dir);
    writeFileSync(
      join(dir, 'handler.mjs'),
      "console.error('about to fail'); throw new Error('no model here');\nexport const handler = () => 1;\n",
    );
    const result = await stage.tryCli('deploy', dir);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain('no model here');
    expect(await stage.runsync('broken', null)).toMatchObject({ output: 'good' });
    const [second] = await releases('broken');
    expect(second).toMatchObject({ number: 2, state: 'REVERTED' });
  });

  it('finishes a running job on the old release while the new one serves (rows 18, 33)', async () => {
    const slow = (name: string) =>
      `export const handler = async (job) => { await new Promise((r) => setTimeout(r, job.input.ms)); return '${name}'; };\n`;
    const dir = stage.project('rolling', nodeProject('rolling', slow('old')));
    await stage.cli('deploy', dir);
    const running = await stage.submit('rolling', { ms: 4_000 });
    await until(async () => (await stage.status('rolling', running.id)).status === 'IN_PROGRESS', 'the job to run');
    writeFileSync(join(dir, 'handler.mjs'), slow('new'));
    await stage.cli('deploy', dir);
    expect(await stage.runsync('rolling', { ms: 1 })).toMatchObject({ output: 'new' });
    expect(await stage.finished('rolling', running.id)).toMatchObject({ status: 'COMPLETED', output: 'old' });
  });

  it('waits for no candidate where scale.max is 0; the release is tried once that is raised', async () => {
    const dir = stage.project('parked', nodeProject('parked', answering('parked'), 'scale: { max: 0 }\n'));
    const deployed = await stage.tryCli('deploy', dir);
    expect(deployed.code, deployed.stderr).toBe(0);
    expect(deployed.stderr).toContain('not tried: scale.max is 0');
    expect(await releases('parked')).toMatchObject([{ number: 1, state: 'PROVING' }]);
    await stage.cli('scale', '-e', 'parked', '--max', '1');
    expect(await stage.runsync('parked', null)).toMatchObject({ output: 'parked' });
  });

  it('replaces the arguments of the image (row 85)', async () => {
    const dir = stage.project(
      'args',
      nodeProject('args', 'export const handler = () => process.argv.slice(3);\n', 'args: ["--fast", "2"]\n'),
    );
    await stage.cli('deploy', dir);
    expect(await stage.runsync('args', null)).toMatchObject({ output: ['--fast', '2'] });
  });

  it('frees the unpacked files of releases that do not serve any more, and can roll back to them', async () => {
    const dir = stage.project('freed', nodeProject('freed', answering('first')));
    const rootOf = (json: string) => join(stage.dataDir, 'roots', (JSON.parse(json) as { digest: string }).digest.slice(7));
    const first = rootOf(await stage.cli('deploy', dir, '--json'));
    writeFileSync(join(dir, 'handler.mjs'), answering('second'));
    const second = rootOf(await stage.cli('deploy', dir, '--json'));
    await until(async () => (await liveWorkers('freed')).every(({ release }) => release === 2), 'the first release to end');
    expect(existsSync(first)).toBe(true);
    // A server sweeps when it starts, then each minute.
    await stage.kill();
    await stage.restart();
    await until(() => !existsSync(first), 'the files of the first release to go');
    expect(existsSync(second)).toBe(true);
    await stage.cli('rollback', '-e', 'freed');
    expect(await stage.runsync('freed', null)).toMatchObject({ output: 'first' });
  });

  it('refuses an endpoint id that would clash with a route or is taken', async () => {
    for (const id of ['serverless', 'account', 'Upper', 'x'])
      expect((await stage.call('/api/v1/endpoints', { method: 'POST', body: { id } })).status, id).toBe(400);
    expect((await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'way' } })).status).toBe(409);
  });

  it('serves a complete OpenAPI document and its page', async () => {
    const { json } = await stage.call('/api/v1/openapi.json', { key: null });
    const { paths } = json as { paths: Record<string, unknown> };
    expect(Object.keys(paths)).toContain('/api/v1/endpoints/{id}/releases');
    const page = await fetch(`${stage.url}/api/docs/`);
    expect(page.status).toBe(200);
  });
});
