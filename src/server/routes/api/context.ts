import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawServerDefault } from 'fastify';
import type { Clock } from '../../../base/clock.js';
import type { Log } from '../../../base/log.js';
import type { Engine } from '../../../engine/engine.js';
import type { Upkeep } from '../../../registry/upkeep.js';
import type { StoredCredentials } from '../../credentials.js';
import type { Keys } from '../../keys.js';

export interface ApiOptions {
  readonly engine: Engine;
  readonly keys: Keys;
  readonly upkeep: Upkeep;
  readonly credentials: StoredCredentials;
  readonly log: Log;
  readonly clock: Clock;
  readonly version: string;
}

export interface ApiContext extends ApiOptions {
  /** Name of the key that asks. */
  authorOf(request: FastifyRequest): string;
  /** True for admin keys: others see names of variables, not values. */
  maySeeSecrets(request: FastifyRequest): boolean;
  /** Aborts when the client goes away or the server closes. */
  signalOf(request: FastifyRequest): AbortSignal;
}

export type ApiServer = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>;
