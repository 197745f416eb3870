import { WherryError } from '../../../base/errors.js';
import type { Key } from '../../../domain/key.js';
import type { BoundEndpoint, BoundEndpoints, Saver } from '../../../engine/bound-endpoints.js';
import type { Engine } from '../../../engine/engine.js';
import type { Templates } from '../../../engine/templates.js';
import type { NamedCredentials } from '../../named-credentials.js';

/** What the operations of the door reach for. */
export interface Door {
  readonly engine: Engine;
  readonly templates: Templates;
  readonly namedCredentials: NamedCredentials;
  readonly endpoints: BoundEndpoints;
}

/** One request: its key, and what it is told beside its answer. (A type: an interface is not what graphql-http takes for a context.) */
export type Call = Pick<Saver, keyof Saver> & {
  readonly key: Key;
  readonly notices: readonly string[];
  /** All endpoints, read once however often the request asks. */
  readonly listEndpoints: () => Promise<readonly BoundEndpoint[]>;
};

/** Field by field what the engine calls: the arguments, then the call. */
export type Operation<A> = (args: A, call: Call) => unknown;

/** An operation that changes something: for admin keys. Throws DENIED. */
export function changing<A>(operation: Operation<A>): Operation<A> {
  return (args, call) => {
    if (call.key.scope === 'admin') return operation(args, call);
    throw new WherryError('DENIED', `key '${call.key.name}' may not change anything`, { hint: 'use an admin key' });
  };
}

/** What stands in the place of a value that the key may not see. */
const MASK = '***';

/** Variables as a list; only admin keys see values. */
export function listVariables(env: Readonly<Record<string, string>>, { key }: Call): readonly { key: string; value: string }[] {
  return Object.entries(env).map(([name, value]) => ({ key: name, value: key.scope === 'admin' ? value : MASK }));
}

/** There is one tenant: keys are told apart by their names. */
export const USER_ID = 'wherry';

/** Throws REQUEST_INVALID for what is missing. */
export function requireText(value: string | null | undefined, name: string): string {
  if (value) return value;
  throw new WherryError('REQUEST_INVALID', `'${name}' is missing`, { hint: `send a ${name}` });
}
