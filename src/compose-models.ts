import { join } from 'node:path';
import { WherryError } from './base/errors.js';
import type { Log } from './base/log.js';
import { readNetwork } from './compose-registry.js';
import type { Environment } from './compose-settings.js';
import { type ModelCache, openModelCache } from './models/cache.js';
import { openHub } from './models/hub.js';
import { PATIENCE } from './registry/connections.js';

export interface ModelParts {
  readonly environment: Environment;
  readonly dataDir: string;
  readonly log: Log;
  readonly now: () => number;
  /** Aborts when the server stops. */
  readonly signal: AbortSignal;
}

const HUB = 'https://huggingface.co';
const RETRY_DELAY_MS = 1_000;

/** The models of this node, from the hub of HF_ENDPOINT, with the token of HF_TOKEN for releases that have none. Throws CONFIG_INVALID. */
export async function createModels({ environment, dataDir, ...parts }: ModelParts): Promise<ModelCache> {
  const endpoint = (environment['HF_ENDPOINT'] || HUB).replace(/\/+$/, '');
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol))
    throw new WherryError('CONFIG_INVALID', `HF_ENDPOINT is '${endpoint}', not an address`, { hint: `write https://HOST, as ${HUB} is` });
  const hub = openHub({ endpoint, network: await readNetwork(environment), patience: PATIENCE, retryDelayMs: RETRY_DELAY_MS });
  return openModelCache({
    ...parts,
    dir: join(dataDir, 'models'),
    hub,
    token: environment['HF_TOKEN'] || undefined,
    retryDelayMs: RETRY_DELAY_MS,
  });
}
