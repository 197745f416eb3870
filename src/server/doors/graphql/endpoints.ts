import { type ForeignInput, noticeInput, readForeignSettings, readNumber, readWishes, refuseUnserved } from '../../../api/foreign-input.js';
import { WherryError } from '../../../base/errors.js';
import { DEFAULT_SETTINGS, type EndpointSettings } from '../../../domain/endpoint.js';
import type { Extras } from '../../../domain/template.js';
import type { BoundEndpoint, EndpointSave } from '../../../engine/bound-endpoints.js';
import { type Call, changing, type Door, listVariables, requireText, USER_ID } from './context.js';
import { pick, readTemplate, type TemplateInput, viewTemplate } from './templates.js';

/** `EndpointInput`. */
interface EndpointInput extends ForeignInput {
  readonly id?: string | null;
  readonly name?: string | null;
  readonly templateId?: string | null;
  readonly template?: TemplateInput | null;
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
/** Operations on endpoints. */
export function createEndpointOperations(door: Door) {
  const { endpoints } = door;
  return {
    saveEndpoint: changing<{ input: EndpointInput }>(async ({ input }, call) => {
      refuseUnserved(input);
      const wanted = await readEndpoint(door, input, call);
      for (const notice of noticeInput(input)) call.notify(notice);
      if (input.id) {
        const change = ({ endpoint, binding }: BoundEndpoint) => {
          const wishes = readWishes({ ...binding?.extras, ...wanted.extras });
          return { ...wanted, wishes, settings: changeSettings(endpoint.settings, input) };
        };
        return viewEndpoint(door, await endpoints.save(input.id, change, call), call);
      }
      const name = requireText(input.name, 'name');
      const { template } = wanted;
      if (!template)
        throw new WherryError('REQUEST_INVALID', "'templateId' is missing", { hint: 'save a template first, and send its id' });
      // Clients before there was a flashBootType say it with the name.
      const keep = name.endsWith('-fb') ? 'freeze' : 'none';
      const settings = changeSettings({ ...DEFAULT_SETTINGS, scale: { ...DEFAULT_SETTINGS.scale, keep } }, input);
      const wishes = readWishes(wanted.extras);
      return viewEndpoint(door, await endpoints.create({ ...wanted, wishes, name, template, settings }, call), call);
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

type Told = Pick<EndpointSave, 'name' | 'template'> & { readonly extras: Extras };

async function readEndpoint(door: Door, input: EndpointInput, call: Call): Promise<Told> {
  const { name, templateId, template } = input;
  readNumber(name?.length, { name: 'the length of the name', min: 0, max: 191 });
  return {
    ...(name && { name }),
    ...(templateId
      ? { template: { id: templateId } }
      : template && { template: { own: await readOwn(door, { input: template, name }, call) } }),
    extras: pick(input, ECHOED),
  };
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

function changeSettings({ scale, limits, ...rest }: EndpointSettings, input: EndpointInput): EndpointSettings {
  const change = readForeignSettings(input);
  return { ...rest, scale: { ...scale, ...change.scale }, limits: { ...limits, ...change.limits } };
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
      const bound = templateId === null ? undefined : await templates.find(templateId);
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
