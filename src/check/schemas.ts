import type { JsonSchema } from '../project/schema.js';
import { DURATION_PATTERN, SIZE_PATTERN } from '../project/units.js';
import type { Form } from './suite.js';

const DURATION = { type: 'string', pattern: DURATION_PATTERN, examples: ['500ms'] } as const;

const EXPECT_FIELDS = {
  at: {
    type: 'string',
    pattern: '^(/.*)?$',
    examples: ['/message'],
    description: 'JSON pointer (RFC 6901) to the part of the output that is meant; empty for all of it.',
  },
  equals: { description: 'The output, or the part of it.' },
  subset: { description: 'As equals, but objects may have further members.' },
  tolerance: { type: 'number', minimum: 0, description: 'By how much numbers may differ in equals, subset and stream.' },
  contains: { description: 'A text that the text contains, an item that the list has, or a member name that the object has.' },
  regex: { type: 'string', description: 'Regular expression that the text matches; of other values, their JSON.' },
  schema: { type: 'object', description: 'JSON Schema (draft 7 or 2020-12) of the output.' },
  error: { type: ['boolean', 'string'], description: 'The job fails (true); a text is a regular expression for its error.' },
  stream: { type: 'array', description: 'All chunks of the stream, in order.' },
  latency: { ...DURATION, description: 'Longest execution.' },
  coldStart: { ...DURATION, description: 'Longest start of a worker, from the request to the moment it takes the job.' },
  size: { type: 'string', pattern: SIZE_PATTERN, examples: ['1MB'], description: 'Largest output, as JSON.' },
  command: {
    type: 'string',
    minLength: 1,
    description: 'Command that reads the output, as JSON, from its standard input and exits with 0.',
  },
} as const;

/** One object, or a list of them, each with its own `at`. */
const EXPECT = {
  description: 'What has to come back. Without it the job has to complete.',
  type: ['object', 'array'],
  properties: EXPECT_FIELDS,
  additionalProperties: false,
  minProperties: 1,
  minItems: 1,
  items: { type: 'object', properties: EXPECT_FIELDS, additionalProperties: false, minProperties: 1 },
} as const;

const TEST_FIELDS = {
  name: { type: 'string', minLength: 1, maxLength: 200, description: 'How reports call the test.' },
  input: { description: "The job's input." },
  timeout: {
    type: ['integer', 'string'],
    minimum: 1,
    pattern: DURATION_PATTERN,
    examples: ['30s'],
    description: 'Longest time for the request, cold start included: a duration, or milliseconds.',
  },
  expect: EXPECT,
} as const;

const PAIRS = {
  type: 'array',
  items: {
    type: 'object',
    required: ['key'],
    properties: { key: { type: 'string' }, value: { type: ['string', 'number', 'boolean'] } },
  },
} as const;

/** RunPod's own fields of a test; others of its inputs are passed on as they are. */
const HARDWARE = {
  description: 'The endpoint that the test wants. Without it the defaults.',
  type: 'object',
  additionalProperties: false,
  properties: {
    endpoint: { type: 'string', minLength: 1, description: 'Id of an endpoint that exists; the image is not tested then.' },
    template: { type: 'string', minLength: 1, description: 'Id of a template that exists; the image is not tested then.' },
    endpointConfig: {
      type: 'object',
      properties: {
        name: { type: 'string' },
        gpuIds: { type: 'string' },
        workersMax: { type: 'integer', minimum: 0 },
        workersMin: { type: 'integer', minimum: 0 },
        idleTimeout: { type: 'integer', minimum: 1 },
      },
    },
    templateConfig: {
      type: 'object',
      properties: { env: PAIRS, dockerArgs: { type: 'string' }, containerDiskInGb: { type: 'integer', minimum: 1 } },
    },
  },
} as const;

/** The canonical spelling first. */
export const OUTPUT_SPELLINGS = ['output', 'expectedOutput', 'expected_output'] as const;

const OUTPUT = { description: "The expected output. 'output' is the canonical spelling." };
const SPELLINGS = Object.fromEntries(OUTPUT_SPELLINGS.map((name) => [name, OUTPUT]));

const WHERRY_TEST = { type: 'object', required: ['input'], additionalProperties: false, properties: TEST_FIELDS } as const;
const ACTION_TEST = {
  type: 'object',
  required: ['input'],
  properties: { ...TEST_FIELDS, ...SPELLINGS, hardwareConfig: HARDWARE },
} as const;
const HUB_TEST = { type: 'object', required: ['name', 'input'], properties: { ...TEST_FIELDS, ...SPELLINGS } } as const;

const DRAFT = 'http://json-schema.org/draft-07/schema#';

/** The JSON Schemas of the three kinds of test files; `schema/` holds them for editors. */
export const TEST_SCHEMAS: Readonly<Record<Form, JsonSchema>> = {
  action: { $schema: DRAFT, title: '.github/tests.json', type: 'array', minItems: 1, items: ACTION_TEST },
  hub: {
    $schema: DRAFT,
    title: '.runpod/tests.json',
    type: 'object',
    required: ['tests'],
    properties: {
      tests: { type: 'array', minItems: 1, items: HUB_TEST },
      config: {
        type: 'object',
        properties: {
          gpuTypeId: { type: 'string' },
          gpuCount: { type: 'integer', minimum: 1 },
          cpuFlavor: { type: 'string' },
          env: PAIRS,
          allowedCudaVersions: { type: 'array', items: { type: ['string', 'number'] } },
        },
      },
    },
  },
  wherry: { $schema: DRAFT, title: 'tests of wherry.yaml', type: 'array', minItems: 1, items: WHERRY_TEST },
};

/** Names of the fields of a test, which others are held against. */
export const FIELD_NAMES: Readonly<Record<Form, readonly string[]>> = {
  action: Object.keys(ACTION_TEST.properties),
  hub: Object.keys(HUB_TEST.properties),
  wherry: Object.keys(WHERRY_TEST.properties),
};
