/** What an expression can see. A name that is absent here is refused, as the hosted runner refuses it. */
export type Contexts = Readonly<Record<string, unknown>>;

/** How the job or the action went so far. */
export interface Progress {
  readonly hasFailed: boolean;
  readonly isCancelled: boolean;
}

type Value = string | boolean | number | null | object;

const TOKEN = /\s*(?:('(?:[^']|'')*')|([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)|(\d+)|(==|!=|&&|\|\||[!()]))/y;
const STATUS = ['always', 'success', 'failure', 'cancelled'];

/** The text with each `${{ }}` replaced by its value. */
export function interpolate(text: string, contexts: Contexts): string {
  return text.replace(/\$\{\{(.*?)\}\}/gs, (_, source: string) => toText(evaluate(source, contexts, undefined)));
}

/** Whether a step with this `if` runs; one that asks for no status runs only when nothing failed before. */
export function isWanted(condition: string | undefined, contexts: Contexts, progress: Progress): boolean {
  const source = (condition ?? 'success()').replace(/^\s*\$\{\{(.*)\}\}\s*$/s, '$1');
  const asksForStatus = STATUS.some((name) => new RegExp(`\\b${name}\\s*\\(`).test(source));
  return isTrue(evaluate(asksForStatus ? source : `success() && (${source})`, contexts, progress));
}

/** The part of the expression language that the project's files use: names, texts, numbers, `== != && || !`, brackets and status functions. */
function evaluate(source: string, contexts: Contexts, progress: Progress | undefined): Value {
  const tokens = tokenize(source);
  const parseOr = (): Value => {
    let left = parseAnd();
    while (tokens[0] === '||') {
      tokens.shift();
      const right = parseAnd();
      left = isTrue(left) ? left : right;
    }
    return left;
  };
  const parseAnd = (): Value => {
    let left = parseEqual();
    while (tokens[0] === '&&') {
      tokens.shift();
      const right = parseEqual();
      left = isTrue(left) ? right : left;
    }
    return left;
  };
  const parseEqual = (): Value => {
    const left = parseOne();
    const [sign] = tokens;
    if (sign !== '==' && sign !== '!=') return left;
    tokens.shift();
    return (toText(left).toLowerCase() === toText(parseOne()).toLowerCase()) === (sign === '==');
  };
  const parseOne = (): Value => {
    const token = tokens.shift() ?? '';
    if (token === '!') return !isTrue(parseOne());
    if (token === '(') {
      const value = parseOr();
      tokens.shift();
      return value;
    }
    if (token.startsWith("'")) return token.slice(1, -1).replaceAll("''", "'");
    if (/^\d/.test(token)) return Number(token);
    if (tokens[0] !== '(') return lookUp(token, contexts);
    tokens.splice(0, 2);
    return askStatus(token, progress);
  };
  const value = parseOr();
  if (tokens.length > 0) throw new Error(`'${source}' is no expression: '${tokens[0]}' is too much`);
  return value;
}

function tokenize(source: string): string[] {
  const found: string[] = [];
  TOKEN.lastIndex = 0;
  const text = source.trimEnd();
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const token = TOKEN.exec(text)?.[0];
    if (token === undefined) throw new Error(`'${source}' is no expression from '${text.slice(at)}' on`);
    found.push(token.trim());
  }
  return found;
}

/** An absent member is empty; an absent context is a mistake. */
function lookUp(path: string, contexts: Contexts): Value {
  if (path === 'true' || path === 'false') return path === 'true';
  if (path === 'null') return null;
  const [context = '', ...members] = path.split('.');
  if (!Object.hasOwn(contexts, context)) throw new Error(`'${path}': there is no '${context}' here`);
  let value: unknown = contexts[context];
  for (const member of members) {
    const isThere = typeof value === 'object' && value !== null && Object.hasOwn(value, member);
    value = isThere ? (value as Record<string, unknown>)[member] : null;
  }
  return (value ?? null) as Value;
}

function askStatus(name: string, progress: Progress | undefined): boolean {
  if (progress === undefined || !STATUS.includes(name)) throw new Error(`${name}() cannot be asked here`);
  const { hasFailed, isCancelled } = progress;
  if (name === 'always') return true;
  if (name === 'cancelled') return isCancelled;
  return name === 'failure' ? hasFailed && !isCancelled : !hasFailed && !isCancelled;
}

const isTrue = (value: Value): boolean => value !== '' && value !== false && value !== 0 && value !== null;

function toText(value: Value): string {
  if (value === null) return '';
  return typeof value === 'object' ? 'Object' : String(value);
}
