/** The parts of a JSON pointer (RFC 6901), or undefined when it is none. The empty pointer is the whole value. */
export function parsePointer(text: string): readonly string[] | undefined {
  if (text === '') return [];
  if (!text.startsWith('/') || /~(?![01])/.test(text)) return undefined;
  return text
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** A JSON pointer (RFC 6901). */
export function formatPointer(parts: readonly (string | number)[]): string {
  return parts.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** What lies at a pointer; `isThere` is false when nothing does. */
export function lookAt(value: unknown, parts: readonly string[]): { readonly isThere: boolean; readonly value?: unknown } {
  let found = value;
  for (const part of parts) {
    const isIndex = Array.isArray(found) && /^(?:0|[1-9]\d*)$/.test(part) && Number(part) < found.length;
    const isMember = isObject(found) && Object.hasOwn(found, part);
    if (!isIndex && !isMember) return { isThere: false };
    found = (found as Readonly<Record<string, unknown>>)[part];
  }
  return { isThere: true, value: found };
}

/** A JSON object, which an array is not. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
