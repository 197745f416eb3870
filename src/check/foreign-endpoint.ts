import { setTimeout as delay } from 'node:timers/promises';
import type { Graphql } from '../api/graphql.js';
import { messageOf } from '../base/errors.js';
import type { TestGroup } from './suite.js';
import type { TestEndpoint } from './test-endpoint.js';

export interface ForeignEndpointOptions {
  readonly graphql: Graphql;
  readonly runId: string;
  /** Of the groups of a run, from 1. */
  readonly number: number;
  readonly group: TestGroup;
  readonly image: string;
  /** Id of what opens the image's registry. */
  readonly registryAuth: string | undefined;
  readonly signal: AbortSignal;
}

const SAVE_TEMPLATE = 'mutation saveTemplate($input: SaveTemplateInput) { saveTemplate(input: $input) { id name } }';
const SAVE_ENDPOINT = 'mutation saveEndpoint($input: EndpointInput!) { saveEndpoint(input: $input) { id name } }';
const DELETE_ENDPOINT = 'mutation deleteEndpoint($id: String!) { deleteEndpoint(id: $id) }';
const DELETE_TEMPLATE = 'mutation deleteTemplate($templateName: String) { deleteTemplate(templateName: $templateName) }';
const LIST_ENDPOINTS = 'query { myself { endpoints { id name } } }';

/** What the inputs have where a test file says nothing. */
const TEMPLATE = {
  ...{ containerDiskInGb: 30, dockerArgs: '', env: [], isPublic: false, isServerless: true, ports: '', readme: '' },
  ...{ startJupyter: false, startSsh: false, volumeInGb: 0, volumeMountPath: '' },
};
const ENDPOINT = {
  ...{ gpuIds: 'AMPERE_16', idleTimeout: 5, locations: null, networkVolumeId: null },
  ...{ scalerType: 'QUEUE_DELAY', scalerValue: 4, workersMax: 1, workersMin: 0 },
};

/** A template is in use for some two minutes after its last endpoint went. */
const CLOSE_MS = 180_000;
const PAUSE_MS = 2_000;

/**
 * Makes a template and an endpoint through the GraphQL API that RunPod and those who follow it have. Such a server removes nothing by itself:
 * both names end with the run's id, so that what a killed run left can be told. Throws what the server says; nothing is left then.
 */
export async function openForeignEndpoint(options: ForeignEndpointOptions): Promise<TestEndpoint> {
  const { graphql, runId, number, group, image, registryAuth, signal } = options;
  const { templateId, endpointConfig, templateConfig } = group.settings;
  const mark = `${runId}-${number}`;
  const nameOf = ({ name = 'wherry test' }: Readonly<Record<string, unknown>>): string => `${name} ${mark}`;
  const made: Made = { mark, endpoint: { ...ENDPOINT, ...endpointConfig, name: nameOf(endpointConfig) } };
  const close = once(() => removeMade(graphql, made));
  try {
    if (templateId === undefined) {
      const name = nameOf(templateConfig);
      made.templateName = name;
      const auth = registryAuth === undefined ? {} : { containerRegistryAuthId: registryAuth };
      const input = { ...auth, ...TEMPLATE, ...templateConfig, imageName: image, name };
      made.endpoint['templateId'] = (await graphql(SAVE_TEMPLATE, { input }))['saveTemplate']?.['id'];
    } else made.endpoint['templateId'] = templateId;
    signal.throwIfAborted();
    made.isEndpointSent = true;
    // Waited for also after an abort: only the answer says what is to be removed.
    const { saveEndpoint } = await graphql(SAVE_ENDPOINT, { input: made.endpoint });
    const endpointId = String(saveEndpoint?.['id']);
    made.endpoint['id'] = endpointId;
    const { workersMax } = made.endpoint;
    const parallel = typeof workersMax === 'number' ? Math.max(1, workersMax) : 1;
    return { endpointId, digest: null, imageBytes: null, parallel, warnings: [], broken: new AbortController().signal, close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** What was asked for so far; an answer may have been lost. */
export interface Made {
  /** In both names. */
  readonly mark: string;
  readonly endpoint: Record<string, unknown>;
  isEndpointSent?: boolean;
  templateName?: string;
}

/** Tries until everything is gone or the time is over; says what is left. */
export async function removeMade(graphql: Graphql, made: Made, limitMs = CLOSE_MS): Promise<readonly string[]> {
  const { mark, endpoint, isEndpointSent, templateName } = made;
  const endsAt = performance.now() + limitMs;
  const left: string[] = [];
  const persist = async (what: string, remove: () => Promise<unknown>): Promise<void> => {
    for (;;) {
      try {
        return void (await remove());
      } catch (thrown) {
        if (performance.now() + PAUSE_MS > endsAt) return void left.push(`${what} is left, remove it by hand: ${messageOf(thrown)}`);
        await delay(PAUSE_MS);
      }
    }
  };
  const id = typeof endpoint['id'] === 'string' ? endpoint['id'] : isEndpointSent ? await findEndpoint(graphql, mark) : undefined;
  if (id !== undefined) await persist(`endpoint '${id}'`, () => removeEndpoint(graphql, { ...endpoint, id }));
  if (templateName !== undefined) await persist(`template '${templateName}'`, () => graphql(DELETE_TEMPLATE, { templateName }));
  return left;
}

const LIST_MADE = `query { myself {
  endpoints { id name templateId gpuIds idleTimeout locations networkVolumeId scalerType scalerValue }
  podTemplates { name }
} }`;

/** Removes what a run that was killed left, told by the run's id in its names. Gives a sentence for each thing that is left. */
export async function removeForeignRun(graphql: Graphql, runId: string): Promise<readonly string[]> {
  const { endpoints, podTemplates } = (await graphql(LIST_MADE, {}))['myself'] ?? {};
  const madeOf = (found: unknown) =>
    (Array.isArray(found) ? (found as readonly Listed[]) : []).filter(({ name }) => String(name).includes(`${runId}-`));
  const left: string[] = [];
  for (const endpoint of madeOf(endpoints)) left.push(...(await removeMade(graphql, { mark: runId, endpoint: { ...endpoint } })));
  for (const { name } of madeOf(podTemplates))
    left.push(...(await removeMade(graphql, { mark: runId, endpoint: {}, templateName: String(name) })));
  return left;
}

/** An endpoint with workers is not deleted. One that is gone is what was wanted. */
async function removeEndpoint(graphql: Graphql, endpoint: Readonly<Record<string, unknown>> & { readonly id: string }): Promise<void> {
  try {
    await graphql(SAVE_ENDPOINT, { input: { ...endpoint, workersMin: 0, workersMax: 0 } });
    await graphql(DELETE_ENDPOINT, { id: endpoint.id });
  } catch (thrown) {
    if ((await listEndpoints(graphql)).some(({ id }) => id === endpoint.id)) throw thrown;
  }
}

type Listed = { readonly id?: unknown; readonly name?: unknown };

async function listEndpoints(graphql: Graphql): Promise<readonly Listed[]> {
  const found = (await graphql(LIST_ENDPOINTS, {}))['myself']?.['endpoints'];
  return Array.isArray(found) ? found : [];
}

/** The endpoint whose id the answer that got lost had. */
async function findEndpoint(graphql: Graphql, mark: string): Promise<string | undefined> {
  const found = (await listEndpoints(graphql).catch(() => [])).find(({ name }) => String(name).includes(mark));
  return found === undefined ? undefined : String(found.id);
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= work();
    return running;
  };
}
