import { isEqual } from '../base/equal.js';
import { WherryError } from '../base/errors.js';
import { createEndpointId } from '../base/ids.js';
import { createTurns } from '../base/turns.js';
import type { Endpoint, EndpointSettings } from '../domain/endpoint.js';
import type { Binding, Extras, NewTemplate, SavedContent, Template, TemplateContent } from '../domain/template.js';
import { grantWishes, NO_WISHES, type Wishes } from '../domain/wishes.js';
import type { DeployRequest, Engine } from './engine.js';
import type { Templates } from './templates.js';

export interface BoundEndpointsOptions {
  readonly engine: Engine;
  readonly templates: Templates;
}

/** Who saves, and how to tell them what was accepted but is not as they may think. */
export interface Saver {
  /** The key's name. */
  readonly author: string;
  notify(notice: string): void;
}

/** What is saved of an endpoint; absent fields stay as they are. */
export interface EndpointSave {
  readonly name?: string;
  readonly settings?: EndpointSettings;
  /** One that is there, or one of its own, which goes with the endpoint. */
  readonly template?: { readonly id: string } | { readonly own: NewTemplate };
  readonly wishes?: Wishes;
  readonly extras?: Extras;
}

export interface BoundEndpoint {
  readonly endpoint: Endpoint;
  /** Undefined for an endpoint that was never saved here. */
  readonly binding: Binding | undefined;
}

/** Endpoints that are made of templates, and follow them. */
export interface BoundEndpoints {
  /** Makes an endpoint with an id of its own, and its release; nothing stays when one of them cannot be made. Throws as deploys do, TEMPLATE_UNKNOWN. */
  create(wanted: EndpointSave & Required<Pick<EndpointSave, 'name' | 'settings' | 'template'>>, saver: Saver): Promise<BoundEndpoint>;
  /** Makes a release only when what it is made of changed since the last save. Throws ENDPOINT_UNKNOWN and as {@link create}. */
  save(id: string, change: (before: BoundEndpoint) => EndpointSave, saver: Saver): Promise<BoundEndpoint>;
  /** Makes a release of each endpoint of a template that changed. Throws as deploys do. */
  rollOut(template: Template, saver: Saver): Promise<void>;
  read(id: string): Promise<BoundEndpoint>;
  list(): Promise<readonly BoundEndpoint[]>;
  /** With its workers, and with its template when that is its own. Throws ENDPOINT_UNKNOWN. */
  remove(id: string): Promise<void>;
}

export function createBoundEndpoints({ engine, templates }: BoundEndpointsOptions): BoundEndpoints {
  /** Saves of one endpoint come after each other: each looks at what the one before left. */
  const inTurn = createTurns();
  const bind = createBind(engine, templates);

  const read = async (id: string): Promise<BoundEndpoint> => {
    const [endpoint, binding] = await Promise.all([engine.getEndpoint(id), templates.findBinding(id)]);
    return { endpoint, binding };
  };
  /** Unless somebody made another endpoint of it meanwhile, or is about to. */
  const removeOwn = async ({ isOwn, templateId }: Binding) => {
    if (isOwn && templateId !== null) await templates.remove(templateId).catch(letStay);
  };
  const save: BoundEndpoints['save'] = (id, change, saver) =>
    inTurn(id, async () => {
      const before = await read(id);
      const binding = await bind({ id, before: before.binding, wanted: change(before) }, saver);
      if (before.binding && before.binding.templateId !== binding.templateId) await removeOwn(before.binding);
      // A deploy may take long: settings may have been changed meanwhile.
      const { name, settings } = change(await read(id));
      const endpoint = await engine.updateEndpoint(id, { ...(name !== undefined && { name }), ...(settings && { settings }) });
      return { endpoint, binding };
    });
  return {
    async create({ name, settings, template: chosen, ...wanted }, saver) {
      const template = 'id' in chosen ? await templates.get(chosen.id) : await templates.save(undefined, chosen.own);
      const before: Binding = { templateId: template.id, isOwn: 'own' in chosen, saved: null, extras: {} };
      const id = createEndpointId();
      try {
        const binding = await bind({ id, endpoint: { name, settings }, before, wanted: { ...wanted, template } }, saver);
        return { endpoint: await engine.getEndpoint(id), binding };
      } catch (cause) {
        // It may never have been made, and why is the answer.
        await engine.removeEndpoint(id).catch(() => {});
        await removeOwn(before);
        throw cause;
      }
    },
    save,
    async rollOut(template, saver) {
      for (const id of await templates.listBound(template.id)) await save(id, () => ({ template }), saver);
    },
    read,
    list: async () => {
      const endpoints = await engine.listEndpoints();
      return Promise.all(endpoints.map(async (endpoint) => ({ endpoint, binding: await templates.findBinding(endpoint.id) })));
    },
    remove: (id) => engine.removeEndpoint(id),
  };
}

interface Bound {
  readonly id: string;
  /** Makes it. */
  readonly endpoint?: DeployRequest['endpoint'];
  readonly before: Binding | undefined;
  readonly wanted: Pick<EndpointSave, 'template' | 'wishes' | 'extras'>;
}

/** Deploys what changed, and keeps what was saved. */
function createBind({ deploy, host }: Engine, templates: Templates) {
  const choose = async (before: Binding | undefined, chosen: EndpointSave['template']) => {
    if (!chosen) return undefined;
    if ('id' in chosen) return templates.get(chosen.id);
    return templates.save(before?.isOwn ? (before.templateId ?? undefined) : undefined, chosen.own);
  };
  const release = async ({ id, endpoint }: Bound, { image, credential, spec, ...wishes }: SavedContent, { author, notify }: Saver) => {
    const { change, notices } = grantWishes(spec, wishes, host());
    const { warnings } = await deploy(id, {
      ...(endpoint && { endpoint }),
      from: { reference: image, ...(credential !== null && { credential }) },
      spec: { ...spec, ...change },
      author,
      sourceRevision: null,
      isSuperseding: true,
    });
    for (const notice of [...notices, ...warnings]) notify(notice);
  };
  const keep = async (bound: Bound, saver: Saver, template?: Template): Promise<Binding> => {
    const { id, before, wanted } = bound;
    const content = template ?? before?.saved;
    const saved = content ? describeContent(content, wanted.wishes ?? before?.saved ?? NO_WISHES) : null;
    if (saved && !isEqual(saved, before?.saved ?? null)) await release(bound, saved, saver);
    const templateId = template?.id ?? before?.templateId ?? null;
    const isOwn =
      (wanted.template !== undefined && 'own' in wanted.template) || (before?.isOwn === true && before.templateId === templateId);
    const binding: Binding = { templateId, isOwn, saved, extras: { ...before?.extras, ...wanted.extras } };
    await templates.bind(id, binding, template);
    return binding;
  };
  // A deploy may take long: the template stays until the endpoint is bound to it.
  return async (bound: Bound, saver: Saver): Promise<Binding> => {
    const chosen = await choose(bound.before, bound.wanted.template);
    return chosen ? templates.hold(chosen.id, (template) => keep(bound, saver, template)) : keep(bound, saver);
  };
}

function letStay(thrown: unknown): void {
  if (thrown instanceof WherryError && (thrown.code === 'TEMPLATE_IN_USE' || thrown.code === 'TEMPLATE_UNKNOWN')) return;
  throw thrown;
}

function describeContent({ image, credential, spec }: TemplateContent, { gpu, sizes, cuda, models, volumes }: Wishes): SavedContent {
  const wishes = {
    gpu,
    ...(sizes && { sizes }),
    ...(cuda !== undefined && { cuda }),
    ...(models && { models }),
    ...(volumes && { volumes }),
  };
  return { image, credential, spec, ...wishes };
}
