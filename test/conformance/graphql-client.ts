import { randomUUID } from 'node:crypto';
import { type JobAnswer, type Stage, until } from '../stage.js';

export interface GraphqlAnswer {
  readonly status: number;
  readonly text: string;
  readonly json: {
    readonly data?: Record<string, Record<string, unknown>> | null;
    readonly errors?: readonly { readonly message: string; readonly extensions?: { readonly code?: string } }[];
    readonly extensions?: { readonly notices?: readonly string[] };
  };
}

/** A request as RunPod's older clients send it: the key in the URL. */
export async function sendGraphql(stage: Pick<Stage, 'url' | 'key'>, query: string, variables?: unknown): Promise<GraphqlAnswer> {
  const answer = await fetch(`${stage.url}/graphql?api_key=${stage.key}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/plain, */*' },
    body: JSON.stringify({ query, variables }),
  });
  const text = await answer.text();
  return { status: answer.status, text, json: JSON.parse(text) as GraphqlAnswer['json'] };
}

export const SAVE_TEMPLATE = `mutation saveTemplate($input: SaveTemplateInput) { saveTemplate(input: $input) {
  advancedStart containerDiskInGb dockerArgs env { key value } id imageName name ports readme startJupyter startScript startSsh volumeInGb volumeMountPath
} }`;
export const SAVE_ENDPOINT = `mutation saveEndpoint($input: EndpointInput!) { saveEndpoint(input: $input) {
  gpuIds id idleTimeout locations name networkVolumeId scalerType scalerValue templateId userId workersMax workersMin
} }`;
export const DELETE_ENDPOINT = 'mutation deleteEndpoint($id: String!) { deleteEndpoint(id: $id) }';
export const DELETE_TEMPLATE = 'mutation deleteTemplate($templateName: String) { deleteTemplate(templateName: $templateName) }';

/** What RunPod's test runner fills in where a test names nothing (ci: "endpointConfig", "templateConfig"). */
const ENDPOINT = {
  ...{ gpuIds: 'AMPERE_16', idleTimeout: 5, locations: null, name: 'generated endpoint', networkVolumeId: null },
  ...{ scalerType: 'QUEUE_DELAY', scalerValue: 4, workersMax: 1, workersMin: 0 },
};
const TEMPLATE = {
  ...{
    containerDiskInGb: 30,
    dockerArgs: '',
    env: [],
    isPublic: false,
    isServerless: true,
    name: 'generated template',
    ports: '',
    readme: '',
  },
  ...{ startJupyter: false, startSsh: false, volumeInGb: 0, volumeMountPath: '' },
};

export interface RunnerTest {
  readonly hardwareConfig: { readonly endpointConfig?: object; readonly templateConfig?: object };
  readonly input: unknown;
}

interface Made {
  readonly endpoint?: Readonly<Record<string, unknown>>;
  readonly templateName?: string;
  readonly answers: readonly JobAnswer[];
}

/** One run of the test runner, step by step as documented, but for its pauses: gives what each job ended as. Reads of an answer what it reads. */
export async function runAsTestRunner(stage: Stage, image: string, tests: readonly RunnerTest[]): Promise<readonly JobAnswer[]> {
  const groups = new Map<string, RunnerTest[]>();
  for (const test of tests)
    groups.set(JSON.stringify(test.hardwareConfig), [...(groups.get(JSON.stringify(test.hardwareConfig)) ?? []), test]);
  const made: Made[] = [];
  for (const group of groups.values()) made.push(await runGroup(stage, image, group));
  await Promise.all(made.map((each) => cleanUp(stage, each)));
  return made.flatMap(({ answers }) => answers);
}

async function runGroup(stage: Stage, image: string, tests: readonly RunnerTest[]): Promise<Made> {
  const { templateConfig = {}, endpointConfig = {} } = tests[0]?.hardwareConfig ?? {};
  const templateName = `${TEMPLATE.name} ${randomUUID().slice(0, 8)}`;
  const template = await sendGraphql(stage, SAVE_TEMPLATE, {
    input: { containerRegistryAuthId: 'ra1', ...TEMPLATE, ...templateConfig, imageName: image, name: templateName },
  });
  if (template.json.errors) return { answers: [] };
  const input = { templateId: template.json.data?.['saveTemplate']?.['id'], ...ENDPOINT, ...endpointConfig };
  const saved = await sendGraphql(stage, SAVE_ENDPOINT, { input });
  if (saved.json.errors) return { templateName, answers: [] };
  const id = String(saved.json.data?.['saveEndpoint']?.['id']);
  const answers = await Promise.all(
    tests.map(async (test) => {
      const run = await stage.call(`/v2/${id}/run`, {
        method: 'POST',
        body: { input: test.input },
        headers: { authorization: `Bearer ${stage.key}` },
      });
      if (run.status !== 200) throw new Error(`run was answered ${run.status}`);
      return stage.finished(id, (run.json as JobAnswer).id);
    }),
  );
  return { endpoint: { ...input, id }, templateName, answers };
}

async function cleanUp(stage: Stage, { endpoint, templateName }: Made): Promise<void> {
  if (endpoint) {
    await sendGraphql(stage, SAVE_ENDPOINT, { input: { ...endpoint, workersMin: 0, workersMax: 0 } });
    await sendGraphql(stage, DELETE_ENDPOINT, { id: endpoint['id'] });
  }
  if (templateName === undefined) return;
  // It asks for ever, until an answer has no key `errors`.
  await until(
    async () => !('errors' in (await sendGraphql(stage, DELETE_TEMPLATE, { templateName })).json),
    'the template to be deleted',
    5_000,
  );
}
