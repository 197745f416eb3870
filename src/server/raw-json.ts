/**
 * The text of each member of a JSON object, as it was sent: values pass through with their digits, order and spelling.
 * Undefined when the text is not a JSON object. `JSON.parse` is the judge of the syntax; this only finds the borders.
 */
export function sliceMembers(
  text: string,
): { readonly parsed: Record<string, unknown>; readonly raw: ReadonlyMap<string, string> } | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined;
  return { parsed: parsed as Record<string, unknown>, raw: findMembers(text) };
}

/** The text of each element of a JSON array, as it was sent; undefined when the text is not a JSON array. */
export function sliceElements(text: string): readonly string[] | undefined {
  try {
    if (!Array.isArray(JSON.parse(text))) return undefined;
  } catch {
    return undefined;
  }
  const elements: string[] = [];
  for (let index = skipSpace(text, text.indexOf('[') + 1); text[index] !== ']'; index = skipSpace(text, index)) {
    const end = endOfValue(text, index);
    elements.push(text.slice(index, end).trimEnd());
    index = text[end] === ',' ? end + 1 : end;
  }
  return elements;
}

function findMembers(text: string): Map<string, string> {
  const raw = new Map<string, string>();
  let index = skipSpace(text, text.indexOf('{') + 1);
  while (text[index] === '"') {
    const nameEnd = endOfString(text, index);
    const name = JSON.parse(text.slice(index, nameEnd)) as string;
    const start = skipSpace(text, text.indexOf(':', nameEnd) + 1);
    const end = endOfValue(text, start);
    raw.set(name, text.slice(start, end).trimEnd());
    index = skipSpace(text, end);
    if (text[index] === ',') index = skipSpace(text, index + 1);
  }
  return raw;
}

function skipSpace(text: string, from: number): number {
  let index = from;
  while (index < text.length && text.charCodeAt(index) <= 32) index++;
  return index;
}

/** Index after the closing quote. */
function endOfString(text: string, from: number): number {
  let index = text.indexOf('"', from + 1);
  while (isEscaped(text, index)) index = text.indexOf('"', index + 1);
  return index + 1;
}

function isEscaped(text: string, quote: number): boolean {
  let slashes = 0;
  while (text[quote - 1 - slashes] === '\\') slashes++;
  return slashes % 2 === 1;
}

/** Index of the comma, brace or bracket that ends the value. */
function endOfValue(text: string, from: number): number {
  let depth = 0;
  for (let index = from; index < text.length; index++) {
    const char = text[index];
    if (char === '"') index = endOfString(text, index) - 1;
    else if (char === '{' || char === '[') depth++;
    else if ((char === '}' || char === ']') && depth > 0) depth--;
    else if ((char === ',' || char === '}' || char === ']') && depth === 0) return index;
  }
  return text.length;
}
