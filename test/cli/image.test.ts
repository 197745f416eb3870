import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage } from '../stage.js';

describe('wherry image', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage();
    const files = (version: string) => ({
      'wherry.yaml': 'name: shown\nbase: scratch\n',
      'handler.mjs': `import { word } from 'words';\nexport const handler = () => word + ${JSON.stringify(version)};\n`,
      'node_modules/words/package.json': JSON.stringify({ name: 'words', version, type: 'module', main: 'index.js' }),
      'node_modules/words/index.js': `export const word = ${JSON.stringify('w'.repeat(version === '1.0.0' ? 10 : 5000))};\n`,
      ...(version === '1.0.0' ? { 'old.txt': 'old' } : { 'new.txt': 'new!' }),
    });
    await stage.cli('push', stage.project('first', files('1.0.0')), '--to', 'shown:1.0.0');
    await stage.cli('push', stage.project('second', files('1.10.0')), '--to', 'shown:1.10.0');
    await stage.cli('push', join(stage.dir, 'first'), '--to', 'shown:nightly');
    await stage.cli('push', join(stage.dir, 'first'), '--to', 'shown:1.2.0');
  });
  afterAll(() => stage.close());

  const read = async (...args: string[]) => JSON.parse(await stage.cli('image', ...args, '--json')) as Record<string, unknown>;

  it('inspects an image: layers with who made them, packages, config', async () => {
    const found = await read('inspect', 'shown:1.10.0');
    expect(found).toMatchObject({
      platform: 'linux/amd64',
      base: 'scratch',
      entrypoint: expect.arrayContaining(['node']),
      packages: [expect.objectContaining({ kind: 'npm', name: 'words', version: '1.10.0' })],
      layers: [
        expect.objectContaining({ role: 'dependencies' }),
        expect.objectContaining({ role: 'sdk' }),
        expect.objectContaining({ role: 'code' }),
      ],
    });
    expect(await stage.cli('image', 'inspect', join(stage.dir, 'first'))).toContain('wherry: code');
  });

  it('says how two images differ: files, packages, size and config (B13)', async () => {
    const found = await read('diff', 'shown:1.0.0', 'shown:1.10.0');
    expect(found).toMatchObject({
      isSame: false,
      layersShared: 1,
      packages: [{ kind: 'npm', name: 'words', before: '1.0.0', after: '1.10.0' }],
      files: {
        added: [expect.objectContaining({ path: 'wherry/app/new.txt', delta: 4 })],
        removed: [expect.objectContaining({ path: 'wherry/app/old.txt', delta: -3 })],
        changed: expect.arrayContaining([expect.objectContaining({ path: 'wherry/node_modules/words/index.js', delta: 4990 })]),
      },
    });
    expect(await stage.cli('image', 'diff', 'shown:1.0.0', 'shown:nightly')).toBe('the same image\n');
  });

  it('compares releases of an endpoint by their number (B13)', async () => {
    await stage.cli('deploy', '--image', 'shown:1.0.0', '-e', 'shown');
    await stage.cli('deploy', '--image', 'shown:1.10.0', '-e', 'shown');
    expect(await stage.cli('image', 'diff', 'shown@r1', 'shown@r2')).toMatch(/words +1\.0\.0 +1\.10\.0/);
  });

  it('lists tags with what they mean, versions first and the newest at the top', async () => {
    const { tags } = (await read('tags', 'shown')) as { tags: { tag: string; digest: string }[] };
    expect(tags.map(({ tag }) => tag)).toEqual(['1.10.0', '1.2.0', '1.0.0', 'nightly']);
    expect(tags[1]?.digest).toBe(tags[2]?.digest);
  });

  it('attaches the list of software to an image, and prints it again from there', async () => {
    const made = await stage.cli('image', 'sbom', 'shown:1.0.0');
    expect(JSON.parse(made)).toMatchObject({
      bomFormat: 'CycloneDX',
      specVersion: '1.6',
      components: [expect.objectContaining({ name: 'words', version: '1.0.0', purl: 'pkg:npm/words@1.0.0' })],
    });
    const { digest } = await read('inspect', 'shown:1.0.0');
    const referrers = async () => ((await stage.call(`/v2/shown/referrers/${String(digest)}`)).json as { manifests: unknown[] }).manifests;
    expect(await referrers()).toEqual([]);
    await stage.cli('image', 'sbom', 'shown:1.0.0', '--attach');
    await stage.cli('image', 'sbom', 'shown:1.0.0', '--attach');
    expect(await referrers()).toEqual([expect.objectContaining({ artifactType: 'application/vnd.cyclonedx+json' })]);
    expect(await stage.cli('image', 'sbom', 'shown:1.0.0')).toBe(made);
  });

  it('refuses what it cannot do with a way out', async () => {
    expect(await stage.tryCli('image', 'dissect', 'shown')).toMatchObject({ code: 2, stderr: expect.stringContaining('inspect IMAGE') });
    expect(await stage.tryCli('image', 'inspect', 'absent:1')).toMatchObject({ code: 4, stderr: expect.stringContaining('IMAGE_UNKNOWN') });
    expect(await stage.tryCli('image', 'tags', 'shown:1.0.0')).toMatchObject({ code: 2, stderr: expect.stringContaining('leave the tag') });
  });
});
