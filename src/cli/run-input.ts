import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { WherryError } from '../base/errors.js';

/**
 * The job's input: `--input JSON`, `@file` or `@-`, with `-i name=value` (text), `name=@file` (the file's text) and
 * `name:=JSON` over it. Throws USAGE.
 */
export async function readInput(whole: string | undefined, fields: readonly string[]): Promise<unknown> {
  const base = whole === undefined ? {} : parse(await readValue(whole), '--input');
  if (fields.length === 0) return base;
  if (typeof base !== 'object' || base === null || Array.isArray(base)) throw usage('-i needs --input to be a JSON object');
  const entries = await Promise.all(fields.map(readField));
  return { ...base, ...Object.fromEntries(entries) };
}

async function readField(field: string): Promise<readonly [string, unknown]> {
  const match = /^([^=:]+)(:?=)(.*)$/s.exec(field);
  if (!match) throw usage(`'${field}' is not name=value`);
  const [, name = '', sign, value = ''] = match;
  return [name, sign === ':=' ? parse(value, name) : await readValue(value)];
}

async function readValue(value: string): Promise<string> {
  if (value === '@-') return readAll(process.stdin);
  if (!value.startsWith('@')) return value;
  return readFile(value.slice(1), 'utf8').catch((cause: unknown) => {
    throw new WherryError('USAGE', `file '${value.slice(1)}' cannot be read`, { hint: 'check the path', cause });
  });
}

function parse(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WherryError('USAGE', `${name} is not JSON: ${text.slice(0, 80)}`, { hint: 'quote it for the shell, or use @file', cause });
  }
}

function usage(message: string): WherryError {
  return new WherryError('USAGE', message, { hint: 'write -i name=value, -i name=@file or -i name:=JSON' });
}
