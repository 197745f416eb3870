import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { attachSbom } from '../../src/cli/image-sbom.js';
import type { ImageDifference } from '../../src/image/difference.js';
import type { ImageSummary } from '../../src/image/summary.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { createRegistryClient, type RegistryClient } from '../../src/registry/client.js';
import { openRegistryServer } from '../contract/registry-server.js';
import { ECHO, nodeProject } from '../journey/projects.js';
import { type MadeEntry, pushMade, tarOf } from '../made-image.js';
import { openStage, type Stage } from '../stage.js';

let stage: Stage;
let registry: Awaited<ReturnType<typeof openRegistryServer>>;
let client: RegistryClient;
beforeAll(async () => {
  [stage, registry] = await Promise.all([openStage(), openRegistryServer()]);
  client = createRegistryClient({ registry: registry.host, log: silentLog });
});
afterAll(async () => {
  await client.close();
  await Promise.all([registry.close(), stage.close()]);
});

const json = async <T>(...args: readonly string[]) => JSON.parse(await stage.cli(...args, '--json')) as T;
const dpkg = (name: string, version: string) =>
  `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: ${version}\n\n`;

const DEBIAN: readonly MadeEntry[] = [
  { name: 'etc/os-release', text: 'ID=debian\nVERSION_ID="12"\n' },
  { name: 'var/lib/dpkg/status', text: dpkg('libc6', '2.36-9') + dpkg('perl', '5.36') },
  { name: 'var/cache/list', text: 'x'.repeat(5_000) },
];
const TOP: readonly MadeEntry[] = [
  { name: 'var/cache/.wh.list' },
  { name: 'usr/lib/python3/dist-packages/six.dist-info/METADATA', text: 'Name: six\nVersion: 1.16.0\n\n' },
  { name: 'app/model.bin', text: 'm'.repeat(20_000) },
];
const CONFIG = {
  created: '2026-01-01T00:00:00Z',
  config: { Env: ['PATH=/bin', 'HF_TOKEN=hf_abc'], Cmd: ['sh'], Labels: { 'org.opencontainers.image.base.name': 'debian:12' } },
  history: [
    { created_by: '/bin/sh -c #(nop) ADD file:1 in / ' },
    { created_by: 'ENV A=1', empty_layer: true },
    { created_by: 'RUN |1 API_KEY=s3cret make \u001b[2J' },
  ],
};
const pushDebian = async (name: string, tags: readonly string[], top = TOP, config: object = CONFIG) =>
  pushMade(client, [name, ...tags], { tars: [await tarOf(DEBIAN), await tarOf(top)], config });

describe('wherry image inspect', () => {
  it('tells layers, makers, waste, the largest files, packages and settings of an image that other tools made', async () => {
    const { digest } = await pushDebian('debian', ['1']);
    const name = `${registry.host}/debian:1`;
    const told = await json<ImageSummary & { reference: string }>('image', 'inspect', name);
    expect(told).toMatchObject({
      reference: name,
      digest,
      platform: 'linux/amd64',
      created: '2026-01-01T00:00:00Z',
      base: 'debian:12',
      cmd: ['sh'],
      env: [
        { name: 'PATH', value: '/bin', isMasked: false },
        { name: 'HF_TOKEN', value: '***', isMasked: true },
      ],
      wastedBytes: 5_000,
      distribution: { id: 'debian', version: '12' },
      layers: [
        { madeBy: '/bin/sh -c #(nop) ADD file:1 in / ', wastedBytes: 5_000, entries: 3, role: null },
        { madeBy: 'RUN |1 API_KEY=*** make \u001b[2J', wastedBytes: 0, unpackedBytes: 20_027 },
      ],
    });
    expect(told.largestFiles[0]).toEqual({ path: 'app/model.bin', sizeBytes: 20_000, layer: 1 });
    expect(told.packages.map(({ kind, name: found, version }) => `${kind} ${found} ${version}`)).toEqual([
      'deb libc6 2.36-9',
      'deb perl 5.36',
      'pypi six 1.16.0',
    ]);
  });

  it('shows people a table without secrets and without what would steer their terminal', async () => {
    await pushDebian('debian', ['1']);
    const text = await stage.cli('image', 'inspect', `${registry.host}/debian:1`);
    expect(text).toMatch(/HF_TOKEN=\*\*\*/);
    expect(text).toMatch(/^1 {2}[0-9a-f]{12} .* RUN \|1 API_KEY=\*\*\* make \?\[2J$/m);
    expect(text).toMatch(/19\.5 KiB +1 +app\/model\.bin/);
    expect(text).toMatch(/deb +libc6 +2\.36-9/);
    expect(text).not.toMatch(/hf_abc|s3cret/);
    expect(text).not.toContain('\u001b');
  });

  it('tells the role of each layer of a build, by directory and by digest, without a server', async () => {
    const dir = stage.project('inspected', {
      ...nodeProject('inspected', "import pad from 'pad';\nexport const handler = () => pad;\n"),
      'package.json': '{"dependencies":{"pad":"1.2.3"}}',
      'node_modules/pad/package.json': '{"name":"pad","version":"1.2.3","main":"index.js"}',
      'node_modules/pad/index.js': 'module.exports = 1;',
    });
    const { digest } = await json<{ digest: string }>('build', dir);
    const told = await json<ImageSummary>('image', 'inspect', dir);
    expect(told).toMatchObject({ digest, base: 'scratch', layers: [{ role: 'dependencies' }, { role: 'sdk' }, { role: 'code' }] });
    expect(told.packages).toMatchObject([{ kind: 'npm', name: 'pad', version: '1.2.3', path: 'wherry/node_modules/pad/package.json' }]);
    expect(await json('image', 'inspect', digest)).toEqual({ ...told, reference: digest });
  });

  it('chooses from an index, linux/amd64 when nothing is said', async () => {
    const amd64 = await pushDebian('multi', []);
    const arm64 = await pushDebian('multi', [], TOP, { ...CONFIG, architecture: 'arm64' });
    const platformOf = (architecture: string) => ({ os: 'linux', architecture });
    const manifests = [
      { ...arm64, platform: platformOf('arm64') },
      { ...amd64, platform: platformOf('amd64') },
    ];
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }));
    await client.putManifest('multi', 'latest', index, MEDIA_TYPES.index);
    const name = `${registry.host}/multi`;
    expect(await json('image', 'inspect', name)).toMatchObject({ digest: amd64.digest });
    expect(await json('image', 'inspect', name, '--platform', 'linux/arm64')).toMatchObject({ digest: arm64.digest });
    const refusal = await stage.tryCli('image', 'inspect', name, '--platform', 'linux/riscv64');
    expect(refusal).toMatchObject({ code: 4, stderr: expect.stringContaining('linux/arm64, linux/amd64') });
  });

  it('says what is wrong with a name, a build that is missing, a compression it does not know and a damaged layer', async () => {
    const refusals: readonly (readonly [string, number, string])[] = [
      ['Upper:1', 2, 'REFERENCE_INVALID'],
      ['sha256:abc', 2, 'DIGEST_INVALID'],
      ['never-pushed', 4, 'wherry image tags never-pushed'],
      ['nobody@r3', 4, 'ENDPOINT_UNKNOWN'],
      [stage.project('unbuilt', nodeProject('unbuilt', ECHO)), 4, 'was not built yet'],
    ];
    for (const [name, code, words] of refusals) {
      expect(await stage.tryCli('image', 'inspect', name), name).toMatchObject({ code, stderr: expect.stringContaining(words) });
    }
    await pushMade(client, ['zstd', 'latest'], { tars: [await tarOf([])], layerType: 'application/vnd.oci.image.layer.v1.tar+zstd' });
    expect(await stage.tryCli('image', 'inspect', `${registry.host}/zstd`)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/LAYER_INVALID.*tar\+zstd' are not supported/),
    });
    await pushMade(client, ['noise', 'latest'], { tars: [Buffer.alloc(4_096, 'noise')] });
    expect(await stage.tryCli('image', 'inspect', `${registry.host}/noise`)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('LAYER_INVALID'),
    });
    expect((await stage.tryCli('image', 'squash', 'a')).code).toBe(2);
  });
});

describe('wherry image diff', () => {
  it('tells files and packages added, removed and grown, and changed settings (B13)', async () => {
    await pushDebian('compared', ['1']);
    const top: readonly MadeEntry[] = [
      { name: 'var/lib/dpkg/status', text: dpkg('libc6', '2.36-10') + dpkg('curl', '8.0') },
      { name: 'var/cache/.wh.list' },
      { name: 'etc/os-release', text: 'ID=debian\nVERSION_ID="13"\n' },
      { name: 'app/model.bin', text: 'm'.repeat(30_000), mode: 0o600 },
      { name: 'app/new', text: 'new' },
    ];
    const config = { ...CONFIG, config: { ...CONFIG.config, User: 'app', Env: ['PATH=/bin:/app', 'HF_TOKEN=hf_xyz'] } };
    await pushDebian('compared', ['2'], top, config);
    const told = await json<ImageDifference>('image', 'diff', `${registry.host}/compared:1`, `${registry.host}/compared:2`);
    expect(told.files.added).toEqual([{ path: 'app/new', sizeBytes: 3 }]);
    expect(told.files.removed.map(({ path }) => path)).toEqual(['usr/lib/python3/dist-packages/six.dist-info/METADATA']);
    expect(told.files.changed[0]).toEqual({ path: 'app/model.bin', sizeBytes: 30_000, deltaBytes: 10_000, what: ['content', 'mode'] });
    // The same number of bytes, but others.
    expect(told.files.changed).toContainEqual({ path: 'etc/os-release', sizeBytes: 26, deltaBytes: 0, what: ['content'] });
    expect(told.packages).toEqual({
      added: [{ kind: 'deb', name: 'curl', version: '8.0' }],
      removed: [
        { kind: 'deb', name: 'perl', version: '5.36' },
        { kind: 'pypi', name: 'six', version: '1.16.0' },
      ],
      changed: [{ kind: 'deb', name: 'libc6', from: ['2.36-9'], to: ['2.36-10'] }],
    });
    expect(told.config).toEqual([
      { name: 'env.HF_TOKEN', before: '***', after: '***' },
      { name: 'env.PATH', before: '/bin', after: '/bin:/app' },
      { name: 'user', before: null, after: 'app' },
    ]);
    expect(told.layers).toMatchObject({ shared: 1, onlyFirst: 1, onlySecond: 1 });
    const text = await stage.cli('image', 'diff', `${registry.host}/compared:1`, `${registry.host}/compared:2`);
    expect(text).toMatch(/\+9\.8 KiB +~ app\/model\.bin {2}\(content, mode\)/);
    expect(text).toMatch(/~ deb libc6 +2\.36-9 +2\.36-10/);
  });

  it('compares releases of an endpoint with each other and with the last build (B13)', async () => {
    const project = (more: string) => stage.project('shipped', nodeProject('shipped', `${ECHO}${more}`));
    await stage.cli('deploy', project(''));
    await stage.cli('deploy', project("export const more = 'two';\n"));
    const told = await json<ImageDifference>('image', 'diff', 'shipped@r1', 'shipped@r2');
    expect(told.layers).toMatchObject({ shared: 2, onlyFirst: 1, onlySecond: 1 });
    expect(told.files.changed.map(({ path }) => path)).toEqual(['wherry/app/handler.mjs']);
    const same = await stage.cli('image', 'diff', 'shipped@r2', `${stage.dir}/shipped`);
    expect(same).toContain('no file, package or setting differs');
    expect(await stage.tryCli('image', 'diff', 'shipped@r2', 'shipped@r9')).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('RELEASE_UNKNOWN'),
    });
  });
});

it('wherry image tags lists versions first, then the newest, and says of which the image cannot be read', async () => {
  const made = (created: string) => ({ ...CONFIG, created });
  const old = await pushDebian('tagged', ['1.9.0', '1.10.0-rc.1', 'old'], TOP, made('2025-01-01T00:00:00Z'));
  await pushDebian('tagged', ['v1.10.0', 'latest', '1.10'], TOP, made('2026-06-01T00:00:00Z'));
  await pushDebian('tagged', ['strange'], TOP, { config: { Env: 'A=1' } });
  await attachSbom({ client, name: 'tagged' }, old, '{}');
  await client.putManifest('tagged', old.digest.replace(':', '-'), (await client.getManifest('tagged', 'old')).bytes, MEDIA_TYPES.manifest);
  const { items } = await json<{ items: { tag: string; digest: string; sizeBytes: number }[] }>('image', 'tags', `${registry.host}/tagged`);
  expect(items.map(({ tag }) => tag)).toEqual(['v1.10.0', '1.10.0-rc.1', '1.9.0', '1.10', 'latest', 'old', 'strange']);
  expect(items[6]).toMatchObject({ created: null, sizeBytes: null, fault: expect.stringContaining('Env is not a list of texts') });
  expect(items[2]).toMatchObject({
    digest: old.digest,
    created: '2025-01-01T00:00:00Z',
    isVersion: true,
    sizeBytes: expect.any(Number),
    fault: null,
  });
  expect(await stage.cli('image', 'tags', `${registry.host}/tagged`)).toMatch(/^1\.9\.0 +sha256:[0-9a-f]{64} +\d+ d ago +\d/m);
  expect(await stage.tryCli('image', 'tags', `${registry.host}/tagged:old`)).toMatchObject({ code: 2 });
  expect(await stage.tryCli('image', 'tags', 'never-pushed')).toMatchObject({ code: 4, stderr: expect.stringContaining('NAME_UNKNOWN') });
});

describe('wherry image sbom', () => {
  it('prints the one that is attached, else makes the same each time', async () => {
    const image = await pushDebian('listed', ['1']);
    const name = `${registry.host}/listed:1`;
    const made = await stage.cli('image', 'sbom', name);
    expect(JSON.parse(made)).toMatchObject({
      specVersion: '1.6',
      metadata: { timestamp: '2026-01-01T00:00:00.000Z', component: { version: image.digest } },
    });
    expect(made).toContain('pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12');
    expect(await stage.cli('image', 'sbom', name)).toBe(made);
    await attachSbom({ client, name: 'listed' }, image, '{"bomFormat":"CycloneDX","note":"attached"}');
    expect(await json('image', 'sbom', name)).toEqual({ bomFormat: 'CycloneDX', note: 'attached' });
    expect(await stage.cli('image', 'sbom', name, '--generate')).toBe(made);
  });

  it('lists the software of this machine in an image made of its files', async () => {
    const status = readFileSync('/var/lib/dpkg/status', 'utf8');
    const tar = await tarOf([
      { name: 'var/lib/dpkg/status', text: status },
      { name: 'usr/lib/os-release', text: readFileSync('/usr/lib/os-release', 'utf8') },
    ]);
    await pushMade(client, ['machine', 'latest'], { tars: [tar] });
    const { components } = await json<{ components: { purl?: string }[] }>('image', 'sbom', `${registry.host}/machine`);
    const installed = status.split('\n').filter((line) => /^Status: .* installed$/.test(line)).length;
    expect(components.filter(({ purl }) => purl?.startsWith('pkg:deb/'))).toHaveLength(installed);
  });
});
