import type { ReleaseView } from '../api/resources.js';
import { WherryError } from '../base/errors.js';

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

/** `+NEW -GONE ~CHANGED`; values are not shown. */
export function diffNames(before: Readonly<Record<string, string>>, after: Readonly<Record<string, string>>): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names.flatMap((name) => {
    if (before[name] === after[name]) return [];
    if (before[name] === undefined) return [`+${name}`];
    return [after[name] === undefined ? `-${name}` : `~${name}`];
  });
}

type Content = Pick<ReleaseView, 'image' | 'spec'>;

/** What is different when one release serves in place of another: one line each, without values. */
export function describeChanges(before: Content, after: Content): readonly string[] {
  const [from, to] = [before.image.digest.slice(7, 19), after.image.digest.slice(7, 19)];
  const image = from === to ? [] : [`image ${from} → ${to}`];
  const names = diffNames(before.spec.env, after.spec.env);
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
