import { posix } from 'node:path';
import { messageOf } from '../base/errors.js';
import { DEFAULT_SETTINGS } from '../domain/endpoint.js';
import { parseReference } from '../oci/reference.js';
import type { Finding } from './document.js';
import type { ProjectFile } from './project-file.js';

export type HandlerKind = 'node' | 'python';

/** Checks what the schema cannot: references, paths, and fields that must agree with each other. */
export function checkRules(file: ProjectFile): readonly Finding[] {
  return [checkDockerfile, checkHandler, checkBase, checkInterpreter, checkPlatforms, checkSecrets, checkScale].flatMap(
    (check) => check(file) ?? [],
  );
}

/** Splits `path:function`; the function is undefined when only a path is given. The path gets one spelling: `./a.py` is `a.py`. */
export function splitHandler(text: string): { readonly path: string; readonly function: string | undefined } {
  const colon = text.lastIndexOf(':');
  const path = posix.normalize(colon < 0 ? text : text.slice(0, colon));
  return { path, function: colon < 0 ? undefined : text.slice(colon + 1) };
}

/** The language of a handler file by its extension, or undefined. */
export function kindOf(path: string): HandlerKind | undefined {
  if (path.endsWith('.py')) return 'python';
  return /\.[mc]?[jt]s$|\.[jt]sx$/.test(path) ? 'node' : undefined;
}

function checkDockerfile({ dockerfile }: ProjectFile): Finding | undefined {
  const why = dockerfile === undefined ? undefined : leavesProject(dockerfile);
  return why === undefined ? undefined : { at: ['dockerfile'], problem: `'dockerfile' is '${dockerfile}': ${why}` };
}

function checkHandler({ handler }: ProjectFile): Finding | undefined {
  if (handler === undefined) return undefined;
  const { path, function: name } = splitHandler(handler);
  const why =
    faultOfPath(path) ?? (name === undefined || /^[A-Za-z_$][\w$]*$/.test(name) ? undefined : `'${name}' is not a function's name`);
  return why === undefined ? undefined : { at: ['handler'], problem: `'handler' should be path:function, not '${handler}': ${why}` };
}

function faultOfPath(path: string): string | undefined {
  const why = leavesProject(path);
  if (why !== undefined) return why;
  return kindOf(path) === undefined ? `'${path}' is neither a Python nor a Node file` : undefined;
}

function leavesProject(text: string): string | undefined {
  const path = posix.normalize(text);
  if (path.includes('\\') || path.includes('\0')) return 'its parts are divided by /';
  if (posix.isAbsolute(path) || /^[A-Za-z]:/.test(path)) return 'the path is relative to the project';
  return path === '..' || path.startsWith('../') ? 'the path leaves the project' : undefined;
}

function checkBase({ base }: ProjectFile): Finding | undefined {
  if (base === undefined || base === 'scratch') return undefined;
  try {
    parseReference(base);
    return undefined;
  } catch (thrown) {
    return { at: ['base'], problem: `'base' should be scratch or an image reference: ${messageOf(thrown)}` };
  }
}

function checkInterpreter({ handler, interpreter }: ProjectFile): Finding | undefined {
  const kind = handler === undefined ? undefined : kindOf(splitHandler(handler).path);
  if (kind === undefined || interpreter === undefined || interpreter.startsWith(`${kind}@`)) return undefined;
  return { at: ['interpreter'], problem: `'interpreter' should be for ${kind}, as the handler is, not '${interpreter}'` };
}

function checkPlatforms({ platforms = [] }: ProjectFile): Finding | undefined {
  const twice = platforms.findIndex((platform, index) => platforms.indexOf(platform) < index);
  return twice < 0 ? undefined : { at: ['platforms', twice], problem: `'platforms' names '${platforms[twice]}' twice` };
}

function checkSecrets({ env = {}, secrets = [] }: ProjectFile): Finding | undefined {
  const twice = secrets.findIndex((name) => Object.hasOwn(env, name));
  return twice < 0 ? undefined : { at: ['secrets', twice], problem: `'secrets' names '${secrets[twice]}', which 'env' sets too` };
}

function checkScale({ scale = {} }: ProjectFile): Finding | undefined {
  const { min = DEFAULT_SETTINGS.scale.min, max = DEFAULT_SETTINGS.scale.max } = scale;
  if (min <= max) return undefined;
  return {
    at: ['scale', scale.min === undefined ? 'max' : 'min'],
    problem: `'scale.min' is ${min}, more than 'scale.max', which is ${max}`,
  };
}
