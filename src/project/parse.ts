import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { messageOf, WherryError } from '../base/errors.js';
import { findField } from './fields.js';
import { checkSchema, type Segments } from './findings.js';
import type { ProjectFile } from './project-file.js';
import { checkRules } from './rules.js';

/** One thing that is wrong in a project file; the `detail` of the error lists them. */
export interface Problem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** Dotted path of the field; empty for the whole file. */
  readonly path: string;
  readonly problem: string;
}

const MOST_ALIASES = 20;

/** Parses and checks the text of a project file; `file` is the name that messages show. Throws CONFIG_INVALID with every problem in `detail`. */
export function parseProject(text: string, file: string): ProjectFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: '1.2', logLevel: 'error' });
  const placeAt = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const syntax = [...document.errors, ...document.warnings].map(({ message, pos }) => ({
    ...placeAt(pos[0]),
    path: '',
    problem: lowerFirst(message),
  }));
  if (syntax.length > 0) throw invalid(syntax);
  keepSource(document);
  const value = toValue(document, file) ?? {};
  const found = checkSchema(value);
  const problems = found.length > 0 ? found : checkRules(value as ProjectFile);
  if (problems.length > 0) {
    throw invalid(
      problems.map(({ at, problem, isKey }) => ({ ...placeAt(offsetOf(document, at, isKey === true)), path: at.join('.'), problem })),
    );
  }
  return value as ProjectFile;
}

/** Environment values, arguments and what a node must be stay the text of the file: `1.10` must not become `1.1`. */
function keepSource(document: Document): void {
  for (const path of [['env'], ['args'], ['placement', 'cuda'], ['placement', 'labels']]) {
    const node = nodeAt(document, path);
    const values: readonly unknown[] = isMap(node) ? node.items.map(({ value }) => value) : isSeq(node) ? node.items : [node];
    for (const value of values) {
      if (isScalar(value) && value.value !== null && typeof value.value !== 'string') value.value = value.source ?? String(value.value);
    }
  }
}

function toValue(document: Document, file: string): unknown {
  try {
    const value: unknown = document.toJS({ maxAliasCount: MOST_ALIASES });
    // An anchor that holds itself gives a value without an end; JSON refuses it.
    JSON.stringify(value);
    return value;
  } catch (thrown) {
    throw invalid([{ file, line: 1, column: 1, path: '', problem: `its aliases cannot be resolved: ${lowerFirst(messageOf(thrown))}` }]);
  }
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

function nodeAt(document: Document, at: Segments): Node | undefined {
  let node: unknown = document.contents;
  for (const part of at) {
    if (isAlias(node)) node = node.resolve(document);
    node = isMap(node) || isSeq(node) ? node.get(part, true) : undefined;
  }
  return isNode(node) ? node : undefined;
}

function invalid(problems: readonly Problem[]): WherryError {
  const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
  const [first] = sorted;
  const more = sorted.length > 1 ? ` (and ${sorted.length - 1} more)` : '';
  const place = first === undefined ? '' : `${first.file}:${first.line}:${first.column}: ${first.problem}`;
  const field = sorted.map(({ path }) => path).find((path) => findField(path) !== undefined);
  return new WherryError('CONFIG_INVALID', place + more, {
    hint: field === undefined ? 'wherry explain lists all fields' : `wherry explain ${field}`,
    detail: sorted,
  });
}

function lowerFirst(message: string): string {
  const text = message.trim().split('\n')[0] ?? '';
  return text.slice(0, 1).toLowerCase() + text.slice(1).replace(/\.$/, '');
}
