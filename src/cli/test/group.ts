import type { Graphql } from '../../api/graphql.js';
import { WherryError } from '../../base/errors.js';
import { openForeignEndpoint } from '../../check/foreign-endpoint.js';
import type { TestResult } from '../../check/result.js';
import { createCommandRunner } from '../../check/run-command.js';
import { runSuite } from '../../check/run-suite.js';
import type { TestSite } from '../../check/run-test.js';
import { Stop } from '../../check/stop.js';
import type { TestGroup } from '../../check/suite.js';
import { noEndpoint, openTestEndpoint, type TestEndpoint, type TestEndpointOptions } from '../../check/test-endpoint.js';
import type { Context } from '../command.js';
import { originOf } from '../motion.js';
import { sayResult } from './output.js';
import type { TestServer } from './server.js';
import type { TestedImage } from './subject.js';

/** Where the groups of a run are tested. */
export interface Site {
  readonly context: Context;
  readonly server: TestServer;
  readonly runId: string;
  readonly image: TestedImage;
  /** Tests and their commands are relative to it. */
  readonly dir: string;
  readonly requestTimeoutMs: number;
  readonly parallel: number | undefined;
  readonly registryAuth: string | undefined;
  /** Aborts with a {@link Stop} when the whole run ends. */
  readonly signal: AbortSignal;
}

export interface RanGroup {
  /** In the order of the group. */
  readonly results: readonly TestResult[];
  /** Of the image that ran; null when the server does not say. */
  readonly digest: string | null;
  readonly imageBytes: number | null;
  readonly warnings: readonly string[];
}

const SHOWN_LINES = 20;
/** For an endpoint that is not ours, whose workers nobody told us. */
const DEFAULT_PARALLEL = 4;

/** Tests a group on an endpoint of its own, which is removed before this resolves, or on the one that it names. Never rejects for what a test may bring about. */
export async function runGroup(group: TestGroup, number: number, site: Site): Promise<RanGroup> {
  const { server, image, signal } = site;
  const existing = image.endpointId ?? group.settings.endpointId;
  if (existing !== undefined) {
    const results = await runOn({ endpointId: existing, signal }, { group, site, parallel: DEFAULT_PARALLEL });
    return { results: await withLogs(results, existing, server), digest: null, imageBytes: null, warnings: [] };
  }
  const endpoint = await openEndpoint(group, number, site).catch((thrown: unknown) => noEndpoint(thrown));
  if (endpoint instanceof Stop) {
    const results = await runOn({ endpointId: '', signal: AbortSignal.abort(endpoint) }, { group, site, parallel: 1 });
    return { results, digest: null, imageBytes: null, warnings: [] };
  }
  const { endpointId, digest, imageBytes, warnings, broken, parallel } = endpoint;
  try {
    const results = await runOn({ endpointId, signal: AbortSignal.any([signal, broken]) }, { group, site, parallel });
    return { results: await withLogs(results, endpointId, server), digest, imageBytes, warnings };
  } finally {
    for (const sentence of [...warnings, ...(await endpoint.close())]) site.context.output.warn(sentence);
  }
}

interface On {
  readonly group: TestGroup;
  readonly site: Site;
  readonly parallel: number;
}

function runOn(
  place: Pick<TestSite, 'endpointId' | 'signal'>,
  { group, site: { server, runId, requestTimeoutMs, dir, ...site }, parallel }: On,
): Promise<readonly TestResult[]> {
  return runSuite({
    ...place,
    ...{
      client: server.client,
      tests: group.tests,
      requestTimeoutMs,
      isKeyKnown: server.kind !== 'foreign',
      runId,
      runCommand: createCommandRunner(dir, site.context.environment),
    },
    parallel: site.parallel ?? parallel,
    onResult: (result) => sayResult(site.context.output, result),
  });
}

async function openEndpoint(group: TestGroup, number: number, site: Site): Promise<TestEndpoint> {
  const { server, runId, image, registryAuth, signal } = site;
  const { client, graphql, kind } = server;
  // The groups behind an interruption make nothing any more.
  signal.throwIfAborted();
  if (kind === 'foreign') return openForeignEndpoint({ graphql, runId, number, group, image: image.reference, registryAuth, signal });
  const { templateId } = group.settings;
  const { reference, spec, settings } = image;
  const given: Meant = { group, image: { origin: originOf(reference), spec, settings } };
  const meant = templateId === undefined ? given : await readTemplate(graphql, given, templateId);
  return openTestEndpoint({ client, runId, number, ...meant, isLeased: kind === 'known', signal });
}

const TEMPLATE = 'query ($id: String!) { podTemplate(id: $id) { imageName dockerArgs containerDiskInGb env { key value } } }';

type Meant = Pick<TestEndpointOptions, 'group' | 'image'>;

/** With a template of the server instead of the image: its settings become the group's, as a release copies it. Throws REQUEST_INVALID, TEMPLATE_UNKNOWN. */
async function readTemplate(graphql: Graphql, { group, image }: Meant, id: string): Promise<Meant> {
  const found = (await graphql(TEMPLATE, { id }))['podTemplate'];
  const { imageName, ...config } = found ?? {};
  if (typeof imageName !== 'string')
    throw new WherryError('TEMPLATE_UNKNOWN', `the server has no template '${id}'`, { hint: 'save the template there first' });
  const templateConfig = { ...config, ...group.settings.templateConfig };
  return { group: { ...group, settings: { ...group.settings, templateConfig } }, image: { ...image, origin: { reference: imageName } } };
}

/** The reason of a failure is often in what the worker said. */
async function withLogs(results: readonly TestResult[], endpointId: string, { client, kind }: TestServer): Promise<readonly TestResult[]> {
  const complete = async (result: TestResult): Promise<TestResult> => {
    if (result.isPassed) return result;
    const workerId = result.job?.workerId;
    const lines = await client.readLogs(endpointId, { limit: SHOWN_LINES, ...(workerId != null && { worker: workerId }) }).catch(() => []);
    return { ...result, log: lines.map(({ text }) => text) };
  };
  return kind === 'foreign' ? results : Promise.all(results.map(complete));
}
