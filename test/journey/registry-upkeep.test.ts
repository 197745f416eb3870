import { createHash } from 'node:crypto';
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openStage, type Stage } from '../stage.js';
import { nodeProject } from './projects.js';

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;

let stage: Stage;
afterEach(() => stage.close());

const answering = (text: string) => nodeProject('kept', `export const handler = () => ${JSON.stringify(text)};\n`);

interface Registry {
  readonly bytes: number;
  readonly unnamedBytes: number;
  readonly repositories: readonly {
    readonly repository: string;
    readonly tags: readonly string[];
    readonly manifests: number;
    readonly exclusiveBytes: number;
  }[];
}
interface Collected {
  readonly blobs: number;
  readonly freedBytes: number;
  readonly repositories: readonly {
    readonly repository: string;
    readonly tags: readonly string[];
    readonly manifests: readonly string[];
  }[];
}

const read = async <T>(...args: string[]) => JSON.parse(await stage.cli('registry', ...args, '--json')) as T;
const fileOf = (digest: string) => join(stage.dataDir, 'registry/blobs/sha256', digest.slice(7));

async function push(dir: string, to: string): Promise<string> {
  return (JSON.parse(await stage.cli('push', dir, '--to', to, '--json')) as { digest: string }).digest;
}

/** As if everything in the registry had been written so long ago; the server starts anew, since it also remembers what it was asked for. */
async function age(ms: number, env: NodeJS.ProcessEnv = {}): Promise<void> {
  await stage.kill();
  const at = (Date.now() - ms) / 1000;
  const visit = (dir: string) => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) visit(path);
      else utimesSync(path, at, at);
    }
  };
  visit(join(stage.dataDir, 'registry'));
  await stage.restart(env);
}

describe('the embedded registry', () => {
  it('frees what no tag and no release needs, and never what one needs', async () => {
    stage = await openStage();
    const dir = stage.project('kept', answering('one'));
    await stage.cli('deploy', dir);
    const first = await push(dir, 'kept:moving');
    writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => "two";\n');
    await stage.cli('deploy', dir);
    writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => "nobody runs this";\n');
    const lost = await push(dir, 'kept:moving');
    await stage.call('/v2/kept/manifests/moving', { method: 'DELETE' });
    await age(30 * DAY_MS);

    const dry = await read<Collected>('collect', '--dry-run');
    // The list of its software goes with it.
    const manifests = expect.arrayContaining([lost]);
    expect(dry.repositories).toEqual([expect.objectContaining({ repository: 'kept', manifests })]);
    expect(dry.repositories[0]?.manifests).toHaveLength(2);
    expect(existsSync(fileOf(lost))).toBe(true);
    const collected = await read<Collected>('collect');
    expect(collected).toMatchObject({ freedBytes: dry.freedBytes, blobs: dry.blobs });
    expect(existsSync(fileOf(lost))).toBe(false);
    expect(await read<Collected>('collect')).toMatchObject({ blobs: 0, repositories: [] });

    expect(existsSync(fileOf(first))).toBe(true);
    await stage.cli('rollback', '-e', 'kept', '1');
    expect(await stage.runsync('kept', {})).toMatchObject({ status: 'COMPLETED', output: 'one' });
    expect(await stage.cli('registry', 'verify')).toContain('all sound');
  });

  it('spares what a push under way may still name, and untagged images for a week', async () => {
    stage = await openStage();
    const bytes = Buffer.from('a layer whose manifest has not come yet');
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const pushed = await fetch(`${stage.url}/v2/begun/blobs/uploads/?digest=${digest}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stage.key}`, 'content-type': 'application/octet-stream' },
      body: bytes,
    });
    expect(pushed.status).toBe(201);
    expect((await read<Collected>('collect')).blobs).toBe(0);
    const image = await push(stage.project('untagged', answering('x')), 'untagged:gone');
    await stage.call('/v2/untagged/manifests/gone', { method: 'DELETE' });
    await age(2 * DAY_MS);
    expect((await read<Collected>('collect')).blobs).toBe(1);
    expect([existsSync(fileOf(digest)), existsSync(fileOf(image))]).toEqual([false, true]);
    await age(8 * DAY_MS);
    expect((await read<Collected>('collect')).blobs).toBeGreaterThan(1);
    expect(existsSync(fileOf(image))).toBe(false);
  });

  it('keeps the last tags by push time when told to, versions always', async () => {
    stage = await openStage();
    const dir = stage.project('many', answering('0'));
    for (const tag of ['a', '1.0.0', 'b', 'c']) {
      writeFileSync(join(dir, 'handler.mjs'), `export const handler = () => ${JSON.stringify(tag)};\n`);
      await push(dir, `many:${tag}`);
      await age(DAY_MS);
    }
    await age(DAY_MS, { WHERRY_REGISTRY_KEEP_TAGS: '1', WHERRY_REGISTRY_KEEP_UNTAGGED: '0s' });
    const { repositories } = await read<Collected>('collect');
    expect(repositories).toEqual([expect.objectContaining({ repository: 'many', manifests: expect.any(Array) })]);
    const left = (await stage.call('/v2/many/tags/list')).json as { tags: string[] };
    expect(left.tags).toHaveLength(2);
    expect(left.tags).toContain('1.0.0');
  });

  it('says what it holds, refuses what goes over its quota, and takes it again when there is room', async () => {
    stage = await openStage({ WHERRY_REGISTRY_QUOTA: '1MB' });
    await push(stage.project('small', answering('small')), 'small:1');
    const state = await read<Registry>();
    // The image, and the list of its software.
    expect(state.repositories).toEqual([expect.objectContaining({ repository: 'small', tags: ['1'], manifests: 2 })]);
    const big = stage.project('big', {
      ...nodeProject('big', 'export const handler = () => 1;\n', "include: ['*.bin']\n"),
      'data.bin': 'x'.repeat(2_000_000),
    });
    const refused = await stage.tryCli('push', big);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('the registry holds');
    expect((await read<Registry>()).bytes).toBeLessThan(1_000_000);
    await stage.cli('deploy', '--image', 'small:1', '-e', 'small');
    await stage.kill();
    await stage.restart({ WHERRY_REGISTRY_QUOTA: '10MB' });
    await push(big, 'big:1');
  });

  it('takes nothing and gives everything in read-only mode', async () => {
    stage = await openStage();
    await push(stage.project('frozen', answering('still here')), 'frozen:1');
    await stage.kill();
    await stage.restart({ WHERRY_REGISTRY_READ_ONLY: '1' });
    const refused = await stage.tryCli('push', stage.project('late', answering('late')));
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('read-only');
    expect((await stage.call('/v2/frozen/manifests/1', { method: 'DELETE' })).status).toBe(405);
    expect((await stage.tryCli('registry', 'collect')).stderr).toContain('read-only');
    await stage.cli('deploy', '--image', 'frozen:1', '-e', 'frozen');
    expect(await stage.runsync('frozen', {})).toMatchObject({ output: 'still here' });
  });

  it('finds damage with who needs it, and sets it aside so that the next push brings sound bytes', async () => {
    stage = await openStage();
    const dir = stage.project('kept', answering('precious'));
    await stage.cli('deploy', dir);
    const digest = await push(dir, 'kept:1.0.0');
    const { layers } = (await stage.call(`/v2/kept/manifests/${digest}`)).json as { layers: { digest: string }[] };
    const layer = layers.at(-1)?.digest ?? '';
    writeFileSync(fileOf(layer), 'rotten');
    const found = await stage.tryCli('registry', 'verify', '--json');
    expect(found.code).toBe(1);
    expect(JSON.parse(found.stdout)).toMatchObject({
      faults: [
        { fault: 'damaged', digest: layer, setAside: null, neededBy: expect.arrayContaining(['kept:1.0.0', "release r1 of 'kept'"]) },
      ],
    });
    const repaired = await stage.tryCli('registry', 'verify', '--repair', '--json');
    expect((JSON.parse(repaired.stdout) as { faults: { setAside: string | null }[] }).faults[0]?.setAside).toContain('quarantine');
    await push(dir, 'kept:1.0.0');
    expect(await stage.tryCli('registry', 'verify')).toMatchObject({ code: 0, stdout: expect.stringContaining('all sound') });
  });

  it('refuses a release whose bytes are damaged before anything moves, and a rollback to one (D3, B2)', async () => {
    stage = await openStage();
    const dir = stage.project('kept', answering('one'));
    const first = JSON.parse(await stage.cli('deploy', dir, '--json')) as { digest: string };
    writeFileSync(join(dir, 'handler.mjs'), 'export const handler = () => "two";\n');
    await stage.cli('deploy', dir);
    const { layers } = (await stage.call(`/v2/kept/manifests/${first.digest}`)).json as { layers: { digest: string }[] };
    writeFileSync(fileOf(layers.at(-1)?.digest ?? ''), 'rotten');
    const refused = await stage.tryCli('rollback', '-e', 'kept', '1');
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/DIGEST_MISMATCH|BLOB_UNKNOWN/);
    const damaged = await stage.tryCli('deploy', '--image', `kept@${first.digest}`, '-e', 'kept');
    expect(damaged.code).not.toBe(0);
    expect(damaged.stderr).toMatch(/DIGEST_MISMATCH|BLOB_UNKNOWN/);
    expect(await stage.runsync('kept', {})).toMatchObject({ status: 'COMPLETED', output: 'two' });
    expect(JSON.parse(await stage.cli('releases', '-e', 'kept', '--json'))).toMatchObject({
      items: expect.arrayContaining([expect.objectContaining({ number: 2 })]),
    });
  });
});
