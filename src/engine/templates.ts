import type { Clock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import { createUuid } from '../base/ids.js';
import { createTurns } from '../base/turns.js';
import { type Binding, boundKeyOf, boundPrefixOf, type NewTemplate, parseBoundKey, type Template } from '../domain/template.js';
import type { RecordChange, Store } from '../store/store.js';

/** Where records of one kind are kept. */
export interface Records<T> {
  get(id: string): Promise<T | undefined>;
  list(): Promise<readonly T[]>;
  put(id: string, value: T): Promise<void>;
  remove(id: string): Promise<void>;
}

/** Templates, and which endpoints were made of them. */
export interface Templates {
  /** A new one when `id` is absent. Throws NAME_TAKEN, TEMPLATE_UNKNOWN. */
  save(id: string | undefined, wanted: NewTemplate): Promise<Template>;
  list(): Promise<readonly Template[]>;
  /** Throws TEMPLATE_UNKNOWN. */
  get(id: string): Promise<Template>;
  /** Undefined when there is none. */
  find(id: string): Promise<Template | undefined>;
  findByName(name: string): Promise<Template | undefined>;
  /** While something is made of it nobody removes it. Throws TEMPLATE_UNKNOWN. */
  hold<T>(id: string, work: (template: Template) => Promise<T>): Promise<T>;
  /** Throws TEMPLATE_UNKNOWN, TEMPLATE_IN_USE. */
  remove(id: string): Promise<void>;
  /** What an endpoint was made of; undefined when it was made otherwise. */
  findBinding(endpointId: string): Promise<Binding | undefined>;
  /** Keeps that. `held`: the template that is bound, where it is another one than before. */
  bind(endpointId: string, binding: Binding, held?: Template): Promise<void>;
  /** Ids of the endpoints that were made of it and are there; costs what they are, not how many others there are. */
  listBound(id: string): Promise<readonly string[]>;
}

export interface TemplatesOptions {
  readonly store: Pick<Store, 'getRecord' | 'listRecords' | 'putRecord' | 'removeRecord' | 'changeRecords' | 'getEndpoint'>;
  readonly clock: Clock;
}

export function createTemplates({ store, clock }: TemplatesOptions): Templates {
  /** Looking and writing are one step: names are unique, and what is bound is there. */
  const inTurn = createTurns();
  /** How many make something of it now. */
  const held = new Map<string, number>();
  const count = (id: string, by: 1 | -1) => {
    const left = (held.get(id) ?? 0) + by;
    if (left === 0) held.delete(id);
    else held.set(id, left);
  };
  const find = (id: string) => store.getRecord('template', id);
  const get = async (id: string): Promise<Template> => {
    const found = await find(id);
    if (found) return found;
    throw new WherryError('TEMPLATE_UNKNOWN', `there is no template '${id}'`, { hint: 'save the template first' });
  };
  const list = async () => (await store.listRecords('template')).map(({ value }) => value);
  const findByName = async (name: string) => (await list()).find((template) => template.name === name);
  const listBound = async (id: string) => {
    const bound = await store.listRecords('bound-endpoint', { prefix: boundPrefixOf(id) });
    const ids = bound.map(({ id: key }) => parseBoundKey(key).endpointId);
    const there = await Promise.all(ids.map((endpointId) => store.getEndpoint(endpointId)));
    return ids.filter((_, index) => there[index] !== undefined);
  };
  const requireUnused = async (id: string) => {
    const { name } = await get(id);
    const [user] = await listBound(id);
    const by = user === undefined ? 'an endpoint that is being made of it' : `endpoint '${user}'`;
    if (user === undefined && !held.has(id)) return;
    throw new WherryError('TEMPLATE_IN_USE', `template '${name}' is used by ${by}`, {
      hint: 'remove the endpoint first, or give it another template',
    });
  };
  return {
    save: (id, wanted) =>
      inTurn('', async () => {
        const before = id === undefined ? undefined : await get(id);
        const other = await findByName(wanted.name);
        if (other && other.id !== id) {
          throw new WherryError('NAME_TAKEN', `there is a template '${wanted.name}' already`, {
            hint: 'choose another name, or save with the id of that template',
          });
        }
        const now = clock.now();
        const template: Template = { ...wanted, id: before?.id ?? createUuid(now), createdAt: before?.createdAt ?? now };
        await store.putRecord('template', template.id, template);
        return template;
      }),
    list,
    get,
    find,
    findByName,
    async hold(id, work) {
      const template = await inTurn('', async () => {
        const found = await get(id);
        count(id, 1);
        return found;
      });
      return work(template).finally(() => count(id, -1));
    },
    remove: (id) =>
      inTurn('', async () => {
        await requireUnused(id);
        await store.removeRecord('template', id);
      }),
    findBinding: (endpointId) => store.getRecord('binding', endpointId),
    bind: (endpointId, binding, template) =>
      inTurn('', async () => {
        const before = await store.getRecord('binding', endpointId);
        // The endpoint that it came with may have taken it along: written again it stays, whichever of the two is first.
        const kept = template && ((await find(template.id)) ?? template);
        await store.changeRecords([
          ...(kept ? [{ kind: 'template', id: kept.id, value: kept } as const] : []),
          ...moveBound(endpointId, before?.templateId ?? null, binding.templateId),
          { kind: 'binding', id: endpointId, value: binding },
        ]);
      }),
    listBound,
  };
}

/** From the endpoints of one template to those of another. */
function moveBound(endpointId: string, from: string | null, to: string | null): readonly RecordChange[] {
  const change = (templateId: string | null, value: Readonly<Record<string, never>> | null): readonly RecordChange[] =>
    templateId === null ? [] : [{ kind: 'bound-endpoint', id: boundKeyOf({ templateId, endpointId }), value }];
  return [...(from === to ? [] : change(from, null)), ...change(to, {})];
}
