import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listen } from '../contract/registry-server.js';
import { openHub, type TestHub } from '../hub.js';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, pidsWith, type Stage, until } from '../stage.js';
import { DELETE_ENDPOINT, DELETE_TEMPLATE, runAsTestRunner, SAVE_ENDPOINT, SAVE_TEMPLATE, sendGraphql } from './graphql-client.js';

let stage: Stage;
let remote: Stage;
let hub: TestHub;
beforeAll(async () => {
  hub = await openHub();
  [stage, remote] = await Promise.all([
    openStage({ WHERRY_LOG: 'debug' }),
    openStage({ HF_ENDPOINT: hub.url, WHERRY_CAPACITY_GPU: '2', WHERRY_NODE_LABELS: 'gpu=RTX 4090,cuda=12.4' }),
  ]);
  const push = (to: Stage, image: string) => to.cli('push', to.project('echo', nodeProject('echo', ECHO)), '--to', image);
  await Promise.all([push(stage, 'echo:1.2'), push(remote, 'private:1')]);
});
afterAll(() => Promise.all([stage.close(), remote.close(), hub.close()]));

const send = (query: string, variables?: unknown) => sendGraphql(stage, query, variables);
/** Of an operation that went well: the key `errors` is absent. */
async function succeed(query: string, variables?: unknown) {
  const { status, json } = await send(query, variables);
  expect([status, json.errors, 'errors' in json]).toEqual([200, undefined, false]);
  return json.data as Record<string, Record<string, unknown>>;
}
async function makeTemplate(name: string, more: object = {}): Promise<string> {
  const { saveTemplate } = await succeed(SAVE_TEMPLATE, { input: { name, imageName: 'echo:1.2', ...more } });
  return String(saveTemplate?.['id']);
}
async function makeEndpoint(templateId: string, more: object = {}): Promise<string> {
  return String((await succeed(SAVE_ENDPOINT, { input: { name: 'made', templateId, ...more } }))['saveEndpoint']?.['id']);
}
const listEndpoints = async () => ((await stage.call('/api/v1/endpoints')).json as { items: { id: string }[] }).items;
const listReleases = async (id: string) =>
  ((await stage.call(`/api/v1/endpoints/${id}/releases`)).json as { items: { image: object; spec: Record<string, unknown> }[] }).items;
const listTemplates = async () => (await succeed('{ podTemplates { id name } }'))['podTemplates'];

describe('the exchange of the test runner of RunPod', () => {
  it('passes end to end and leaves nothing behind (row 113)', async () => {
    const env = { templateConfig: { env: [{ key: 'MODE', value: 'fast' }] }, endpointConfig: { name: 'ci', gpuIds: 'NO_SUCH_POOL' } };
    const answers = await runAsTestRunner(stage, `${new URL(stage.url).host}/echo:1.2`, [
      { hardwareConfig: {}, input: { value: 'Hello' } },
      { hardwareConfig: {}, input: { throw: 'on purpose' } },
      { hardwareConfig: env, input: { env: 'MODE' } },
    ]);
    expect(answers).toMatchObject([
      { status: 'COMPLETED', output: 'Hello' },
      { status: 'FAILED' },
      { status: 'COMPLETED', output: 'fast' },
    ]);
    expect(await listEndpoints()).toEqual([]);
    expect(await listTemplates()).toEqual([]);
    await until(() => pidsWith(join(stage.dataDir, 'workers')).length === 0, 'no process of a worker');
  });

  it('of an image that is not there ends at once, with the reason, and leaves nothing either', async () => {
    const templateId = await makeTemplate('broken', { imageName: 'nowhere:1' });
    const { status, json } = await send(SAVE_ENDPOINT, { input: { name: 'broken', templateId } });
    expect([status, json.data]).toEqual([200, null]);
    expect(json.errors).toMatchObject([{ message: expect.stringContaining("'nowhere:1'"), extensions: { code: 'IMAGE_UNKNOWN' } }]);
    expect(await listEndpoints()).toEqual([]);
    await succeed(DELETE_TEMPLATE, { templateName: 'broken' });
    await succeed(DELETE_TEMPLATE, { templateName: 'broken' });
  });
});

describe('what runpod-python writes, without variables', () => {
  it('makes a template and an endpoint, lists it, and gives it another template', async () => {
    const template = (name: string, value: string) => `
    mutation {
        saveTemplate(
            input: {
                name: "${name}", imageName: "echo:1.2", dockerArgs: "", containerDiskInGb: 10, volumeInGb: 0, ports: "8000/http", env: [{ key: "MODE", value: "${value}" }], isServerless: true, containerRegistryAuthId : "", startSsh: true, isPublic: false, readme: ""
            }
        ) {
            id name imageName dockerArgs containerDiskInGb volumeInGb volumeMountPath ports
            env { key value }
            isServerless
        }
    }`;
    const { saveTemplate: first } = await succeed(template('python one', 'one'));
    expect(first).toMatchObject({ imageName: 'echo:1.2', dockerArgs: '', containerDiskInGb: 10, ports: '8000/http', isServerless: true });
    expect(first?.['env']).toEqual([{ key: 'MODE', value: 'one' }]);
    const { saveTemplate: second } = await succeed(template('python two', 'two'));
    const { saveEndpoint } = await succeed(`
    mutation {
        saveEndpoint(
            input: {
                name: "python", templateId: "${first?.['id']}", gpuIds: "AMPERE_16", networkVolumeId: "", locations: "", idleTimeout: 5, scalerType: "QUEUE_DELAY", scalerValue: 4, workersMin: 0, workersMax: 3, flashBootType: FLASHBOOT, allowedCudaVersions: 12.0, gpuCount: 1
            }
        ) { id name templateId gpuIds networkVolumeId locations idleTimeout scalerType scalerValue workersMin workersMax allowedCudaVersions gpuCount flashBootType }
    }`);
    expect(saveEndpoint).toMatchObject({
      ...{ name: 'python', templateId: first?.['id'], gpuIds: 'AMPERE_16', idleTimeout: 5, scalerType: 'QUEUE_DELAY', scalerValue: 4 },
      ...{ workersMin: 0, workersMax: 3, allowedCudaVersions: '12.0', flashBootType: 'FLASHBOOT' },
    });
    const id = String(saveEndpoint?.['id']);
    expect(await stage.runsync(id, { env: 'MODE' })).toMatchObject({ output: 'one' });
    // It declares a variable that it does not use.
    await succeed(`
    mutation UpdateEndpointTemplate($input: UpdateEndpointTemplateInput) {
        updateEndpointTemplate(input: {templateId: "${second?.['id']}", endpointId: "${id}"}) { id templateId }
    }`);
    await until(async () => (await stage.runsync(id, { env: 'MODE' })).output === 'two', 'the other template to serve');
    const { myself } = await succeed(`query Query { myself { endpoints {
      aiKey gpuIds id idleTimeout name networkVolumeId locations scalerType scalerValue templateId type userId version workersMax workersMin workersStandby gpuCount
      env { key value } createdAt networkVolume { id dataCenterId } pods { desiredStatus }
    } } }`);
    expect(myself?.['endpoints']).toMatchObject([
      { id, templateId: second?.['id'], type: 'QB', version: 2, env: [{ key: 'MODE', value: 'two' }] },
    ]);
    await succeed(DELETE_ENDPOINT, { id });
    for (const templateName of ['python one', 'python two']) await succeed(DELETE_TEMPLATE, { templateName });
  });

  it('keeps credentials for registries, which a template names by their id', async () => {
    const save = (name: string) =>
      `mutation SaveRegistryAuth { saveRegistryAuth(input: {name: "${name}", username: "anyone", password: "wrong"}) { id name } }`;
    const { saveRegistryAuth } = await succeed(save('ci'));
    expect((await send(save('ci'))).json.errors).toMatchObject([{ extensions: { code: 'NAME_TAKEN' } }]);
    const id = String(saveRegistryAuth?.['id']);
    const templateId = await makeTemplate('private', { imageName: `${new URL(remote.url).host}/private:1`, containerRegistryAuthId: id });
    const input = { name: 'private', templateId };
    expect((await send(SAVE_ENDPOINT, { input })).json.errors).toMatchObject([{ extensions: { code: 'UNAUTHORIZED' } }]);
    const change = `updateRegistryAuth(input: {id: "${id}", username: "anyone", password: "${remote.key}"}) { id name }`;
    expect(await succeed(`mutation UpdateRegistryAuth { ${change} }`)).toEqual({ updateRegistryAuth: { id, name: 'ci' } });
    const endpointId = await makeEndpoint(templateId);
    expect(await stage.runsync(endpointId, { value: 1 })).toMatchObject({ output: 1 });
    await succeed(`mutation DeleteRegistryAuth { deleteRegistryAuth(registryAuthId: "${id}") }`);
    await succeed(DELETE_ENDPOINT, { id: endpointId });
    await succeed(DELETE_TEMPLATE, { templateName: 'private' });
    expect(stage.log()).not.toContain(remote.key);
  });
});

describe('a save of an endpoint', () => {
  it('keeps what it does not say, and makes a release only when one of its fields changed: no tag is asked again', async () => {
    const templateId = await makeTemplate('kept', { dockerArgs: `--say "a b"`, containerDiskInGb: 5 });
    const id = await makeEndpoint(templateId, {
      idleTimeout: 7,
      scalerType: 'REQUEST_COUNT',
      executionTimeoutMs: 60_000,
      flashBootType: 'OFF',
    });
    const [first] = await listReleases(id);
    expect(first?.spec).toMatchObject({ args: ['--say', 'a b'], resources: { diskBytes: 5 * 2 ** 30 } });
    await stage.cli(
      'push',
      stage.project('other', nodeProject('other', 'export const handler = () => 1;\n')),
      '--to',
      'echo:1.2',
      '--force',
    );
    await succeed(SAVE_ENDPOINT, { input: { id, templateId, name: 'renamed', workersMax: 0, idleTimeout: null } });
    const { json } = await stage.call(`/api/v1/endpoints/${id}`);
    expect(json).toMatchObject({
      name: 'renamed',
      settings: { scale: { max: 0, idleMs: 7_000, type: 'requestCount', keep: 'none' }, limits: { executionMs: 60_000 } },
    });
    expect(await listReleases(id)).toEqual([first]);
    await succeed(SAVE_TEMPLATE, { input: { id: templateId, env: [{ key: 'A', value: '' }] } });
    expect(await listReleases(id)).toMatchObject([{ spec: { args: ['--say', 'a b'], env: { A: '' } } }, {}]);
    expect((await send(DELETE_TEMPLATE, { templateName: 'kept' })).json.errors).toMatchObject([
      { extensions: { code: 'TEMPLATE_IN_USE' } },
    ]);
    await succeed(DELETE_ENDPOINT, { id });
    await succeed(DELETE_TEMPLATE, { templateName: 'kept' });
  });

  it('says what was accepted and has no effect here, in its answer and in the log', async () => {
    const templateId = await makeTemplate('noticed');
    const { json } = await send(SAVE_ENDPOINT, { input: { name: 'noticed', templateId, gpuIds: 'NO_SUCH_POOL', locations: 'EU-RO-1' } });
    expect(json.errors).toBeUndefined();
    for (const notice of ['NO_SUCH_POOL', 'locations are remembered']) {
      expect(json.extensions?.notices?.join()).toContain(notice);
      expect(stage.log()).toContain(notice);
    }
    await succeed(DELETE_ENDPOINT, { id: json.data?.['saveEndpoint']?.['id'] });
    await succeed(DELETE_TEMPLATE, { templateName: 'noticed' });
  });

  it('asks for the GPUs of a host that has them, until no pool is named any more', async () => {
    const on = async (input: object) => {
      const { json } = await sendGraphql(remote, SAVE_ENDPOINT, { input });
      expect(json.errors).toBeUndefined();
      notices.push(...(json.extensions?.notices ?? []));
      return String(json.data?.['saveEndpoint']?.['id']);
    };
    const notices: string[] = [];
    const template = { name: 'own', imageName: 'private:1' };
    const id = await on({ name: 'gpus', template, gpuIds: 'ADA_24,-NVIDIA L4', gpuCount: 2, workersMax: 0 });
    await on({ id, idleTimeout: 9 });
    await on({ id, gpuCount: 1 });
    await on({ id, gpuIds: 'AMPERE_16' });
    await on({ id, gpuIds: 'NO_SUCH_POOL' });
    await on({ id, gpuIds: '' });
    const { items } = (await remote.call(`/api/v1/endpoints/${id}/releases`)).json as { items: { spec: { resources: object } }[] };
    expect(items.map(({ spec }) => spec.resources)).toEqual([
      {},
      { gpu: 'NO_SUCH_POOL' },
      { gpu: 1 },
      { gpu: 'ADA_24,-NVIDIA L4' },
      { gpu: 2 },
    ]);
    for (const notice of ['no GPU of AMPERE_16', 'NO_SUCH_POOL']) expect(notices.join()).toContain(notice);
  });

  it('asks for versions of CUDA, sizes, models and volumes as this host has them, and says what it has not', async () => {
    const commit = hub.commit('acme/tiny', { 'config.json': '{}' });
    const input = {
      ...{ name: 'placed', template: { name: 'placed', imageName: 'private:1' }, workersMax: 0, minCudaVersion: '12.1' },
      ...{ instanceIds: ['cpu3g-4096-8', 'cpu3c-1-1'], networkVolumeId: 'v1', modelReferences: ['https://huggingface.co/acme/tiny:main'] },
    };
    const { json } = await sendGraphql(remote, SAVE_ENDPOINT, { input });
    expect([json.errors, json.extensions?.notices?.join()]).toEqual([undefined, expect.stringContaining("network volume 'v1'")]);
    const id = json.data?.['saveEndpoint']?.['id'];
    const change = { id, minCudaVersion: '', allowedCudaVersions: '13.0', networkVolumeId: '', modelReferences: [], instanceIds: [] };
    const { json: changed } = await sendGraphql(remote, SAVE_ENDPOINT, { input: change });
    expect(changed.extensions?.notices).toContain('it needs CUDA 13.0, this node has 12.4 (WHERRY_NODE_LABELS): it runs all the same');
    const { items } = (await remote.call(`/api/v1/endpoints/${id}/releases`)).json as { items: { spec: object }[] };
    expect(items.map(({ spec }) => spec)).toMatchObject([
      { resources: {}, volumes: [] },
      {
        ...{ resources: { cpu: 1, memoryBytes: 2 ** 30 }, placement: { cuda: '12.1' } },
        ...{ volumes: ['v1:/runpod-volume'], models: [`acme/tiny@main@${commit}`] },
      },
    ]);
    for (const field of ['placement', 'models']) expect(items[0]?.spec).not.toHaveProperty(field);
  });

  it('may bring a template of its own, which goes with the endpoint', async () => {
    const input = {
      name: 'whole',
      template: { name: 'own', imageName: 'echo:1.2', env: [] },
      type: 'QB',
      compliance: [],
      workersMax: null,
    };
    const { saveEndpoint } = await succeed(SAVE_ENDPOINT, { input });
    expect(await listTemplates()).toMatchObject([{ name: 'own', id: saveEndpoint?.['templateId'] }]);
    await succeed(DELETE_ENDPOINT, { id: saveEndpoint?.['id'] });
    expect(await listTemplates()).toEqual([]);
  });
});

describe('a template', () => {
  it('stays while a deploy binds an endpoint to it, also when the endpoint that it came with goes meanwhile', async () => {
    const authorization = `Basic ${Buffer.from(`anyone:${remote.key}`).toString('base64')}`;
    let waiting: (() => void) | undefined;
    let isHeld = false;
    const registry = await listen(async ({ url, headers: { accept = '*/*' } }, response) => {
      if (isHeld) await new Promise<void>((resolve) => (waiting = resolve));
      const answer = await fetch(`${remote.url}${url}`, { headers: { authorization, accept } });
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
      response.end(Buffer.from(await answer.arrayBuffer()));
    });
    const during = async (templateId: string, work: () => Promise<unknown>): Promise<string> => {
      isHeld = true;
      const made = makeEndpoint(templateId);
      await until(() => waiting !== undefined, 'the deploy to ask for the image');
      await work();
      isHeld = false;
      waiting?.();
      waiting = undefined;
      return made;
    };
    const imageName = `${registry.host}/private:1`;
    const bound = async () => (await succeed('{ podTemplates { name boundEndpointId } }'))['podTemplates'];
    const plain = await during(await makeTemplate('plain', { imageName }), async () => {
      const { json } = await send(DELETE_TEMPLATE, { templateName: 'plain' });
      expect(json.errors).toMatchObject([{ message: expect.stringContaining('being made'), extensions: { code: 'TEMPLATE_IN_USE' } }]);
    });
    expect(await bound()).toEqual([{ name: 'plain', boundEndpointId: plain }]);
    const { saveEndpoint } = await succeed(SAVE_ENDPOINT, { input: { name: 'first', template: { name: 'lent', imageName } } });
    const second = await during(String(saveEndpoint?.['templateId']), () => succeed(DELETE_ENDPOINT, { id: saveEndpoint?.['id'] }));
    expect(await bound()).toContainEqual({ name: 'lent', boundEndpointId: second });
    await registry.close();
    for (const id of [plain, second]) await succeed(DELETE_ENDPOINT, { id });
    for (const templateName of ['plain', 'lent']) await succeed(DELETE_TEMPLATE, { templateName });
    expect(await listTemplates()).toEqual([]);
  });
});

describe('the GraphQL door', () => {
  it('answers the queries of clients with the fields that they select (row 97)', async () => {
    const answer = await succeed(`{
      myself { id pubKey email clientBalance currentSpendPerHr spendLimit notifyPodsStale notifyPodsGeneral notifyLowBalance
        serverlessDiscount { discountFactor type expirationDate } networkVolumes { id name size dataCenterId }
        endpoints { executionTimeoutMs flashBootType allowedCudaVersions minCudaVersion compliance modelReferences networkVolumeIds { networkVolumeId dataCenterId } } }
      gpuTypes { id displayName memoryInGb secureCloud communityCloud lowestPrice(input: {gpuCount: 1}) { stockStatus uninterruptablePrice } }
      one: gpuTypes(input: {id: "NVIDIA L4"}) { id maxGpuCount }
      serverlessGpuPools { id gpuTypeIds }
      dataCenters { id name location gpuAvailability { gpuTypeId displayName stockStatus } }
      podTemplates(input: {isServerless: true}) { id name imageName isServerless isPublic isRunpod category ports portsConfig { port name } env { key value }
        containerDiskInGb containerRegistryAuthId volumeInGb volumeMountPath readme }
    }`);
    expect(answer['serverlessGpuPools']).toContainEqual({ id: 'ADA_24', gpuTypeIds: ['NVIDIA GeForce RTX 4090'] });
    expect(answer['one']).toEqual([{ id: 'NVIDIA L4', maxGpuCount: null }]);
  });

  it('takes a key in the URL, which no other route does and no log tells', async () => {
    const withKey = (path: string) => `${path}?api_key=${stage.key}`;
    expect((await stage.call(withKey('/api/v1/endpoints'), { key: null })).status).toBe(401);
    expect((await stage.call(withKey('/v2/none/health'), { key: null })).status).toBe(401);
    expect((await stage.call(withKey('/graphql'), { key: null })).status).toBe(405);
    const body = { query: '{ myself { id } }' };
    for (const headers of [{ authorization: `Bearer ${stage.key}` }, { authorization: stage.key }])
      expect((await stage.call('/graphql', { method: 'POST', body, key: null, headers })).json).toEqual({
        data: { myself: { id: 'wherry' } },
      });
    const refused = await stage.call('/graphql?api_key=wrong', { method: 'POST', body, key: null });
    expect([refused.status, refused.json]).toMatchObject([401, { errors: [{}] }]);
    await send('{ none }');
    expect(stage.log()).not.toContain(stage.key);
  });

  it('lets read-only keys look, without values, and keys of an endpoint not at all', async () => {
    const templateId = await makeTemplate('masked', { env: [{ key: 'TOKEN', value: 'hidden' }] });
    const id = await makeEndpoint(templateId);
    const keyOf = async (...args: string[]) =>
      (JSON.parse(await stage.cli('keys', 'create', 'ci', ...args, '--json')) as { key: string }).key;
    const reader = { ...stage, url: stage.url, key: await keyOf('--read-only') };
    const seen = await sendGraphql(reader, '{ podTemplates { env { key value } } }');
    expect(seen.json).toEqual({ data: { podTemplates: [{ env: [{ key: 'TOKEN', value: '***' }] }] } });
    expect((await sendGraphql(reader, DELETE_ENDPOINT, { id })).json.errors).toMatchObject([{ extensions: { code: 'DENIED' } }]);
    expect((await sendGraphql({ url: stage.url, key: await keyOf('-e', id) }, '{ myself { id } }')).status).toBe(403);
    await succeed(DELETE_ENDPOINT, { id });
    await succeed(DELETE_TEMPLATE, { templateName: 'masked' });
  });

  it.each([
    ['an unknown field', '{ myself { none } }', 'Cannot query field'],
    ['a field of the wrong kind', 'mutation { saveEndpoint(input: {name: "a", workersMax: "many"}) { id } }', 'Int'],
    ['what is no document', '{ myself {', 'Syntax Error'],
    ['a document that is long', `{ ${'a: myself { id } '.repeat(1_000)} }`, 'tokens'],
    ['one that is deep', `{ __type(name: "a") ${'{ ofType '.repeat(20)}{ name }${' }'.repeat(20)} }`, 'nested more than'],
    ['an endpoint that is not there', 'mutation { deleteEndpoint(id: "none") }', "'none'"],
    ['a template of no image', 'mutation { saveTemplate(input: {name: "a"}) { id } }', "'imageName' is missing"],
    ['no input at all', 'mutation { saveTemplate { id } }', "'name' is missing"],
    ['what is not served', 'mutation { saveEndpoint(input: {name: "a", type: LB}) { id } }', "'LB'"],
    ['too many workers', 'mutation { saveEndpoint(input: {name: "a", templateId: "none", workersMax: 5000}) { id } }', 'workersMax 5000'],
  ])('answers %s with status 200 and the reason', async (_what, query, reason) => {
    const { status, json } = await send(query);
    expect([status, json.errors?.[0]?.message]).toEqual([200, expect.stringContaining(reason)]);
  });

  it.each([
    ['too large', { body: { query: 'x'.repeat(1024 * 1024) } }, 413],
    ['no JSON', { body: 'query' }, 400],
    ['of another type', { body: { query: '{ myself { id } }' }, headers: { 'content-type': 'text/plain' } }, 415],
  ])('refuses a body that is %s', async (_what, init, status) => {
    const answer = await stage.call('/graphql', { method: 'POST', ...init });
    expect([answer.status, answer.json]).toMatchObject([status, { errors: [{ message: expect.any(String) }] }]);
  });
});
