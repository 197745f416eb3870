import { parse } from 'smol-toml';
import { messageOf, WherryError } from '../base/errors.js';
import { evaluateMarker } from './markers.js';
import type { MarkerEnvironment } from './python-target.js';

interface Edge {
  readonly name: string;
  readonly version?: string;
  readonly marker?: string;
  readonly extra?: readonly string[];
}

interface LockedFile {
  readonly url?: string;
  readonly path?: string;
  readonly hash?: string;
}

interface LockedPackage {
  readonly name: string;
  readonly version?: string;
  readonly source?: Readonly<Record<string, unknown>>;
  readonly dependencies?: readonly Edge[];
  readonly 'optional-dependencies'?: Readonly<Record<string, readonly Edge[]>>;
  readonly wheels?: readonly LockedFile[];
}

/** What a lock file pins for one environment, as pip reads it. */
export interface LockedRequirements {
  /** `name==version --hash=…`, sorted by name. */
  readonly lines: readonly string[];
  /** Where packages are looked for besides the default index: addresses, and directories relative to the project. */
  readonly indexes: readonly string[];
  readonly links: readonly string[];
  /** One of the packages to leave out is needed. */
  readonly asksForSdk: boolean;
}

export interface UvLockOptions {
  readonly environment: MarkerEnvironment;
  /** Packages to leave out, with what only they need. */
  readonly without: readonly string[];
}

const DEFAULT_INDEX = 'https://pypi.org/simple';

/**
 * The packages that a `uv.lock` (version 1) chooses for an environment: those the project needs, and theirs, without extras and groups
 * of the project's own. Throws BUILD_FAILED for a lock that cannot be read, and for packages that have no wheel.
 */
export function readUvLock(text: string, { environment, without }: UvLockOptions): LockedRequirements {
  const packages = parsePackages(text);
  const root = packages.find(({ source }) => source?.['virtual'] === '.' || source?.['editable'] === '.');
  if (!root) throw refused('it does not say which of its packages is the project', 'lock again in the directory of the project');
  const chosen = new Map<string, LockedPackage>();
  let asksForSdk = false;
  const queue = [...(root.dependencies ?? [])];
  for (let edge = queue.shift(); edge; edge = queue.shift()) {
    if (edge.marker !== undefined && !evaluateMarker(edge.marker, environment)) continue;
    if (without.includes(edge.name)) {
      asksForSdk = true;
      continue;
    }
    const found = findPackage(packages, edge);
    if (!chosen.has(found.name)) queue.push(...(found.dependencies ?? []));
    chosen.set(found.name, found);
    for (const extra of edge.extra ?? []) queue.push(...(found['optional-dependencies']?.[extra] ?? []));
  }
  const sorted = [...chosen.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    lines: sorted.map(formatRequirement),
    indexes: registriesOf(sorted).filter((place) => /^https?:/.test(place) && place !== DEFAULT_INDEX),
    links: registriesOf(sorted).filter((place) => !/^https?:/.test(place)),
    asksForSdk,
  };
}

function parsePackages(text: string): readonly LockedPackage[] {
  const lock = parseToml(text);
  if (lock['version'] !== 1)
    throw refused(`its version is '${String(lock['version'])}', known is 1`, 'lock again with a uv that writes version 1');
  return (lock['package'] ?? []) as readonly LockedPackage[];
}

function parseToml(text: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text);
  } catch (cause) {
    throw refused(`it is not TOML: ${messageOf(cause).split('\n')[0] ?? ''}`, 'lock again with uv', cause);
  }
}

function findPackage(packages: readonly LockedPackage[], { name, version }: Edge): LockedPackage {
  const found = packages.find((each) => each.name === name && (version === undefined || each.version === version));
  if (found) return found;
  throw refused(`it needs '${name}' and does not have it`, 'lock again with uv');
}

function formatRequirement({ name, version, source = {}, wheels = [] }: LockedPackage): string {
  const kind = Object.keys(source)[0] ?? 'registry';
  if (wheels.length === 0) {
    throw new WherryError('BUILD_FAILED', `package '${name}' ${version ?? ''} of uv.lock has no wheel (its source: ${kind})`, {
      hint: 'wherry installs wheels only: publish one, choose another version, or build with a Dockerfile',
    });
  }
  const hashes = wheels.flatMap(({ hash }) => (hash === undefined ? [] : [`--hash=${hash}`]));
  const place = kind === 'url' || kind === 'path' ? ` @ ${String(source[kind])}` : `==${version ?? ''}`;
  return [`${name}${place}`, ...hashes.sort()].join(' ');
}

function registriesOf(packages: readonly LockedPackage[]): readonly string[] {
  const found = packages.map(({ source }) => source?.['registry']).filter((registry) => typeof registry === 'string');
  return [...new Set(found)].sort();
}

function refused(why: string, hint: string, cause?: unknown): WherryError {
  return new WherryError('BUILD_FAILED', `uv.lock cannot be used: ${why}`, { hint, cause });
}
