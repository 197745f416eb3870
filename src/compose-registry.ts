import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { messageOf, WherryError } from './base/errors.js';
import type { Log } from './base/log.js';
import { type Environment, readList, readSetting } from './compose-settings.js';
import { isRepository } from './oci/reference.js';
import { parseDuration, parseSize } from './project/units.js';
import { createRegistryClient, type RegistryClient } from './registry/client.js';
import type { Network } from './registry/connections.js';
import { type Credentials, readDockerCredentials } from './registry/credentials.js';
import type { RegistryRules } from './registry/upkeep.js';

export interface RemoteOptions {
  readonly log: Log;
  /** Else those that `docker login` left. */
  readonly credentials?: Credentials | undefined;
  /** Ends every call with its reason. */
  readonly signal?: AbortSignal;
}

/** A client of another registry. Throws CONFIG_INVALID. */
export async function openRemoteRegistry(registry: string, environment: Environment, options: RemoteOptions): Promise<RegistryClient> {
  const configDir = environment['DOCKER_CONFIG'] || join(environment['HOME'] || homedir(), '.docker');
  const credentials = options.credentials ?? (await readDockerCredentials(registry, configDir));
  return createRegistryClient({
    registry,
    credentials,
    log: options.log,
    signal: options.signal,
    network: await readNetwork(environment),
    isPlainHttpAllowed: readList(environment['WHERRY_REGISTRY_PLAIN_HTTP']).includes(registry),
  });
}

/**
 * Proxies by the names that curl and Go read (lower case wins), and the file of WHERRY_REGISTRY_CA beside the public authorities and those
 * that Node was given. Throws CONFIG_INVALID.
 */
export async function readNetwork(environment: Environment): Promise<Network> {
  const file = environment['WHERRY_REGISTRY_CA'];
  const extra = environment['NODE_EXTRA_CA_CERTS'];
  return {
    proxies: { http: readProxy(environment, 'http_proxy'), https: readProxy(environment, 'https_proxy') },
    noProxy: environment['no_proxy'] ?? environment['NO_PROXY'] ?? '',
    // Named authorities replace all that Node knows, so those it was given are named as well.
    authorities: file ? [await readAuthorities(file), ...(extra ? [await readFile(extra, 'utf8').catch(() => '')] : [])] : [],
  };
}

function readProxy(environment: Environment, name: string): string | undefined {
  const text = environment[name] || environment[name.toUpperCase()];
  if (!text) return undefined;
  const address = text.includes('://') ? text : `http://${text}`;
  if (URL.canParse(address) && /^https?:$/.test(new URL(address).protocol)) return address;
  // The address may hold a password.
  throw new WherryError('CONFIG_INVALID', `${name.toUpperCase()} is not the address of a proxy`, {
    hint: 'write http://HOST:PORT, with USER:PASSWORD@ before the host if the proxy wants it',
  });
}

async function readAuthorities(file: string): Promise<string> {
  try {
    const text = await readFile(file, 'utf8');
    new X509Certificate(text);
    return text;
  } catch (cause) {
    throw new WherryError('CONFIG_INVALID', `WHERRY_REGISTRY_CA: '${file}' holds no certificates: ${messageOf(cause)}`, {
      hint: 'name a file of certificates in PEM',
      cause,
    });
  }
}

/** Rules of the embedded registry. Throws CONFIG_INVALID. */
export function readRegistryRules(environment: Environment): RegistryRules {
  const read = <T>(name: string, parse: (text: string) => T): T | undefined => readSetting(environment, name, parse);
  const collect = read('WHERRY_REGISTRY_COLLECT', (text) => (text === 'off' ? text : parseDuration(text)));
  return {
    isReadOnly: read('WHERRY_REGISTRY_READ_ONLY', parseSwitch) ?? false,
    quotaBytes: read('WHERRY_REGISTRY_QUOTA', parseSize),
    keepTags: read('WHERRY_REGISTRY_KEEP_TAGS', parseCount),
    untaggedMs: read('WHERRY_REGISTRY_KEEP_UNTAGGED', parseDuration) ?? UNTAGGED_MS,
    copiedMs: read('WHERRY_REGISTRY_MIRROR_KEEP', parseDuration) ?? COPIED_MS,
    collectEveryMs: collect === 'off' ? undefined : (collect ?? COLLECT_EVERY_MS),
  };
}

/** A setting that is 1 or 0; 0 when it is absent. Throws CONFIG_INVALID. */
export function isSwitchedOn(environment: Environment, name: string): boolean {
  return readSetting(environment, name, parseSwitch) ?? false;
}

const UNTAGGED_MS = 7 * 24 * 60 * 60 * 1000;
const COPIED_MS = 30 * 24 * 60 * 60 * 1000;
const COLLECT_EVERY_MS = 60 * 60 * 1000;

/** WHERRY_REGISTRY_MIRRORS: hosts by the name under which they are served here, which is the host unless it is given. Throws CONFIG_INVALID. */
export function readMirrors(environment: Environment): ReadonlyMap<string, string> {
  return new Map(readList(environment['WHERRY_REGISTRY_MIRRORS']).map(parseMirror));
}

function parseMirror(entry: string): readonly [string, string] {
  const [name = '', host = name] = entry.split('=', 2);
  if (isRepository(name) && !name.includes('/') && host !== '') return [name, host];
  throw new WherryError('CONFIG_INVALID', `WHERRY_REGISTRY_MIRRORS: '${entry}' is no registry to mirror`, {
    hint: 'write hosts such as docker.io, or NAME=HOST:PORT, separated by commas',
  });
}

function parseSwitch(text: string): boolean {
  if (text === '1' || text === '0') return text === '1';
  throw new WherryError('CONFIG_INVALID', `'${text}' is not a switch`, { hint: 'write 1 or 0' });
}

function parseCount(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new WherryError('CONFIG_INVALID', `'${text}' is not a number of tags`, { hint: 'write a whole number' });
}
