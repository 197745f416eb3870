import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';

/** How a client proves who it is: a password, or a token that only the token service understands. */
export type Credentials = { readonly username: string; readonly password: string } | { readonly identityToken: string };

interface AuthEntry {
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, AuthEntry>>;
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly credsStore?: string;
}

const HELPER_TIMEOUT_MS = 10_000;
const HUB_KEYS = ['https://index.docker.io/v1/', 'index.docker.io', 'docker.io', 'registry-1.docker.io'];

/**
 * The credentials that `docker login HOST` left in `configDir/config.json`: a helper for the host, the general helper, then
 * the file itself. Undefined when there are none. Throws CONFIG_INVALID for a damaged file or a failing helper.
 */
export async function readDockerCredentials(host: string, configDir: string): Promise<Credentials | undefined> {
  const file = join(configDir, 'config.json');
  const config = await readConfig(file);
  if (!config) return undefined;
  const keys = HUB_KEYS.includes(host) ? HUB_KEYS : [host, `https://${host}`, `https://${host}/v1/`, `https://${host}/v2/`];
  for (const key of keys) {
    const helper = config.credHelpers?.[key] ?? config.credsStore;
    const found = helper === undefined ? undefined : await askHelper(helper, key);
    if (found) return found;
  }
  for (const key of keys) {
    const found = parseEntry(config.auths?.[key], { file, key });
    if (found) return found;
  }
  return undefined;
}

async function readConfig(file: string): Promise<DockerConfig | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return undefined;
    throw new WherryError('CONFIG_INVALID', `docker's config '${file}' cannot be read: ${messageOf(thrown)}`, {
      hint: 'correct the file, or write it anew with docker login',
      cause: thrown,
    });
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new WherryError('CONFIG_INVALID', `docker's config '${file}' is not JSON`, {
      hint: 'repair it, or log in again with docker',
      cause,
    });
  }
  throw new WherryError('CONFIG_INVALID', `docker's config '${file}' is not a JSON object`, { hint: 'log in again with docker' });
}

function parseEntry(entry: AuthEntry | undefined, { file, key }: { file: string; key: string }): Credentials | undefined {
  if (!entry) return undefined;
  if (entry.identitytoken) return { identityToken: entry.identitytoken };
  if (entry.username && entry.password) return { username: entry.username, password: entry.password };
  if (!entry.auth) return undefined;
  const decoded = Buffer.from(entry.auth, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  if (colon > 0) return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1).replace(/\0+$/, '') };
  throw new WherryError('CONFIG_INVALID', `docker's config '${file}' has a bad 'auth' for '${key}'`, { hint: 'log in again with docker' });
}

/** Asks `docker-credential-NAME get`; undefined when it knows nothing of the host. */
async function askHelper(name: string, key: string): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9._-]+$/.test(name)) throw failedHelper(program, 'its name is not allowed');
  const { exitCode, output } = await runHelper(program, key);
  if (exitCode !== 0) {
    // The helper protocol has no code for "none": the text is all there is.
    if (/credentials not found/i.test(output)) return undefined;
    throw failedHelper(program, `it ended with exit code ${exitCode}`);
  }
  return parseHelperOutput(program, output);
}

function parseHelperOutput(program: string, output: string): Credentials | undefined {
  let answer: { readonly Username?: unknown; readonly Secret?: unknown };
  try {
    answer = JSON.parse(output);
  } catch (cause) {
    throw failedHelper(program, 'it did not answer with JSON', cause);
  }
  const { Username: username, Secret: secret } = answer;
  if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') return undefined;
  return username === '<token>' ? { identityToken: secret } : { username, password: secret };
}

function runHelper(program: string, input: string): Promise<{ exitCode: number | null; output: string }> {
  return new Promise((done, fail) => {
    const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], timeout: HELPER_TIMEOUT_MS, killSignal: 'SIGKILL' });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.on('error', (cause) => fail(failedHelper(program, 'it could not be started', cause)));
    child.on('close', (exitCode) => done({ exitCode, output }));
    // A helper that does not read its input is judged by its exit code.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

function failedHelper(program: string, why: string, cause?: unknown): WherryError {
  return new WherryError('CONFIG_INVALID', `docker's credential helper '${program}' failed: ${why}`, {
    hint: "install the helper or remove it from docker's config.json",
    cause,
  });
}
