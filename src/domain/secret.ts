import type { ReleaseSpec } from './release.js';
import { SECRET_REFERENCE } from './worker-environment.js';

/** A value that releases refer to by its name; only workers get it. Moments in milliseconds. */
export interface Secret {
  readonly name: string;
  readonly sealed: string;
  readonly createdAt: number;
  /** When it got the value that it has. */
  readonly updatedAt: number;
}

/** Of a name of a secret: all that references may have. */
export const SECRET_NAME_PATTERN = '^[A-Za-z_][A-Za-z0-9_./-]{0,190}$';

/** Of a name of an environment variable. */
export const VARIABLE_PATTERN = '^[A-Za-z_][A-Za-z0-9_]*$';

/** What of a release refers to secrets. */
export type Referring = Pick<ReleaseSpec, 'env' | 'secrets'>;

export interface FilledEnv {
  readonly env: Readonly<Record<string, string>>;
  /** Names of the variables that hold a secret, or part of one. */
  readonly secretive: readonly string[];
}

/** Names of the secrets that a release refers to, as variables of their own or inside values; sorted, each once. */
export function secretsOf({ env, secrets = [] }: Referring): readonly string[] {
  const inside = Object.values(env).flatMap((value) => Array.from(value.matchAll(SECRET_REFERENCE), ([, name = '']) => name));
  return [...new Set([...secrets, ...inside])].sort();
}

/** The environment with secrets in place of references; what a secret holds is not searched for more. `values` has all of {@link secretsOf}. */
export function fillEnv({ env, secrets = [] }: Referring, values: ReadonlyMap<string, string>): FilledEnv {
  const open = (name: string) => values.get(name) ?? '';
  const fill = (value: string) => value.replace(SECRET_REFERENCE, (_, name: string) => open(name));
  const filled = Object.entries(env).map(([name, value]) => [name, fill(value)]);
  const own = secrets.map((name) => [name, open(name)]);
  const mixed = Object.keys(env).filter((name) => secretsOf({ env: { [name]: env[name] ?? '' } }).length > 0);
  return { env: Object.fromEntries([...filled, ...own]), secretive: [...new Set([...mixed, ...secrets])] };
}
