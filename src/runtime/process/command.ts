import { basename } from 'node:path';
import type { ImageConfig } from '../../oci/manifest.js';
import { APP_ROOT } from '../../oci/manifest.js';

export interface CommandInput {
  readonly config: NonNullable<ImageConfig['config']>;
  /** Replaces Cmd when not null. */
  readonly args: readonly string[] | null;
  /** The folder that holds the image's `/wherry`. */
  readonly root: string;
  /** The host's interpreter. */
  readonly interpreter: string;
}

/** The command line on this host: entrypoint and arguments, with the interpreter's and the application's true paths. */
export function resolveArgv({ config, args, root, interpreter }: CommandInput): readonly string[] {
  const [first = '', ...rest] = [...(config.Entrypoint ?? []), ...(args ?? config.Cmd ?? [])];
  const isInterpreter = /^(node|python3?(\.\d+)?)$/.test(basename(first)) && !first.startsWith(`${APP_ROOT}/`);
  return [isInterpreter ? interpreter : moveRoot(first, root), ...rest.map((argument) => moveRoot(argument, root))];
}

/** The image's variables with the application's true paths; without PATH, which names folders of the image. */
export function resolveImageEnv(env: readonly string[] | undefined, root: string): Readonly<Record<string, string>> {
  const pairs = (env ?? []).map((entry): [string, string] => {
    const at = entry.indexOf('=');
    return at === -1 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
  });
  return Object.fromEntries(pairs.filter(([name]) => name !== 'PATH').map(([name, value]) => [name, moveRoots(value, root)]));
}

/** Moves each part of a colon-separated list (PYTHONPATH and its like). */
function moveRoots(value: string, root: string): string {
  return value
    .split(':')
    .map((part) => moveRoot(part, root))
    .join(':');
}

function moveRoot(text: string, root: string): string {
  return text === APP_ROOT || text.startsWith(`${APP_ROOT}/`) ? root + text : text;
}
