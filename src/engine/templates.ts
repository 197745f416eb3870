import type { Clock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import { createUuid } from '../base/ids.js';
import { createTurns } from '../base/turns.js';
import type { Binding, NewTemplate, Template } from '../domain/template.js';

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
  /** Throws TEMPLATE_UNKNOWN, TEMPLATE_IN_USE. */
  remove(id: string): Promise<void>;
  readonly bindings: Pick<Records<Binding>, 'get' | 'put'>;
  /** Ids of the endpoints that were made of it and are there. */
  listBound(id: string): Promise<readonly string[]>;
}

export interface TemplatesOptions {
  readonly records: Records<Template>;
  readonly bindings: Records<Binding>;
  /** Ids of all endpoints. */
  readonly listEndpoints: () => Promise<readonly { readonly id: string }[]>;
  readonly clock: Clock;
}

export function createTemplates({ records, bindings, listEndpoints, clock }: TemplatesOptions): Templates {
  /** Names are unique: looking and writing are one step. */
  const inTurn = createTurns();
  const get = async (id: string): Promise<Template> => {
    const found = await records.get(id);
    if (found) return found;
    throw new WherryError('TEMPLATE_UNKNOWN', `there is no template '${id}'`, { hint: 'save the template first' });
  };
  const findByName = async (name: string) => (await records.list()).find((template) => template.name === name);
  const listBound = async (id: string) => {
    const endpoints = await listEndpoints();
    const bound = await Promise.all(endpoints.map(async (endpoint) => ({ endpoint, binding: await bindings.get(endpoint.id) })));
    return bound.filter(({ binding }) => binding?.templateId === id).map(({ endpoint }) => endpoint.id);
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
        await records.put(template.id, template);
        return template;
      }),
    list: () => records.list(),
    get,
    find: (id) => records.get(id),
    findByName,
    remove: (id) =>
      inTurn('', async () => {
        const { name } = await get(id);
        const [user] = await listBound(id);
        if (user !== undefined) {
          throw new WherryError('TEMPLATE_IN_USE', `template '${name}' is used by endpoint '${user}'`, {
            hint: 'remove the endpoint first, or give it another template',
          });
        }
        await records.remove(id);
      }),
    bindings,
    listBound,
  };
}
