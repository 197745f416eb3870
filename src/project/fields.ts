import { DEFAULT_SETTINGS, KEEPS, RUNTIME_CHOICES, SCALER_TYPES } from '../domain/endpoint.js';
import { MODEL_PATTERN } from '../domain/model.js';
import { ARGUMENT_PATTERN } from '../domain/release.js';
import { VARIABLE_PATTERN } from '../domain/secret.js';
import { VOLUME_PATTERN } from '../domain/volume.js';
import { formatSecretReference, VOLUME_ROOT } from '../domain/worker-environment.js';
import type { Field } from './field.js';
import { LIMIT_FIELDS } from './limit-fields.js';
import { formatDuration } from './units.js';

const { scale } = DEFAULT_SETTINGS;

const IMAGE_FIELDS: readonly Field[] = [
  {
    path: 'name',
    type: 'string',
    default: null,
    goesTo: 'endpoint',
    description: "Id of the endpoint, part of every URL; without it the directory's name is used.",
    example: 'echo',
    rules: { pattern: '^[a-z0-9][a-z0-9-]{1,62}$' },
  },
  {
    path: 'handler',
    type: 'string',
    default: null,
    goesTo: 'image',
    description: 'File and function that answer a job, as path:function; without it the usual places are searched.',
    example: 'src/handler.py:handler',
    rules: { minLength: 1 },
  },
  {
    path: 'base',
    type: 'string',
    default: 'scratch',
    goesTo: 'image',
    description: 'Image the layers are put on, or scratch for an image without an interpreter that only the process runtime can run.',
    example: 'python:3.12-slim',
    rules: { minLength: 1 },
  },
  {
    path: 'interpreter',
    type: 'string',
    default: null,
    goesTo: 'image',
    description: 'Interpreter the code is written for, kept in a label of the image so that a process worker gets the right one.',
    example: 'python@3.12',
    rules: { pattern: '^(?:node@\\d+(?:\\.\\d+){0,2}|python@3(?:\\.\\d+){0,2})$' },
  },
  {
    path: 'platforms',
    type: 'list of strings',
    default: ['linux/amd64'],
    goesTo: 'image',
    description: 'Platforms to build for, each as system/architecture; several make an index with one image for each.',
    example: ['linux/amd64', 'linux/arm64'],
    rules: { minItems: 1, items: { type: 'string', pattern: '^[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?$' } },
  },
  {
    path: 'include',
    type: 'list of strings',
    default: [],
    goesTo: 'image',
    description: 'Globs of large files, such as weights; the files of each glob get a layer of their own.',
    example: ['weights/**'],
  },
  {
    path: 'dockerfile',
    type: 'string',
    default: null,
    goesTo: 'image',
    description: 'Dockerfile to build from; handler and base then do not apply.',
    example: 'Dockerfile',
    rules: { minLength: 1 },
  },
];

const RELEASE_FIELDS: readonly Field[] = [
  {
    path: 'env',
    type: 'map of strings',
    default: {},
    goesTo: 'release',
    description: `Environment variables of the worker; numbers and booleans are passed exactly as written, and "${formatSecretReference('name')}" gives way to the secret of that name.`,
    example: { LOG_LEVEL: 'info' },
  },
  {
    path: 'secrets',
    type: 'list of strings',
    default: [],
    goesTo: 'release',
    description: 'Secrets that the worker gets as environment variables of the same names; `wherry secrets set NAME` stores one.',
    example: ['HF_TOKEN'],
    rules: { items: { type: 'string', pattern: VARIABLE_PATTERN } },
  },
  {
    path: 'args',
    type: 'list of strings',
    default: null,
    goesTo: 'release',
    description: "Arguments of the worker's program, in place of the image's own.",
    example: ['--verbose'],
    rules: { items: { type: ['string', 'number', 'boolean'], pattern: ARGUMENT_PATTERN } },
  },
  {
    path: 'ports',
    type: 'list of strings',
    default: [],
    goesTo: 'release',
    description: 'Ports the worker listens on, each as number/protocol.',
    example: ['8000/http'],
    rules: { items: { type: 'string', pattern: '^\\d{1,5}/(?:http|tcp|udp)$' } },
    needsContainer: true,
  },
  {
    path: 'resources',
    type: 'section',
    default: null,
    goesTo: 'release',
    description: 'What one worker may use; what a runtime cannot limit, it says so.',
    example: { cpu: 1, memory: '512MiB' },
  },
  {
    path: 'resources.cpu',
    type: 'number',
    default: null,
    goesTo: 'release',
    description: 'Processor cores, with fractions.',
    example: 1.5,
    rules: { exclusiveMinimum: 0 },
  },
  { path: 'resources.memory', type: 'size', default: null, goesTo: 'release', description: 'Most memory.', example: '512MiB' },
  {
    path: 'resources.disk',
    type: 'size',
    default: null,
    goesTo: 'release',
    description: 'Most disk space.',
    example: '5GB',
    needsContainer: true,
  },
  {
    path: 'resources.gpu',
    type: 'count or list of kinds',
    default: null,
    goesTo: 'release',
    description:
      'How many graphics processors each worker has for itself, or one of these kinds: pools such as ADA_24, names, -NAME for one that will not do.',
    example: 1,
  },
  {
    path: 'volumes',
    type: 'list of strings',
    default: [],
    goesTo: 'release',
    description: 'What outlives workers, each as name:path; a process finds it where WHERRY_VOLUME_NAME says.',
    example: [`data:${VOLUME_ROOT}`],
    rules: { items: { type: 'string', pattern: VOLUME_PATTERN } },
  },
  {
    path: 'hardened',
    type: 'boolean',
    default: false,
    goesTo: 'release',
    description: 'No capabilities and a read-only root for the worker; only runtimes with containers can.',
    example: true,
  },
  {
    path: 'models',
    type: 'list of strings',
    default: [],
    goesTo: 'release',
    description:
      'Hugging Face repositories to have on disk before a worker starts, each as organisation/name or organisation/name@revision.',
    example: ['acme/tiny@v1'],
    rules: { items: { type: 'string', pattern: MODEL_PATTERN } },
  },
  {
    path: 'placement',
    type: 'section',
    default: null,
    goesTo: 'release',
    description: "What the node must be; its labels are measured or set with the server's WHERRY_NODE_LABELS.",
    example: { cuda: '12.4' },
  },
  {
    path: 'placement.cuda',
    type: 'version or list of versions',
    default: null,
    goesTo: 'release',
    description: 'Least version of CUDA, or a list of those that will do.',
    example: '12.4',
  },
  {
    path: 'placement.labels',
    type: 'map of strings',
    default: {},
    goesTo: 'release',
    description: 'Labels that the node must have.',
    example: { zone: 'home' },
  },
];

const SCALE_FIELDS: readonly Field[] = [
  {
    path: 'runtime',
    type: 'string',
    default: 'auto',
    goesTo: 'endpoint',
    description: 'Where workers run; auto takes the first runtime of the server that can run the image.',
    example: 'docker',
    rules: { enum: RUNTIME_CHOICES },
  },
  {
    path: 'scale',
    type: 'section',
    default: null,
    goesTo: 'endpoint',
    description: 'When workers start and stop.',
    example: { min: 0, max: 3, idle: '5s' },
  },
  {
    path: 'scale.min',
    type: 'integer',
    default: scale.min,
    goesTo: 'endpoint',
    description: 'Workers that always run; 0 scales to zero.',
    example: 1,
    rules: { minimum: 0 },
  },
  {
    path: 'scale.max',
    type: 'integer',
    default: scale.max,
    goesTo: 'endpoint',
    description: 'Most workers at one time; 0 stops all work.',
    example: 3,
    rules: { minimum: 0 },
  },
  {
    path: 'scale.idle',
    type: 'duration',
    default: formatDuration(scale.idleMs),
    goesTo: 'endpoint',
    description: 'How long a worker waits for another job before it is stopped.',
    example: '30s',
  },
  {
    path: 'scale.type',
    type: 'string',
    default: scale.type,
    goesTo: 'endpoint',
    description: 'What calls for one more worker: how long jobs wait, or how many there are.',
    example: 'requestCount',
    rules: { enum: SCALER_TYPES },
  },
  {
    path: 'scale.value',
    type: 'number',
    default: scale.value,
    goesTo: 'endpoint',
    description: 'Threshold of the type: seconds for queueDelay, jobs per worker for requestCount.',
    example: 4,
    rules: { exclusiveMinimum: 0 },
  },
  {
    path: 'scale.extra',
    type: 'integer',
    default: 0,
    goesTo: 'endpoint',
    description: 'Idle workers to hold ready beyond what the queue needs.',
    example: 1,
    rules: { minimum: 0 },
  },
  {
    path: 'scale.restAfter',
    type: 'duration',
    default: '0s',
    goesTo: 'endpoint',
    description: 'Without a request for so long, min and extra count as 0 until the next one; 0s is never.',
    example: '3d',
  },
  {
    path: 'scale.keep',
    type: 'string',
    default: 'freeze',
    goesTo: 'endpoint',
    description: 'What becomes of an idle worker: freeze keeps it suspended in memory, none stops it.',
    example: 'none',
    rules: { enum: KEEPS },
  },
];

const TEST_FIELDS: readonly Field[] = [
  {
    path: 'tests',
    type: 'list or path',
    default: null,
    goesTo: 'tests',
    description: 'What `wherry test` sends and expects, or the file that says so.',
    example: '.github/tests.json',
  },
  {
    path: 'budget',
    type: 'section',
    default: null,
    goesTo: 'tests',
    description: 'Limits that a build or test run must keep.',
    example: { imageSize: '200MB' },
  },
  {
    path: 'budget.imageSize',
    type: 'size',
    default: null,
    goesTo: 'tests',
    description: 'Largest image, as it travels; above it a build warns, and fails with --strict.',
    example: '200MB',
  },
  {
    path: 'budget.coldStart',
    type: 'duration',
    default: null,
    goesTo: 'tests',
    description: 'Longest wait for a worker in `wherry test`, its start included.',
    example: '2s',
  },
  {
    path: 'budget.latency',
    type: 'duration',
    default: null,
    goesTo: 'tests',
    description: 'Longest execution in `wherry test`.',
    example: '200ms',
  },
];

/** Every field of `wherry.yaml`; the schema, the explanations and the warnings all come from here. One table, so it stays one file. */
export const FIELDS: readonly Field[] = [...IMAGE_FIELDS, ...RELEASE_FIELDS, ...SCALE_FIELDS, ...LIMIT_FIELDS, ...TEST_FIELDS];

/** The field of a dotted path, or undefined. */
export function findField(path: string): Field | undefined {
  return FIELDS.find((field) => field.path === path);
}
