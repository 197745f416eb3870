import { CUDA_PATTERN } from '../domain/placement.js';
import { ARGUMENT_PATTERN } from '../domain/release.js';
import type { Field, FieldType } from './field.js';
import { FIELDS } from './fields.js';
import { DURATION_PATTERN, SIZE_PATTERN } from './units.js';

/** A JSON Schema (draft 7) as data. */
export type JsonSchema = Readonly<Record<string, unknown>>;

const TEXT = { type: 'string' } as const;

const SHAPES: Readonly<Record<Exclude<FieldType, 'section'>, JsonSchema>> = {
  string: TEXT,
  integer: { type: 'integer' },
  number: { type: 'number' },
  boolean: { type: 'boolean' },
  duration: { type: 'string', pattern: DURATION_PATTERN },
  size: { type: 'string', pattern: SIZE_PATTERN },
  'list of strings': { type: 'array', items: TEXT },
  'map of strings': {
    type: 'object',
    propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]*$' },
    additionalProperties: { type: ['string', 'number', 'boolean'], pattern: ARGUMENT_PATTERN },
  },
  'count or list of kinds': { type: ['integer', 'string', 'array'], minimum: 0, minLength: 1, items: TEXT },
  'version or list of versions': {
    type: ['string', 'array'],
    pattern: CUDA_PATTERN,
    minItems: 1,
    items: { type: 'string', pattern: CUDA_PATTERN },
  },
  'list or path': { type: ['string', 'array'], minLength: 1, items: { type: 'object' } },
};

/** The JSON Schema of `wherry.yaml`; `schema/wherry.schema.json` holds the same for editors. */
export const WHERRY_SCHEMA: JsonSchema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'wherry.yaml',
  description: 'How wherry builds, deploys and scales a handler.',
  type: 'object',
  additionalProperties: false,
  properties: propertiesOf(''),
};

function propertiesOf(parent: string): JsonSchema {
  const children = FIELDS.filter(({ path }) => path.slice(0, Math.max(0, path.lastIndexOf('.'))) === parent);
  return Object.fromEntries(children.map((field) => [field.path.slice(field.path.lastIndexOf('.') + 1), schemaOf(field)]));
}

function schemaOf({ path, type, rules, description, default: value, example }: Field): JsonSchema {
  const shape = type === 'section' ? { type: 'object', additionalProperties: false, properties: propertiesOf(path) } : SHAPES[type];
  return { description, ...shape, ...rules, ...(value !== null && { default: value }), examples: [example] };
}
