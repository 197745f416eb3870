/** What a field may hold, and how a message names that. */
export interface Kind {
  readonly name: string;
  readonly holds: (value: unknown) => boolean;
}

const isText = (value: unknown) => typeof value === 'string';
const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);

export const TEXT: Kind = { name: 'text', holds: isText };
export const SWITCH: Kind = { name: 'true or false', holds: (value) => typeof value === 'boolean' };
export const OBJECT: Kind = { name: 'an object', holds: isObject };
export const LIST: Kind = { name: 'a list', holds: Array.isArray };
export const TEXTS: Kind = { name: 'a list of texts', holds: (value) => Array.isArray(value) && value.every(isText) };
export const OBJECTS: Kind = { name: 'a list of objects', holds: (value) => Array.isArray(value) && value.every(isObject) };
export const TEXT_BY_NAME: Kind = {
  name: 'texts by name',
  holds: (value) => isObject(value) && Object.values(value as object).every(isText),
};

/** The fields that are read of an object of somebody else's; it may have others, whatever they hold. */
export type Shape = Readonly<Record<string, Kind>>;

/** The object without those fields of its shape that are null, which other tools write for what is absent. `refuse` makes the error for a field that holds something else. */
export function readShape<T extends object>(value: T, shape: Shape, refuse: (why: string) => Error): T {
  const isAbsent = ([name, held]: [string, unknown]) => held === null && Object.hasOwn(shape, name);
  const fields = Object.fromEntries(Object.entries(value).filter((field) => !isAbsent(field)));
  for (const [name, kind] of Object.entries(shape)) {
    if (Object.hasOwn(fields, name) && !kind.holds(fields[name])) throw refuse(`${name} is not ${kind.name}`);
  }
  return fields as T;
}
