import { WherryError } from '../base/errors.js';
import { parseWords } from '../base/shell-words.js';
import type { EndpointSettings } from '../domain/endpoint.js';
import { formatModel, parseModel } from '../domain/model.js';
import { CUDA_PATTERN } from '../domain/placement.js';
import { ARGUMENT_PATTERN, type ReleaseSpec } from '../domain/release.js';
import { VARIABLE_PATTERN } from '../domain/secret.js';
import { VOLUME_PATTERN } from '../domain/volume.js';
import type { Size, Wishes } from '../domain/wishes.js';
import { VOLUME_ROOT } from '../domain/worker-environment.js';

/**
 * RunPod's `SaveTemplateInput` or `EndpointInput`, in part, as clients of its API and test files have it. This file alone says what they mean
 * here; values are checked when they are read, for test files are free in what they hold.
 */
export type ForeignInput = Readonly<Record<string, unknown>>;

/** What of the settings of an endpoint an input changes. */
export interface ForeignSettings {
  readonly scale: Partial<EndpointSettings['scale']>;
  readonly limits: Partial<EndpointSettings['limits']>;
}

/** Bytes of what RunPod calls a GB. */
export const GIGABYTE = 2 ** 30;

const MONTH_S = 2_592_000;
const VARIABLE = new RegExp(VARIABLE_PATTERN);
const VALUE = new RegExp(ARGUMENT_PATTERN);
const CUDA = new RegExp(CUDA_PATTERN);
const VOLUME = new RegExp(VOLUME_PATTERN);
const SCALERS: Readonly<Record<string, 'queueDelay' | 'requestCount'>> = {
  QUEUE_DELAY: 'queueDelay',
  REQUEST_COUNT: 'requestCount',
  WORKER_COUNT: 'requestCount',
};
/** As RunPod: off unless asked for. */
const KEEPS: Readonly<Record<string, 'freeze' | 'none'>> = { OFF: 'none', FLASHBOOT: 'freeze', PRIORITY_FLASHBOOT: 'freeze' };

/** What a template changes of a release. Absent and null say nothing. Throws REQUEST_INVALID. */
export function readForeignSpec(
  { dockerArgs, env, ports, containerDiskInGb }: ForeignInput,
  before: Partial<ReleaseSpec>,
): Partial<ReleaseSpec> {
  const disk = readNumber(containerDiskInGb, { name: 'containerDiskInGb', min: 0, max: 1_000_000 });
  const { diskBytes: _diskBytes, ...resources } = before.resources ?? {};
  const words = isNothing(dockerArgs) ? undefined : parseWords(readText(dockerArgs, 'dockerArgs'));
  return {
    ...(words && { args: words.length === 0 ? null : words }),
    ...(!isNothing(env) && { env: readVariables(readList(env, 'env')) }),
    ...(!isNothing(ports) && { ports: readWords(ports, 'ports') }),
    ...(disk !== undefined && { resources: { ...resources, ...(disk > 0 && { diskBytes: disk * GIGABYTE }) } }),
  };
}

function readVariables(pairs: readonly unknown[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const { key, value } = (pair ?? {}) as ForeignInput;
      const [name, text] = [String(key), isNothing(value) ? '' : readText(value, 'the value of a variable')];
      if (VARIABLE.test(name) && VALUE.test(text)) return [name, text] as const;
      throw new WherryError('REQUEST_INVALID', `the environment variable '${name}' cannot be set`, {
        hint: 'names have letters, digits and _, values no zero byte',
      });
    }),
  );
}

/** What an endpoint changes of its settings. Absent and null say nothing. Throws REQUEST_INVALID. */
export function readForeignSettings(input: ForeignInput): ForeignSettings {
  const idle = readNumber(input['idleTimeout'], { name: 'idleTimeout', min: 0, max: MONTH_S, isWhole: false });
  const min = readNumber(input['workersMin'], { name: 'workersMin', min: 0, max: 1_000 });
  const max = readNumber(input['workersMax'], { name: 'workersMax', min: 0, max: 1_000 });
  const value = readNumber(input['scalerValue'], { name: 'scalerValue', min: 0.001, max: 1_000_000, isWhole: false });
  const executionMs = readNumber(input['executionTimeoutMs'], { name: 'executionTimeoutMs', min: 0, max: MONTH_S * 1_000 });
  const type = readWord(input['scalerType'], SCALERS, 'scalerType');
  const keep = readWord(input['flashBootType'], KEEPS, 'flashBootType');
  return {
    scale: {
      ...(min !== undefined && { min }),
      ...(max !== undefined && { max }),
      ...(idle !== undefined && { idleMs: Math.round(idle * 1_000) }),
      ...(type && { type }),
      ...(value !== undefined && { value }),
      ...(keep && { keep }),
    },
    limits: { ...(executionMs !== undefined && { executionMs }) },
  };
}

/** What an endpoint asks of its host; {@link grantWishes} says what it gets. Throws REQUEST_INVALID. */
export function readWishes(input: ForeignInput): Wishes {
  const kinds = readWords(input['gpuIds'], 'gpuIds');
  const count = readNumber(input['gpuCount'], { name: 'gpuCount', min: 0, max: 1_000 }) ?? 1;
  const sizes = readWords(input['instanceIds'], 'instanceIds').flatMap((id) => sizeOf(id) ?? []);
  const cuda = readCuda(input);
  const models = readWords(input['modelReferences'], 'modelReferences').map(readModel);
  const [volume] = volumesOf(input);
  return {
    // None without a pool: clients send a count with endpoints that ask for no GPU at all.
    gpu: { count: kinds.length === 0 ? 0 : count, kinds },
    ...(sizes.length > 0 && { sizes }),
    ...(cuda !== undefined && { cuda }),
    ...(models.length > 0 && { models }),
    ...(volume !== undefined && { volumes: [readVolume(volume)] }),
  };
}

/** `cpu3g-4-16`: a flavour, its cores, its memory. */
function sizeOf(instanceId: string): Size | undefined {
  const [, cpu, memory] = /^\w+-(\d{1,4})-(\d{1,5})$/.exec(instanceId) ?? [];
  const size = { cpu: Number(cpu), memoryBytes: Number(memory) * GIGABYTE };
  return size.cpu > 0 && size.memoryBytes > 0 ? size : undefined;
}

function readCuda({ allowedCudaVersions, minCudaVersion }: ForeignInput): Wishes['cuda'] {
  const allowed = readWords(allowedCudaVersions, 'allowedCudaVersions').map((word) => readVersion(word, 'allowedCudaVersions'));
  if (allowed.length > 0) return allowed;
  const [least] = readWords(minCudaVersion, 'minCudaVersion');
  return least === undefined ? undefined : readVersion(least, 'minCudaVersion');
}

function readVersion(word: string, name: string): string {
  // 12.0 sent as a number arrives as 12.
  const version = /^\d+$/.test(word) ? `${word}.0` : word;
  if (CUDA.test(version)) return version;
  throw new WherryError('REQUEST_INVALID', `${name} '${word}' is not a version of CUDA`, { hint: 'send one like 12.4' });
}

/** `https://HUB/ORGANISATION/NAME:REVISION`, or without the hub: there is one, which the server knows. */
function readModel(text: string): string {
  return formatModel(parseModel(text.replace(/^https?:\/\/[^/]+\//, '').replace(':', '@')));
}

function readVolume(id: string): string {
  const volume = `${id}:${VOLUME_ROOT}`;
  if (VOLUME.test(volume)) return volume;
  throw new WherryError('REQUEST_INVALID', `network volume '${id}' cannot be attached`, {
    hint: 'ids of volumes have letters, digits, dots, dashes and _',
  });
}

/** Ids of network volumes, the one that is attached first. */
function volumesOf({ networkVolumeId, networkVolumeIds }: ForeignInput): readonly string[] {
  const more = isNothing(networkVolumeIds) ? [] : readList(networkVolumeIds, 'networkVolumeIds');
  const ids = more.map((each) => (typeof each === 'object' && each !== null ? (each as ForeignInput)['networkVolumeId'] : each));
  const named = [networkVolumeId, ...ids].flatMap((id) => (isNothing(id) || id === '' ? [] : readText(id, 'networkVolumeId')));
  return [...new Set(named)];
}

/** Throws REQUEST_INVALID for what there is no equivalent of: an endpoint without it would not be what was asked for. */
export function refuseUnserved({ type, hubReleaseId }: ForeignInput): void {
  if (!isNothing(type) && type !== '' && type !== 'QB')
    throw new WherryError('REQUEST_INVALID', `endpoints of type '${String(type)}' are not served`, {
      hint: "leave 'type' out, or send QB",
    });
  if (!isNothing(hubReleaseId) && hubReleaseId !== '')
    throw new WherryError('REQUEST_INVALID', 'this server has no hub', { hint: 'send the templateId of a template that names the image' });
}

/** What of an endpoint's input is accepted and not as it may seem, in sentences. */
export function noticeInput(input: ForeignInput): readonly string[] {
  const [volume, ...others] = volumesOf(input);
  const unknown = readWords(input['instanceIds'], 'instanceIds').filter((id) => sizeOf(id) === undefined);
  return [
    ...(volume === undefined ? [] : [`network volume '${volume}' is the volume of that name on this host`]),
    ...(others.length > 0 ? [`of several network volumes the first is attached, not ${others.map((id) => `'${id}'`).join(', ')}`] : []),
    ...(unknown.length > 0 ? [`${unknown.map((id) => `'${id}'`).join(', ')}: no known size of a worker, any will do`] : []),
    ...(readWords(input['locations'], 'locations').length > 0 ? ['locations are remembered: workers run on this host'] : []),
  ];
}

/** A number in its bounds, whole unless said otherwise, or undefined when it was not given. Throws REQUEST_INVALID. */
export function readNumber(
  value: unknown,
  { name, min, max, isWhole = true }: { readonly name: string; readonly min: number; readonly max: number; readonly isWhole?: boolean },
): number | undefined {
  if (isNothing(value)) return undefined;
  if (typeof value === 'number' && value >= min && value <= max && (!isWhole || Number.isInteger(value))) return value;
  throw new WherryError(
    'REQUEST_INVALID',
    `${name} ${JSON.stringify(value)} is not a ${isWhole ? 'whole ' : ''}number from ${min} to ${max}`,
    {
      hint: `send another ${name}`,
    },
  );
}

function isNothing(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

function readText(value: unknown, name: string): string {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new WherryError('REQUEST_INVALID', `${name} is not a text`, { hint: `send ${name} as a text` });
}

function readList(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new WherryError('REQUEST_INVALID', `${name} is not a list`, { hint: `send ${name} as a list` });
}

/** A list, or a text with commas. */
function readWords(value: unknown, name: string): readonly string[] {
  if (isNothing(value)) return [];
  const texts = Array.isArray(value) ? value.filter((each) => !isNothing(each)) : [value];
  return texts.flatMap((each) => readText(each, name).split(',')).flatMap((word) => word.trim() || []);
}

/** Absent, null and empty say nothing. Throws REQUEST_INVALID. */
function readWord<T>(value: unknown, words: Readonly<Record<string, T>>, name: string): T | undefined {
  if (isNothing(value) || value === '') return undefined;
  const text = String(value);
  const meant = Object.hasOwn(words, text) ? words[text] : undefined;
  if (meant !== undefined) return meant;
  throw new WherryError('REQUEST_INVALID', `${name} '${text}' is not known`, { hint: `send one of ${Object.keys(words).join(', ')}` });
}
