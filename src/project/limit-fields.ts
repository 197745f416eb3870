import { DEFAULT_SETTINGS } from '../domain/endpoint.js';
import { DEFAULT_SPEC } from '../domain/release.js';
import type { Field } from './field.js';
import { formatDuration } from './units.js';

const { limits } = DEFAULT_SETTINGS;

/** Fields of `limits`: how long and how large things may be. */
export const LIMIT_FIELDS: readonly Field[] = [
  {
    path: 'limits',
    type: 'section',
    default: null,
    goesTo: 'endpoint',
    description: 'How long jobs may run and wait, and how long results are kept.',
    example: { execution: '10m', ttl: '24h' },
  },
  {
    path: 'limits.execution',
    type: 'duration',
    default: formatDuration(limits.executionMs),
    goesTo: 'endpoint',
    description: 'Longest run of one job; after it the job is TIMED_OUT and its worker is stopped.',
    example: '2m',
  },
  {
    path: 'limits.ttl',
    type: 'duration',
    default: formatDuration(limits.ttlMs),
    goesTo: 'endpoint',
    description: 'Longest life of a job from submit on, queue included.',
    example: '1h',
  },
  {
    path: 'limits.retention',
    type: 'duration',
    default: formatDuration(limits.retentionMs),
    goesTo: 'endpoint',
    description: 'How long the result of a /run job can be read.',
    example: '24h',
  },
  {
    path: 'limits.retentionSync',
    type: 'duration',
    default: formatDuration(limits.retentionSyncMs),
    goesTo: 'endpoint',
    description: 'How long the result of a /runsync job can be read.',
    example: '5m',
  },
  {
    path: 'limits.webhookRetry',
    type: 'duration',
    default: '0s',
    goesTo: 'endpoint',
    description: 'How long a webhook that fails is tried again after its three tries, from every minute to every hour.',
    example: '24h',
  },
  {
    path: 'limits.rate',
    type: 'number',
    default: 0,
    goesTo: 'endpoint',
    description: "Request rates of a key as a factor of RunPod's; 0 is no limit.",
    example: 1,
    rules: { minimum: 0 },
  },
  {
    path: 'limits.runSize',
    type: 'size',
    default: '10MiB',
    goesTo: 'endpoint',
    description: 'Largest body of a /run request.',
    example: '50MiB',
  },
  {
    path: 'limits.runsyncSize',
    type: 'size',
    default: '20MiB',
    goesTo: 'endpoint',
    description: 'Largest body of a /runsync or /openai request.',
    example: '50MiB',
  },
  {
    path: 'limits.resultSize',
    type: 'size',
    default: '20MiB',
    goesTo: 'endpoint',
    description: 'Largest result a worker may post; a larger one fails its job.',
    example: '100MiB',
  },
  {
    path: 'limits.timeoutState',
    type: 'string',
    default: 'TIMED_OUT',
    goesTo: 'endpoint',
    description: 'What a job over its execution time becomes; FAILED for clients that know no TIMED_OUT.',
    example: 'FAILED',
    rules: { enum: ['TIMED_OUT', 'FAILED'] },
  },
  {
    path: 'limits.lowPriorityWait',
    type: 'duration',
    default: '0s',
    goesTo: 'endpoint',
    description: 'After so long in the queue a low-priority job counts as a normal one; 0s is never.',
    example: '10m',
  },
  {
    path: 'limits.init',
    type: 'duration',
    default: formatDuration(DEFAULT_SPEC.initTimeoutMs),
    goesTo: 'release',
    description: 'Longest time from the start of a worker until it is ready.',
    example: '2m',
  },
];
