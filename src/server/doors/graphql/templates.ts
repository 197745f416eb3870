import { type ForeignInput, GIGABYTE, readForeignSpec, readNumber } from '../../../api/foreign-input.js';
import { formatWords } from '../../../base/shell-words.js';
import { DEFAULT_SPEC } from '../../../domain/release.js';
import type { Extras, NewTemplate, Template } from '../../../domain/template.js';
import { parseReference } from '../../../oci/reference.js';
import { type Call, changing, type Door, listVariables, requireText, USER_ID } from './context.js';

/** `SaveTemplateInput`. */
export interface TemplateInput extends ForeignInput {
  readonly id?: string | null;
  readonly name?: string | null;
  readonly imageName?: string | null;
  readonly containerRegistryAuthId?: string | null;
}

/** Kept as they came, and given back. */
const ECHOED = [
  'category',
  'isServerless',
  'isPublic',
  'readme',
  'volumeInGb',
  'volumeMountPath',
  'advancedStart',
  'startJupyter',
  'startScript',
  'startSsh',
];

/** Operations on templates. */
export function createTemplateOperations(door: Door) {
  const { templates, endpoints } = door;
  return {
    saveTemplate: changing<{ input?: TemplateInput | null }>(async ({ input }, call) => {
      const id = input?.id || undefined;
      const before = id === undefined ? undefined : await templates.get(id);
      const template = await templates.save(id, await readTemplate(door, { input: input ?? {}, before }, call));
      // As on RunPod: what endpoints were made of is what they run.
      if (before) await endpoints.rollOut(template, call);
      return viewTemplate(door, template, call);
    }),
    /** By name. One that is not there is what was asked for. */
    deleteTemplate: changing<{ templateName?: string | null }>(async ({ templateName }) => {
      const found = await templates.findByName(requireText(templateName, 'templateName'));
      if (found) await templates.remove(found.id);
      return null;
    }),
    podTemplates: async (_args: unknown, call: Call) => (await templates.list()).map((template) => viewTemplate(door, template, call)),
    podTemplate: async ({ id }: { id: string }, call: Call) => viewTemplate(door, await templates.get(id), call),
  };
}

export interface TemplateSave {
  readonly input: TemplateInput;
  /** What was there; its fields stay where the input has none. */
  readonly before?: Template | undefined;
}

/** The template of an input. Throws REQUEST_INVALID, REFERENCE_INVALID, DIGEST_INVALID. */
export async function readTemplate({ namedCredentials }: Door, { input, before }: TemplateSave, call: Call): Promise<NewTemplate> {
  const name = requireText(input.name ?? before?.name, 'name');
  readNumber(name.length, { name: 'the length of the name', min: 1, max: 191 });
  const image = requireText(input.imageName ?? before?.image, 'imageName');
  parseReference(image);
  const { containerRegistryAuthId: named = before?.credential } = input;
  const credential = named || null;
  const spec = before?.spec ?? DEFAULT_SPEC;
  if (credential !== null && (await namedCredentials.open(credential)) === undefined)
    call.notify(`there is no registry credential '${credential}': those that are stored for the registry are used`);
  return {
    name,
    image,
    credential,
    spec: { ...spec, ...readForeignSpec(input, spec) },
    extras: { ...before?.extras, ...pick(input, ECHOED) },
  };
}

/** What an input has of these fields. */
export function pick(input: Extras, names: readonly string[]): Extras {
  return Object.fromEntries(names.flatMap((name) => (input[name] === undefined ? [] : [[name, input[name]]])));
}

/** `PodTemplate`. */
export function viewTemplate({ templates }: Door, { id, name, image, credential, spec, extras }: Template, call: Call) {
  const { env, args, ports, resources } = spec;
  return {
    category: 'CPU',
    isServerless: true,
    isPublic: false,
    readme: '',
    volumeInGb: 0,
    volumeMountPath: '',
    advancedStart: false,
    startJupyter: false,
    startScript: '',
    startSsh: false,
    id,
    name,
    imageName: image,
    userId: USER_ID,
    isRunpod: false,
    boundEndpointId: async () => (await templates.listBound(id))[0] ?? null,
    dockerArgs: formatWords(args ?? []),
    containerDiskInGb: Math.round((resources.diskBytes ?? 0) / GIGABYTE),
    containerRegistryAuthId: credential,
    ports: ports.join(','),
    portsConfig: ports.map((port) => ({ port: port.split('/')[0] ?? '', name: '' })),
    env: listVariables(env, call),
    ...extras,
  };
}
