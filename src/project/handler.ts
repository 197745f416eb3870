import { WherryError } from '../base/errors.js';
import { findNearest } from './nearest.js';
import { type HandlerKind, kindOf, splitHandler } from './rules.js';

/** The file and function that answer jobs. */
export interface Handler {
  /** Relative to the project, with `/`. */
  readonly path: string;
  readonly function: string;
  readonly kind: HandlerKind;
}

/** The text of a file of the project, or undefined when there is no such file. */
export type SourceOf = (path: string) => Promise<string | undefined>;

export interface FoundHandler {
  readonly handler: Handler;
  /** Sentences on what was chosen for the author. */
  readonly chosen: readonly string[];
}

const NODE_EXTENSIONS = ['ts', 'mts', 'mjs', 'js', 'cjs'] as const;

/** Where a handler is looked for, first match wins; the guide's layout comes first. */
export const HANDLER_PATHS: readonly string[] = [
  'src/handler.py',
  'handler.py',
  'rp_handler.py',
  'src/rp_handler.py',
  ...['handler', 'src/handler'].flatMap((stem) => NODE_EXTENSIONS.map((extension) => `${stem}.${extension}`)),
  'main.py',
  'src/main.py',
  ...['index', 'src/index'].flatMap((stem) => NODE_EXTENSIONS.map((extension) => `${stem}.${extension}`)),
];

const DEFAULT_FUNCTION = 'handler';

/** The handler of a project whose file names none. Throws HANDLER_NOT_FOUND with the paths that were tried. */
export async function findHandler(sourceOf: SourceOf): Promise<FoundHandler> {
  const sources = await Promise.all(HANDLER_PATHS.map(async (path) => ({ path, source: await sourceOf(path) })));
  const present = sources.flatMap(({ path, source }) => (source === undefined ? [] : [{ path, name: detectFunction(path, source) }]));
  const usable = present.flatMap(({ path, name }) => (name === undefined ? [] : [{ path, name }]));
  const [first, ...others] = usable;
  if (first === undefined) throw notFound(present.map(({ path }) => path));
  const handler: Handler = { path: first.path, function: first.name, kind: kindOf(first.path) ?? 'python' };
  const passedOver = others.map(({ path }) => path).join(', ');
  return {
    handler,
    chosen: [
      `handler: ${handler.path}:${handler.function} (found by convention)`,
      ...(passedOver === '' ? [] : [`not used: ${passedOver} (${first.path} comes first; name another as 'handler' in wherry.yaml)`]),
    ],
  };
}

/** The handler that `wherry.yaml` names. Throws HANDLER_NOT_FOUND with the nearest names when there is no such file. */
export async function readHandler(text: string, sourceOf: SourceOf, listFiles: () => Promise<readonly string[]>): Promise<FoundHandler> {
  const { path, function: named } = splitHandler(text);
  const source = await sourceOf(path);
  if (source === undefined) throw missing(path, await listFiles());
  const name = named ?? detectFunction(path, source) ?? DEFAULT_FUNCTION;
  const handler: Handler = { path, function: name, kind: kindOf(path) ?? 'python' };
  return { handler, chosen: named === undefined ? [`handler: ${path}:${name} (wherry.yaml names only the file)`] : [] };
}

/** The name of the function in `source` that answers jobs, or undefined when none can be told by reading. */
export function detectFunction(path: string, source: string): string | undefined {
  return kindOf(path) === 'python' ? detectPython(source) : detectNode(source);
}

function detectPython(source: string): string | undefined {
  if (/^(?:async[ \t]+)?def[ \t]+handler[ \t]*\(/m.test(source) || /^handler[ \t]*(?::[^=\n]*)?=(?!=)/m.test(source))
    return DEFAULT_FUNCTION;
  return /serverless\s*\.\s*start\s*\(\s*\{[^}]*?["']handler["']\s*:\s*([A-Za-z_]\w*)/.exec(source)?.[1];
}

function detectNode(source: string): string | undefined {
  const names = exportsOf(source.replace(/\/\*[\s\S]*?\*\/|^[ \t]*\/\/.*$/gm, ''));
  if (names.has(DEFAULT_FUNCTION)) return DEFAULT_FUNCTION;
  if (names.has('default')) return 'default';
  const [only] = names;
  return names.size === 1 ? only : undefined;
}

function exportsOf(source: string): Set<string> {
  const declared = [...source.matchAll(/\bexport\s+(?:async\s+)?(?:function\s*\*?|const|let|var)\s+([\w$]+)/g)].map(([, name]) => name);
  const listed = [...source.matchAll(/\bexport\s*\{([^}]*)\}/g)].flatMap(([, list = '']) => namesOf(list, /\s+as\s+/));
  const assigned = [...source.matchAll(/\bexports\.([\w$]+)\s*=(?!=)/g)].map(([, name]) => name);
  const object = namesOf(/\bmodule\.exports\s*=\s*\{([^}]*)\}/.exec(source)?.[1] ?? '', /\s*:\s*/, 'key');
  const isDefault = /\bexport\s+default\b/.test(source) || /\bmodule\.exports\s*=\s*[^{\s]/.test(source);
  return new Set([...declared, ...listed, ...assigned, ...object, isDefault ? 'default' : undefined].filter((name) => name !== undefined));
}

/** Exported names of a list: `a as b` exports the last, `a: b` of an object the first. */
function namesOf(list: string, divider: RegExp, side: 'key' | 'value' = 'value'): string[] {
  return list
    .split(',')
    .map(
      (entry) =>
        entry
          .trim()
          .split(divider)
          .at(side === 'key' ? 0 : -1) ?? '',
    )
    .filter((name) => /^[\w$]+$/.test(name));
}

function notFound(present: readonly string[]): WherryError {
  const why =
    present.length === 0
      ? 'no file at any of the usual places'
      : `${present.join(', ')} ${present.length === 1 ? 'has' : 'have'} no function 'handler'`;
  return new WherryError('HANDLER_NOT_FOUND', `find the handler: ${why}; tried ${HANDLER_PATHS.join(', ')}`, {
    hint: "name it in wherry.yaml as `handler: path:function`, or begin with 'wherry init'",
    detail: { tried: HANDLER_PATHS, present },
  });
}

function missing(path: string, files: readonly string[]): WherryError {
  const base = path.slice(path.lastIndexOf('/') + 1);
  const sameName = files.filter((file) => file.slice(file.lastIndexOf('/') + 1) === base);
  const close = findNearest(path, files);
  const near = [...new Set([...sameName, ...(close === undefined ? [] : [close])])].slice(0, 3);
  return new WherryError('HANDLER_NOT_FOUND', `read handler '${path}': there is no such file in the project`, {
    hint:
      near.length > 0
        ? `did you mean ${near.map((file) => `'${file}'`).join(' or ')}`
        : 'handler is path:function, with the path relative to the project',
    detail: { path, near },
  });
}
