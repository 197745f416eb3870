import { WherryError } from '../base/errors.js';
import type { MarkerEnvironment } from './python-target.js';

type Token = { readonly kind: 'text' | 'word' | 'operator' | 'bracket'; readonly text: string };

/**
 * Whether an environment marker holds (PEP 508, "Environment Markers"): `python_version < '3.11' and extra == 'http'`. Versions are
 * compared by their release numbers, everything else as text. Throws BUILD_FAILED for a marker that cannot be read.
 */
export function evaluateMarker(marker: string, environment: MarkerEnvironment): boolean {
  const tokens = tokenize(marker);
  let at = 0;

  function readOr(): boolean {
    let value = readAnd();
    while (tokens[at]?.text === 'or') {
      at += 1;
      const next = readAnd();
      value = value || next;
    }
    return value;
  }

  function readAnd(): boolean {
    let value = readOne();
    while (tokens[at]?.text === 'and') {
      at += 1;
      const next = readOne();
      value = value && next;
    }
    return value;
  }

  function readOne(): boolean {
    if (tokens[at]?.text !== '(') return compare({ marker, left: readOperand(), operator: readOperator(), right: readOperand() });
    at += 1;
    const value = readOr();
    if (tokens[at]?.text !== ')') throw unreadable(marker);
    at += 1;
    return value;
  }

  function readOperand(): string {
    const token = tokens[at];
    at += 1;
    if (token?.kind === 'text') return token.text;
    const value = token?.kind === 'word' ? environment[token.text] : undefined;
    // Outside an extra there is none, and a marker may still ask for it.
    if (value === undefined && token?.text === 'extra') return '';
    if (value === undefined) throw unreadable(marker);
    return value;
  }

  function readOperator(): string {
    const text = tokens[at]?.text ?? '';
    at += 1;
    if (text !== 'not') return text;
    if (tokens[at]?.text !== 'in') throw unreadable(marker);
    at += 1;
    return 'not in';
  }

  const holds = readOr();
  if (at !== tokens.length) throw unreadable(marker);
  return holds;
}

interface Comparison {
  readonly marker: string;
  readonly left: string;
  readonly operator: string;
  readonly right: string;
}

function compare(comparison: Comparison): boolean {
  const { left, operator, right } = comparison;
  if (operator === 'in') return right.includes(left);
  if (operator === 'not in') return !right.includes(left);
  if (operator === '===') return left === right;
  const order = orderOf(left, right);
  return order === undefined ? compareText(comparison) : compareVersions(order, comparison);
}

function compareText({ marker, left, operator, right }: Comparison): boolean {
  if (operator === '==') return left === right;
  if (operator === '!=') return left !== right;
  throw unreadable(marker);
}

function compareVersions(order: number, { marker, left, operator, right }: Comparison): boolean {
  if (operator === '~=') return order >= 0 && hasPrefix(left, right.split('.').slice(0, -1).join('.'));
  if (right.endsWith('.*')) {
    const isIn = hasPrefix(left, right.slice(0, -2));
    if (operator === '==') return isIn;
    if (operator === '!=') return !isIn;
    throw unreadable(marker);
  }
  const holdsFor: Readonly<Record<string, boolean>> = {
    '<': order < 0,
    '<=': order <= 0,
    '==': order === 0,
    '!=': order !== 0,
    '>=': order >= 0,
    '>': order > 0,
  };
  const value = holdsFor[operator];
  if (value === undefined) throw unreadable(marker);
  return value;
}

const TOKEN = /\s*(?:'([^']*)'|"([^"]*)"|([A-Za-z_][\w.]*)|(===|~=|==|!=|<=|>=|<|>)|([()]))\s*/y;

function tokenize(marker: string): readonly Token[] {
  const tokens: Token[] = [];
  const pattern = new RegExp(TOKEN);
  while (pattern.lastIndex < marker.length) {
    const match = pattern.exec(marker);
    if (!match) throw unreadable(marker);
    const [, single, double, word, operator, bracket] = match;
    const text = single ?? double;
    if (text !== undefined) tokens.push({ kind: 'text', text });
    else if (word !== undefined) tokens.push({ kind: 'word', text: word });
    else if (operator !== undefined) tokens.push({ kind: 'operator', text: operator });
    else tokens.push({ kind: 'bracket', text: bracket ?? '' });
  }
  return tokens;
}

const RELEASE = /^\d+(?:\.\d+)*(?:\.\*)?$/;

/** Negative, zero or positive; undefined when either is not a plain version. */
function orderOf(left: string, right: string): number | undefined {
  if (!RELEASE.test(left) || !RELEASE.test(right)) return undefined;
  const [a, b] = [left, right].map((text) => text.replace(/\.\*$/, '').split('.').map(Number));
  for (let part = 0; part < Math.max(a?.length ?? 0, b?.length ?? 0); part += 1) {
    const difference = (a?.[part] ?? 0) - (b?.[part] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function hasPrefix(version: string, prefix: string): boolean {
  return version === prefix || version.startsWith(`${prefix}.`);
}

function unreadable(marker: string): WherryError {
  return new WherryError('BUILD_FAILED', `the environment marker '${marker}' cannot be read`, {
    hint: 'write it as PEP 508 has it, or lock the project again',
  });
}
