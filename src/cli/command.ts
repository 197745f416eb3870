import type { ApiClient } from '../api/client.js';
import type { Environment, Settings } from '../compose-settings.js';
import type { Output } from './output.js';

export interface Option {
  /** commander's notation, for instance `-e, --endpoint <id>`. */
  readonly flags: string;
  readonly text: string;
  /** May be given more than once; the value is then a list. */
  readonly isRepeated?: boolean;
}

/** One command as data: help, completion and documentation are made of it. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** commander's notation, for instance `[dir]`. */
  readonly args?: string;
  readonly options?: readonly Option[];
  /** One line that works. */
  readonly example: string;
  readonly isHidden?: boolean;
  /** Gives the exit code. */
  run(context: Context): Promise<number>;
}

export type OptionValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

export interface Context {
  readonly args: readonly string[];
  readonly options: OptionValues;
  readonly output: Output;
  readonly environment: Environment;
  readonly version: string;
  /** Aborts at the first Ctrl-C. */
  readonly signal: AbortSignal;
  settings(): Promise<Settings>;
  /** A client of the server. Throws SERVER_UNAVAILABLE when there is none. */
  client(): Promise<ApiClient>;
}

/** The text of an option, or undefined. */
export function textOf(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** The texts of a repeated option. */
export function textsOf(options: OptionValues, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value : [];
}

/** What a command does for the word that names its action; undefined for a word that names none, also one such as `toString`. */
export function findAction<T>(actions: Readonly<Record<string, T>>, word: string): T | undefined {
  return Object.hasOwn(actions, word) ? actions[word] : undefined;
}

/** Resolves at the first Ctrl-C or SIGTERM. */
export function untilStopped({ signal }: Context): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Every command takes these. */
export const COMMON_OPTIONS: readonly Option[] = [
  { flags: '--json', text: 'print one JSON document instead of text' },
  { flags: '-q, --quiet', text: 'print results only' },
  { flags: '--data <dir>', text: 'data directory (default: below the XDG data directory)' },
  { flags: '--api-url <url>', text: 'server to talk to (default: the one of the data directory)' },
  { flags: '--debug', text: 'show the stack of an error' },
];
