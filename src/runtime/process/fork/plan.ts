import { hash } from 'node:crypto';
import { dirname } from 'node:path';
import type { Digest } from '../../../oci/digest.js';
import type { ForkPlan, SpawnOrder } from '../protocol.js';

export interface ForkPlanInput {
  readonly image: Digest;
  readonly sealId: string;
  /** Folder of the fork server's program. */
  readonly program: string;
  /** Of the application. */
  readonly app: string;
  /** What a worker runs. */
  readonly argv: readonly string[];
  /** The variables of every worker of this release on this machine. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of those that each worker has for itself. */
  readonly own: readonly string[];
  readonly limits: SpawnOrder['limits'];
}

/** How a worker may be forked, or undefined when it is not `python -m wherry FILE:FUNCTION` with flags that a fork server takes over. */
export function planFork({ image, app, argv, env, ...rest }: ForkPlanInput): ForkPlan | undefined {
  const at = argv.indexOf('-m');
  const [module, target = ''] = argv.slice(at + 1);
  const handler = target.slice(0, target.lastIndexOf(':'));
  const hasOther = !argv.slice(1, Math.max(1, at)).every((flag) => /^-[BOsSu]+$/.test(flag));
  if (at < 1 || module !== 'wherry' || hasOther || !handler.startsWith(`${app}/`)) return undefined;
  const command = argv.slice(0, at);
  const variables = Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1));
  const key = hash('sha256', JSON.stringify([image, command, handler, variables, rest]), 'hex').slice(0, 32);
  // A handler in a folder finds its neighbours there first.
  const roots = [...new Set([dirname(handler), app])];
  return { key, image, command, handler, roots, env, ...rest };
}
