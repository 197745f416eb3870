import { WherryError } from '../../base/errors.js';
import { type EndpointSettings, KEEPS, SCALER_TYPES } from '../../domain/endpoint.js';
import { parseDuration } from '../../project/units.js';
import { type Option, type OptionValues, textOf } from '../command.js';

type Scale = EndpointSettings['scale'];
export type ScaleChange = Partial<Scale>;

/** Each setting of `scale` as an option; the names are those of wherry.yaml. */
export const POLICY_OPTIONS: readonly Option[] = [
  { flags: '--min <n>', text: 'workers that always run' },
  { flags: '--max <n>', text: 'most workers' },
  { flags: '--idle <duration>', text: 'how long a worker without work stays' },
  { flags: '--type <type>', text: 'queueDelay or requestCount' },
  { flags: '--value <number>', text: 'seconds for queueDelay, jobs a worker for requestCount' },
  { flags: '--extra <n>', text: 'idle workers to hold ready beyond what the queue needs' },
  { flags: '--rest-after <duration>', text: 'without a request for so long, min and extra count as 0; 0 is never' },
  { flags: '--keep <what>', text: 'freeze or none: what becomes of an idle worker' },
];

const READERS: Readonly<Record<string, (text: string) => ScaleChange>> = {
  min: (text) => ({ min: readCount('min', text) }),
  max: (text) => ({ max: readCount('max', text) }),
  idle: (text) => ({ idleMs: readDuration('idle', text) }),
  type: (text) => ({ type: readOneOf('type', text, SCALER_TYPES) }),
  value: (text) => ({ value: readPositive('value', text) }),
  extra: (text) => ({ extra: readCount('extra', text) }),
  restAfter: (text) => ({ restAfterMs: readDuration('restAfter', text) }),
  keep: (text) => ({ keep: readOneOf('keep', text, KEEPS) }),
};

/** The settings that were given as options. Throws USAGE. */
export function readPolicyOptions(options: OptionValues): ScaleChange {
  const given = Object.keys(READERS).flatMap((name) => {
    const text = textOf(options, name);
    return text === undefined ? [] : [READERS[name]?.(text) ?? {}];
  });
  return Object.assign({}, ...given) as ScaleChange;
}

/** The settings of `max=5,idle=30s`. Throws USAGE. */
export function parsePolicyChange(text: string): ScaleChange {
  const given = text.split(',').map((part) => {
    const [name = '', value = ''] = part.split('=').map((word) => word.trim());
    const reader = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
    if (reader) return reader(value);
    throw new WherryError('USAGE', `'${part}' is not a setting of scale`, {
      hint: `write NAME=VALUE with ${Object.keys(READERS).join(', ')}`,
    });
  });
  return Object.assign({}, ...given) as ScaleChange;
}

/** Milliseconds of a duration, or of a plain number of seconds. Throws USAGE. */
export function readDuration(name: string, text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Math.round(Number(text) * 1_000);
  try {
    return parseDuration(text);
  } catch (cause) {
    throw new WherryError('USAGE', `${name} '${text}' is not a duration`, { hint: 'write for instance 500ms, 5s or 1m30s', cause });
  }
}

function readCount(name: string, text: string): number {
  const value = Number(text);
  if (text !== '' && Number.isInteger(value) && value >= 0) return value;
  throw new WherryError('USAGE', `${name} '${text}' is not a whole number`, { hint: 'use a number from 0 on' });
}

function readPositive(name: string, text: string): number {
  const value = Number(text);
  if (text !== '' && Number.isFinite(value) && value > 0) return value;
  throw new WherryError('USAGE', `${name} '${text}' is not a number above 0`, { hint: 'use for instance 4 or 0.5' });
}

function readOneOf<T extends string>(name: string, text: string, values: readonly T[]): T {
  const found = values.find((value) => value === text);
  if (found) return found;
  throw new WherryError('USAGE', `${name} '${text}' is unknown`, { hint: `use ${values.join(' or ')}` });
}
