import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { messageOf, WherryError } from '../base/errors.js';

/** A path inside a file: names of fields and indexes of list items. */
export type Segments = readonly (string | number)[];

/** A problem before its place in the text is known. */
export interface Finding {
  readonly at: Segments;
  readonly problem: string;
  /** The place is the field's name, not its value. */
  readonly isKey?: boolean;
}

/** Where something stands in a file, from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong in a file; the `detail` of the error lists them. */
export interface Problem extends Place {
  /** Dotted path of the field; empty for the whole file. */
  readonly path: string;
  readonly problem: string;
}

/** A file of YAML, or of JSON, which is YAML too. */
export interface SourceDocument {
  readonly file: string;
  readonly document: Document;
  /** What it holds. Throws CONFIG_INVALID for aliases without an end. */
  read(): unknown;
  placeOf(at: Segments, isKey?: boolean): Place;
  /** CONFIG_INVALID that names the first of the problems; `detail` has them all, by their place. `hint` gets the dotted paths. */
  refusal(findings: readonly Finding[], hint: (paths: readonly string[]) => string): WherryError;
}

const MOST_ALIASES = 20;

/** Opens the text of a file; `file` is the name that messages show, `hint` what helps with its syntax. Throws CONFIG_INVALID. */
export function openDocument(text: string, file: string, hint: string): SourceDocument {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: '1.2', logLevel: 'error' });
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const syntax = [...document.errors, ...document.warnings].map(({ message, pos }) => ({
    ...placeAt(pos[0]),
    path: '',
    problem: lowerFirst(message),
  }));
  if (syntax.length > 0) throw invalid(syntax, () => hint);
  const placeOf = (at: Segments, isKey = false) => placeAt(offsetOf(document, at, isKey));
  return {
    file,
    document,
    placeOf,
    read() {
      try {
        const value: unknown = document.toJS({ maxAliasCount: MOST_ALIASES });
        // An anchor that holds itself gives a value without an end; JSON refuses it.
        JSON.stringify(value);
        return value;
      } catch (thrown) {
        const problem = `its aliases cannot be resolved: ${lowerFirst(messageOf(thrown))}`;
        throw invalid([{ file, line: 1, column: 1, path: '', problem }], () => hint);
      }
    },
    refusal(findings, hintOf) {
      const problems = findings.map(({ at, problem, isKey }) => ({ ...placeOf(at, isKey), path: at.join('.'), problem }));
      return invalid(problems, hintOf);
    },
  };
}

/** Where in the text a path stands; the nearest enclosing place when it is not there itself. */
function offsetOf(document: Document, at: Segments, isKey: boolean): number {
  const last = at.at(-1);
  const parent = nodeAt(document, at.slice(0, -1));
  const pair = isMap(parent) ? parent.items.find(({ key }) => isScalar(key) && String(key.value) === String(last)) : undefined;
  const place = isKey || (pair !== undefined && isScalar(pair.value) && pair.value.value === null) ? pair?.key : nodeAt(document, at);
  if (isNode(place) && place.range) return place.range[0];
  return at.length === 0 ? 0 : offsetOf(document, at.slice(0, -1), false);
}

/** What stands at a path, through aliases; undefined when nothing does. */
export function nodeAt(document: Document, at: Segments): Node | undefined {
  let node: unknown = document.contents;
  for (const part of at) {
    if (isAlias(node)) node = node.resolve(document);
    node = isMap(node) || isSeq(node) ? node.get(part, true) : undefined;
  }
  return isNode(node) ? node : undefined;
}

function invalid(problems: readonly Problem[], hintOf: (paths: readonly string[]) => string): WherryError {
  const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
  const [first] = sorted;
  const more = sorted.length > 1 ? ` (and ${sorted.length - 1} more)` : '';
  const place = first === undefined ? '' : `${first.file}:${first.line}:${first.column}: ${first.problem}`;
  return new WherryError('CONFIG_INVALID', place + more, { hint: hintOf(sorted.map(({ path }) => path)), detail: sorted });
}

function lowerFirst(message: string): string {
  const text = message.trim().split('\n')[0] ?? '';
  return text.slice(0, 1).toLowerCase() + text.slice(1).replace(/\.$/, '');
}
