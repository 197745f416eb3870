import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { usingDirectory } from './base/directory.js';
import { systemCodeOf, toWherryError, WherryError } from './base/errors.js';
import { parseSize } from './project/units.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Flags that override the environment. */
export interface Flags {
  readonly data?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly apiUrl?: string | undefined;
}

/** Where things are: flag over environment over file over default. */
export interface Settings {
  readonly dataDir: string;
  /** The server to talk to; undefined when none was started on this data directory. */
  readonly apiUrl: string | undefined;
  readonly apiKey: string | undefined;
}

/** The address of a server that listens, as its data directory tells it. */
export interface ServerFile {
  readonly url: string;
  readonly pid: number;
}

/** The data directory: `--data`, WHERRY_DATA, else below the XDG data directory. */
function readDataDir(environment: Environment, flags: Flags = {}): string {
  const chosen = flags.data ?? environment['WHERRY_DATA'];
  if (chosen) return resolve(chosen);
  return join(environment['XDG_DATA_HOME'] || join(homedir(), '.local', 'share'), 'wherry');
}

/** Settings for a client of the API. Throws CONFIG_INVALID when the data directory is none. */
export async function readSettings(environment: Environment, flags: Flags = {}): Promise<Settings> {
  const dataDir = readDataDir(environment, flags);
  const file = await usingDirectory(dataDir, () => readServerFile(dataDir));
  const key = environment['WHERRY_API_KEY'] ?? (await usingDirectory(dataDir, () => readText(keyFileOf(dataDir))))?.trim();
  return { dataDir, apiUrl: flags.apiUrl ?? environment['WHERRY_API_URL'] ?? file?.url, apiKey: key || undefined };
}

/** The running (or last) server of a data directory, or undefined. */
export async function readServerFile(dataDir: string): Promise<ServerFile | undefined> {
  const text = await readText(join(dataDir, 'server.json'));
  return text === undefined ? undefined : (JSON.parse(text) as ServerFile);
}

/** Where the first start writes the admin key, readable by the owner only. */
export function keyFileOf(dataDir: string): string {
  return join(dataDir, 'admin.key');
}

/** Where this package is installed: the bundle is cut into parts, so its own place says little. */
export function packageRoot(): string {
  for (let dir = dirname(fileURLToPath(import.meta.url)); ; dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json')) && existsSync(join(dir, 'sdk'))) return dir;
    if (dir === dirname(dir)) throw new WherryError('INTERNAL', 'the package is incomplete: its sdk folder is missing');
  }
}

/** The creation time that images get, in seconds; undefined when none was asked for. */
export function readSourceDateEpoch(environment: Environment): string | undefined {
  return environment['SOURCE_DATE_EPOCH'] || undefined;
}

/** How much memory frozen workers may hold: WHERRY_FROZEN_MEMORY, else a quarter of what this process may use. Throws CONFIG_INVALID. */
export function readFrozenMemory(environment: Environment): number {
  const text = environment['WHERRY_FROZEN_MEMORY'];
  if (text === '0') return 0;
  if (!text) return Math.floor(Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) / 4);
  try {
    return parseSize(text);
  } catch (cause) {
    const { message, hint } = toWherryError(cause);
    throw new WherryError('CONFIG_INVALID', `WHERRY_FROZEN_MEMORY: ${message}`, { hint: `${hint}; 0 freezes nothing`, cause });
  }
}

/** Whether a setting that is on unless it is `off` is on. Throws CONFIG_INVALID. */
export function readSwitch(environment: Environment, name: string): boolean {
  const text = environment[name] || 'on';
  if (text === 'on' || text === 'off') return text === 'on';
  throw new WherryError('CONFIG_INVALID', `${name} is '${text}', neither on nor off`, { hint: 'write on or off' });
}

/** The text of a file, or undefined when there is none. */
export async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** A setting of the environment, or undefined when it is absent or empty. Throws CONFIG_INVALID with its name. */
export function readSetting<T>(environment: Environment, name: string, parse: (text: string) => T): T | undefined {
  const text = environment[name];
  if (!text) return undefined;
  try {
    return parse(text);
  } catch (cause) {
    const { message, hint } = toWherryError(cause);
    throw new WherryError('CONFIG_INVALID', `${name}: ${message}`, { hint, cause });
  }
}

/** Most bytes that the CLI keeps of builds. Throws CONFIG_INVALID. */
export function readBuildLimit(environment: Environment): number {
  return readSetting(environment, 'WHERRY_BUILD_CACHE', parseSize) ?? 20_000_000_000;
}

/** The entries of a setting that is a list with commas. */
export function readList(text = ''): readonly string[] {
  return text.split(',').flatMap((entry) => entry.trim() || []);
}

/** A port, 0 for one that the system chooses, or undefined when none is set. Throws CONFIG_INVALID. */
export function readPort(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  if (!text) return undefined;
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port < 65_536) return port;
  throw new WherryError('CONFIG_INVALID', `${name} is '${text}', not a port`, { hint: 'use a number from 0 to 65535' });
}

/** A number that is set, or undefined. Throws CONFIG_INVALID. */
export function readNumber(environment: Environment, name: string, { isWhole = true, least = 0 } = {}): number | undefined {
  const text = environment[name];
  if (!text) return undefined;
  const value = Number(text);
  if (Number.isFinite(value) && value >= least && (!isWhole || Number.isInteger(value))) return value;
  throw new WherryError('CONFIG_INVALID', `${name} is '${text}', not a ${isWhole ? 'whole ' : ''}number from ${least}`, {
    hint: 'leave it out to have it measured',
  });
}
