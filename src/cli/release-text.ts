import type { ReleaseView } from '../api/resources.js';
import { WherryError } from '../base/errors.js';
import type { Referring } from '../domain/secret.js';

/** The number of a release as people write it: `r3` or `3`. Throws USAGE. */
export function readRelease(text: string): number {
  const number = Number(text.replace(/^r/, ''));
  if (Number.isInteger(number) && number > 0) return number;
  throw new WherryError('USAGE', `'${text}' is not a release`, { hint: 'use a number as `wherry releases` shows it, for instance r3' });
}

/** A share of new jobs in percent. Throws USAGE. */
export function readShare(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const share = Number(text.replace(/%$/, ''));
  if (Number.isInteger(share) && share >= 1 && share <= 99) return share;
  throw new WherryError('USAGE', `--canary '${text}' is not a share`, { hint: 'use a whole number of percent from 1 to 99' });
}

/** Which variables of a worker differ, secrets among them: `+NEW -GONE ~CHANGED`; values are not shown. */
export function diffVariables(before: Referring | undefined, after: Referring): string[] {
  const [from, to] = [before ? variablesOf(before) : {}, variablesOf(after)];
  const names = [...new Set([...Object.keys(from), ...Object.keys(to)])].sort();
  return names.flatMap((name) => {
    if (from[name] === to[name]) return [];
    if (from[name] === undefined) return [`+${name}`];
    return [to[name] === undefined ? `-${name}` : `~${name}`];
  });
}

/** A secret equals itself, and no text that a variable may have. */
function variablesOf({ env, secrets = [] }: Referring): Readonly<Record<string, string>> {
  return { ...env, ...Object.fromEntries(secrets.map((name) => [name, '\0'])) };
}

type Content = Pick<ReleaseView, 'image' | 'spec'>;

/** What is different when one release serves in place of another: one line each, without values. */
export function describeChanges(before: Content, after: Content): readonly string[] {
  const [from, to] = [before.image.digest.slice(7, 19), after.image.digest.slice(7, 19)];
  const image = from === to ? [] : [`image ${from} → ${to}`];
  const names = diffVariables(before.spec, after.spec);
  const env = names.length === 0 ? [] : [`env ${names.join(' ')}`];
  const others = (['args', 'ports', 'resources', 'volumes', 'models', 'placement', 'isHardened', 'initTimeoutMs'] as const).filter(
    (part) => JSON.stringify(before.spec[part] ?? null) !== JSON.stringify(after.spec[part] ?? null),
  );
  return [...image, ...env, ...others.map((part) => PARTS[part])];
}

const PARTS = {
  args: 'args',
  ports: 'ports',
  resources: 'resources',
  volumes: 'volumes',
  models: 'models',
  placement: 'placement',
  isHardened: 'hardened',
  initTimeoutMs: 'limits.init',
} as const;
