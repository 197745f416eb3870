/** Small handler projects for journeys. */
export function nodeProject(name: string, handler: string, settings = ''): Record<string, string> {
  return {
    'wherry.yaml': `name: ${name}\nhandler: handler.mjs:handler\nbase: scratch\n${settings}`,
    'handler.mjs': handler,
  };
}

/** Answers its input; the commands in it make it misbehave. */
export const ECHO = `
import { appendFileSync } from 'node:fs';
export async function handler(job) {
  const { input } = job;
  if (input?.log) console.log(input.log);
  if (input?.file) appendFileSync(input.file, job.id + '\\n');
  if (input?.sleepMs) await new Promise((resolve) => setTimeout(resolve, input.sleepMs));
  if (input?.spin) for (;;) {}
  if (input?.throw) throw new RangeError(input.throw);
  if (input?.exit !== undefined) process.exit(input.exit);
  if (input?.flood) for (let n = 0; n < input.flood; n++) console.log('line ' + n + ' ' + 'x'.repeat(200));
  if (input?.bigint) return { n: 10n };
  if (input?.error !== undefined) return { error: input.error, also: 1 };
  if (input?.env) return process.env[input.env] ?? null;
  if (input?.job) return job;
  if (input && 'value' in input) return input.value;
  return input;
}
`;

/** Gives the SHA-256 of the variables that it is asked for, so that their values are nowhere else. */
export const HASHES = `
import { createHash } from 'node:crypto';
export const handler = ({ input }) => input.map((name) => createHash('sha256').update(process.env[name] ?? '').digest('hex'));
`;
