import { WherryError } from '../../../base/errors.js';
import { DEFAULT_SETTINGS, type EndpointSettings } from '../../../domain/endpoint.js';
import type { Extras, GpuWish } from '../../../domain/template.js';
import type { BoundEndpoint, EndpointSave } from '../endpoints.js';
import { type Call, changing, type Door, listVariables, readNumber, requireText, USER_ID } from './context.js';
import { pick, readTemplate, type TemplateInput, viewTemplate } from './templates.js';

/** `EndpointInput`. */
interface EndpointInput {
  readonly id?: string | null;
  readonly name?: string | null;
  readonly type?: string | null;
  readonly templateId?: string | null;
  readonly template?: TemplateInput | null;
  readonly hubReleaseId?: string | null;
  readonly gpuIds?: string | null;
  readonly gpuCount?: number | null;
  readonly networkVolumeId?: string | null;
  readonly networkVolumeIds?: readonly unknown[] | null;
  readonly locations?: string | null;
  readonly minCudaVersion?: string | null;
  readonly allowedCudaVersions?: string | null;
  readonly modelReferences?: readonly string[] | null;
  readonly idleTimeout?: number | null;
  readonly scalerType?: string | null;
  readonly scalerValue?: number | null;
  readonly workersMin?: number | null;
  readonly workersMax?: number | null;
  readonly executionTimeoutMs?: number | null;
  readonly flashBootType?: string | null;
  readonly [more: string]: unknown;
}

/** Kept as they came, and given back: clients send them again with every save. */
const ECHOED = [
  'gpuIds',
  'gpuCount',
  'instanceIds',
  'computeType',
  'networkVolumeId',
  'networkVolumeIds',
  'locations',
  'workersStandby',
  'workersPFBTarget',
  'flashBootType',
  'minCudaVersion',
  'allowedCudaVersions',
  'modelReferences',
  'compliance',
];
const MONTH_S = 2_592_000;
const SCALERS: Readonly<Record<string, 'queueDelay' | 'requestCount'>> = {
  QUEUE_DELAY: 'queueDelay',
  REQUEST_COUNT: 'requestCount',
  WORKER_COUNT: 'requestCount',
};
/** As RunPod: off unless asked for. */
const KEEPS: Readonly<Record<string, 'freeze' | 'none'>> = { OFF: 'none', FLASHBOOT: 'freeze', PRIORITY_FLASHBOOT: 'freeze' };

/** Operations on endpoints. */
export function createEndpointOperations(door: Door) {
  const { endpoints } = door;
  return {
    saveEndpoint: changing<{ input: EndpointInput }>(async ({ input }, call) => {
      refuseForeign(input);
      const wanted = await readEndpoint(door, input, call);
      notice(input, call);
      if (input.id) {
        const change = ({ endpoint, binding }: BoundEndpoint) => {
          const gpu = readGpu({ ...binding?.extras, ...wanted.extras });
          return { ...wanted, gpu, settings: readSettings(input, endpoint.settings) };
        };
        return viewEndpoint(door, await endpoints.save(input.id, change, call), call);
      }
      const name = requireText(input.name, 'name');
      const { template } = wanted;
      if (!template)
        throw new WherryError('REQUEST_INVALID', "'templateId' is missing", { hint: 'save a template first, and send its id' });
      // Clients before there was a flashBootType say it with the name.
      const keep = name.endsWith('-fb') ? 'freeze' : 'none';
      const settings = readSettings(input, { ...DEFAULT_SETTINGS, scale: { ...DEFAULT_SETTINGS.scale, keep } });
      const gpu = readGpu(wanted.extras);
      return viewEndpoint(door, await endpoints.create({ ...wanted, gpu, name, template, settings }, call), call);
    }),
    /** Whatever workers it may have: they are stopped. */
    deleteEndpoint: changing<{ id: string }>(async ({ id }) => {
      await endpoints.remove(id);
      return null;
    }),
    updateEndpointTemplate: changing<{ input?: { templateId: string; endpointId?: string | null; id?: string | null } | null }>(
      async ({ input }, call) => {
        const id = requireText(input?.endpointId || input?.id, 'endpointId');
        const template = { id: requireText(input?.templateId, 'templateId') };
        return viewEndpoint(door, await endpoints.save(id, () => ({ template }), call), call);
      },
    ),
  };
}

/** Throws REQUEST_INVALID for what there is no equivalent of: an endpoint without it would not be what was asked for. */
function refuseForeign({ type, hubReleaseId }: EndpointInput): void {
  if (type && type !== 'QB')
    throw new WherryError('REQUEST_INVALID', `endpoints of type '${type}' are not served`, { hint: "leave 'type' out, or send QB" });
  if (hubReleaseId)
    throw new WherryError('REQUEST_INVALID', 'this server has no hub', { hint: 'send the templateId of a template that names the image' });
}

type Told = Pick<EndpointSave, 'name' | 'template'> & { readonly extras: Extras };

async function readEndpoint(door: Door, input: EndpointInput, call: Call): Promise<Told> {
  const { name, templateId, template } = input;
  readNumber(name?.length, { name: 'the length of the name', min: 0, max: 191 });
  readNumber(input.gpuCount, { name: 'gpuCount', min: 0, max: 1_000 });
  return {
    ...(name && { name }),
    ...(templateId
      ? { template: { id: templateId } }
      : template && { template: { own: await readOwn(door, { input: template, name }, call) } }),
    extras: pick(input, ECHOED),
  };
}

/** GPUs of a worker: one unless more are asked for, none without a pool. */
function readGpu({ gpuIds, gpuCount }: Extras): GpuWish {
  const kinds = String(gpuIds ?? '')
    .split(',')
    .flatMap((kind) => kind.trim() || []);
  return { count: kinds.length === 0 ? 0 : typeof gpuCount === 'number' ? gpuCount : 1, kinds };
}

/** A template that comes with its endpoint; its name has to be unique all the same. */
async function readOwn(
  door: Door,
  { input, name }: { readonly input: TemplateInput; readonly name: string | null | undefined },
  call: Call,
) {
  const wanted = input.name || `${name ?? 'endpoint'} template`;
  const isTaken = (await door.templates.findByName(wanted)) !== undefined;
  return readTemplate(door, { input: { ...input, name: isTaken ? `${wanted} ${crypto.randomUUID().slice(0, 8)}` : wanted } }, call);
}

/** What was accepted and has no effect here. */
function notice({ networkVolumeId, networkVolumeIds, locations, ...input }: EndpointInput, call: Call): void {
  if (networkVolumeId || networkVolumeIds?.length) call.notify('network volumes are remembered, not attached');
  if (input.minCudaVersion || input.allowedCudaVersions) call.notify('versions of CUDA are remembered, not asked for');
  if (input.modelReferences?.length) call.notify('models are remembered, not fetched');
  if (locations) call.notify('locations are remembered: workers run on this host');
}

function readSettings(input: EndpointInput, { scale, limits, ...rest }: EndpointSettings): EndpointSettings {
  const idle = readNumber(input.idleTimeout, { name: 'idleTimeout', min: 0, max: MONTH_S, isWhole: false });
  const min = readNumber(input.workersMin, { name: 'workersMin', min: 0, max: 1_000 });
  const max = readNumber(input.workersMax, { name: 'workersMax', min: 0, max: 1_000 });
  const value = readNumber(input.scalerValue, { name: 'scalerValue', min: 0.001, max: 1_000_000, isWhole: false });
  const executionMs = readNumber(input.executionTimeoutMs, { name: 'executionTimeoutMs', min: 0, max: MONTH_S * 1_000 });
  const type = readWord(input.scalerType, SCALERS, 'scalerType');
  const keep = readWord(input.flashBootType, KEEPS, 'flashBootType');
  return {
    ...rest,
    scale: {
      ...scale,
      ...(min !== undefined && { min }),
      ...(max !== undefined && { max }),
      ...(idle !== undefined && { idleMs: Math.round(idle * 1_000) }),
      ...(type && { type }),
      ...(value !== undefined && { value }),
      ...(keep && { keep }),
    },
    limits: { ...limits, ...(executionMs !== undefined && { executionMs }) },
  };
}

/** Absent, null and empty say nothing. Throws REQUEST_INVALID. */
function readWord<T>(text: string | null | undefined, words: Readonly<Record<string, T>>, name: string): T | undefined {
  if (!text) return undefined;
  const meant = Object.hasOwn(words, text) ? words[text] : undefined;
  if (meant !== undefined) return meant;
  throw new WherryError('REQUEST_INVALID', `${name} '${text}' is not known`, { hint: `send one of ${Object.keys(words).join(', ')}` });
}

/** `Endpoint`. What costs a look at the store is read only when it is asked for. */
export function viewEndpoint(door: Door, { endpoint, binding }: BoundEndpoint, call: Call) {
  const { engine, templates } = door;
  const { id, name, settings, activeRelease, createdAt } = endpoint;
  const { scale, limits } = settings;
  const { extras = {}, templateId = null } = binding ?? {};
  const isFrozen = scale.keep !== 'none';
  const kept = extras['flashBootType'] === 'PRIORITY_FLASHBOOT' ? 'PRIORITY_FLASHBOOT' : 'FLASHBOOT';
  const isCpu = Boolean((extras['instanceIds'] as readonly string[] | null | undefined)?.length);
  return {
    gpuIds: '',
    gpuCount: 1,
    instanceIds: [],
    computeType: isCpu ? 'CPU' : 'GPU',
    networkVolumeId: null,
    networkVolumeIds: [],
    locations: null,
    workersStandby: 0,
    modelReferences: [],
    compliance: [],
    ...extras,
    id,
    name,
    userId: USER_ID,
    type: 'QB',
    createdAt: new Date(createdAt).toISOString(),
    version: async () => (await engine.listReleases(id, { limit: 1 }))[0]?.number ?? 0,
    templateId,
    template: async () => {
      const bound = (await templates.list()).find((template) => template.id === templateId);
      return bound ? viewTemplate(door, bound, call) : null;
    },
    env: async () => (activeRelease === null ? [] : listVariables((await engine.getRelease(id, activeRelease)).spec.env, call)),
    idleTimeout: scale.idleMs / 1_000,
    scalerType: scale.type === 'queueDelay' ? 'QUEUE_DELAY' : 'REQUEST_COUNT',
    scalerValue: scale.value,
    workersMin: scale.min,
    workersMax: scale.max,
    executionTimeoutMs: limits.executionMs,
    flashBootType: isFrozen ? kept : 'OFF',
    pods: async () => (await engine.listWorkers(id, false)).map((worker) => ({ id: worker.id, desiredStatus: 'RUNNING' })),
  };
}
