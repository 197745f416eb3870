import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { WherryError } from '../../base/errors.js';
import { confine, readConfinement } from './confine.js';
import {
  type Answer,
  createJsonReader,
  PROTOCOL,
  type Replaced,
  type Request,
  type SupervisorEvent,
  type SupervisorOptions,
  type Welcome,
} from './protocol.js';

const REQUEST_MS = 10_000;
/** `sun_path` holds 104 bytes on macOS, 108 on Linux. */
const SOCKET_PATH_BYTES = 100;

type Unnumbered = Request extends infer R ? (R extends { readonly id: number } ? Omit<R, 'id'> : never) : never;

/** A connection to the supervisor that has said hello. */
export interface Link {
  readonly welcome: Welcome;
  /** Throws RUNTIME_UNAVAILABLE when refused, when the connection ends, or after `timeoutMs`. */
  request(request: Unnumbered, timeoutMs?: number): Promise<unknown>;
  close(): void;
}

export interface LinkOptions {
  /** The built supervisor. */
  readonly entry: string;
  readonly searchPath: string;
  readonly logFile: string;
  readonly supervisor: SupervisorOptions;
  /** The server's clock: what the supervisor stamps comes as moments of it, whatever the wall clock was when each began. */
  now(): number;
  /** `ack` lets the supervisor that told the event forget it. */
  onEvent(event: SupervisorEvent, ack: () => void): void;
  /** The connection ended without {@link Link.close}; `isReplaced` when another server took the supervisor over. */
  onEnd(isReplaced: boolean): void;
}

/** Where the supervisor of a data directory listens: below it, or where the path would be too long in a private temporary folder. */
export function placeSocket(dataDir: string): string {
  const path = join(dataDir, 'run', 'supervisor.sock');
  const isShort = Buffer.byteLength(path) <= SOCKET_PATH_BYTES;
  const dir = isShort ? join(dataDir, 'run') : join(tmpdir(), `wherry-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const { uid, mode } = lstatSync(dir);
  if (!isShort && (uid !== userInfo().uid || (mode & 0o077) !== 0)) {
    throw new WherryError('RUNTIME_UNAVAILABLE', `supervisor socket in '${dir}' refused: the folder is not private to this user`, {
      hint: 'remove the folder, or choose a data directory with a shorter path',
    });
  }
  return join(dir, 'supervisor.sock');
}

/** Connects to the supervisor that runs already; null when none answers. Throws RUNTIME_UNAVAILABLE when it refuses. */
export async function joinSupervisor(options: LinkOptions): Promise<Link | null> {
  const socket = await dial(options.supervisor.socket);
  return socket === null ? null : greet(socket, options);
}

/** Connects to the supervisor, and starts it when none answers. Throws RUNTIME_UNAVAILABLE. */
export async function openLink(options: LinkOptions): Promise<Link> {
  const existing = await joinSupervisor(options);
  if (existing !== null) return existing;
  const starter = startSupervisor(options);
  for (let waitedMs = 0; waitedMs < REQUEST_MS; waitedMs += 5) {
    const link = await joinSupervisor(options);
    if (link !== null) return link;
    if (starter.hasFailed()) break;
    await wait(5);
  }
  throw new WherryError('RUNTIME_UNAVAILABLE', `supervisor did not start: ${tailOf(options.logFile)}`, {
    hint: `read ${options.logFile}`,
  });
}

function startSupervisor({ entry, searchPath, logFile, supervisor }: LinkOptions): { hasFailed(): boolean } {
  const log = openSync(logFile, 'w', 0o600);
  const [file = '', ...args] = confine([process.execPath, entry, JSON.stringify(supervisor)], readConfinement());
  const child = spawn(file, args, {
    detached: true,
    stdio: ['ignore', log, log],
    env: { PATH: searchPath },
    cwd: '/',
  });
  closeSync(log);
  let hasFailed = false;
  child.once('error', () => {
    hasFailed = true;
  });
  // Exit 0 is not a failure: another supervisor was quicker.
  child.once('exit', (code) => {
    hasFailed = code !== 0;
  });
  child.unref();
  return { hasFailed: () => hasFailed };
}

function tailOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim().slice(-500) || 'it wrote nothing';
  } catch {
    return 'it left no log';
  }
}

function dial(path: string): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket)).once('error', () => resolve(null));
  });
}

/** Says hello. Null when a supervisor of another protocol, or one that is about to leave, makes room. */
async function greet(socket: Socket, options: LinkOptions): Promise<Link | null> {
  const wire = createWire(socket, options);
  let answer: Answer;
  try {
    answer = await wire.ask({ verb: 'hello', protocol: PROTOCOL, instanceId: options.supervisor.instanceId }, REQUEST_MS);
  } catch (cause) {
    // A supervisor that is dying still accepts; its end means that nobody answers.
    if (wire.hasEnded()) return null;
    wire.close();
    throw cause;
  }
  if (answer.ok) {
    const request: Link['request'] = async (body, timeoutMs = REQUEST_MS) => {
      const { ok, value, error } = await wire.ask(body, timeoutMs);
      if (!ok) throw unavailable(body, error ?? 'no reason given');
      return value;
    };
    return { welcome: answer.value as Welcome, request, close: wire.close };
  }
  wire.close();
  if (answer.isLeaving) return null;
  throw new WherryError('RUNTIME_UNAVAILABLE', `supervisor refused this server: ${answer.error ?? 'no reason given'}`, {
    hint: 'stop the other version of wherry; its workers end two minutes later, then start again',
  });
}

/** Requests and their answers over one socket; events go to the options' callbacks. */
function createWire(socket: Socket, { onEvent, onEnd, now }: LinkOptions) {
  const waiting = new Map<number, { resolve(answer: Answer): void; reject(cause: unknown): void; request: Unnumbered }>();
  let last = 0;
  let isClosed = false;
  let isReplaced = false;
  let hasWelcome = false;
  /** How far the server's clock is ahead of the supervisor's. */
  let aheadMs = 0;
  const send = (request: Request): void => {
    if (!socket.destroyed) socket.write(`${JSON.stringify(request)}\n`);
  };

  const read = createJsonReader(
    (value) => {
      const message = value as Answer | SupervisorEvent | Replaced;
      if (!('event' in message)) {
        if (waiting.get(message.id)?.request.verb === 'hello' && message.ok) {
          hasWelcome = true;
          aheadMs = now() - (message.value as Welcome).now;
        }
        waiting.get(message.id)?.resolve(message);
        waiting.delete(message.id);
      } else if (message.event === 'replaced') isReplaced = true;
      else onEvent(moveEvent(message, aheadMs), () => send({ id: 0, verb: 'ack', seq: message.seq }));
    },
    () => socket.destroy(),
  );
  const end = (): void => {
    for (const { reject, request } of waiting.values()) reject(unavailable(request, 'the connection to the supervisor ended'));
    waiting.clear();
    if (isClosed) return;
    isClosed = true;
    if (hasWelcome) onEnd(isReplaced);
  };
  socket
    .setEncoding('utf8')
    .on('data', read)
    .on('close', end)
    .on('error', () => socket.destroy());

  const ask = (request: Unnumbered, timeoutMs: number): Promise<Answer> => {
    last += 1;
    const id = last;
    return new Promise<Answer>((resolve, reject) => {
      if (isClosed) throw unavailable(request, 'the connection to the supervisor ended');
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(unavailable(request, `no answer within ${timeoutMs} ms`));
      }, timeoutMs);
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          settle(value);
        };
      waiting.set(id, { resolve: done(resolve), reject: done(reject), request });
      send({ ...request, id });
    });
  };
  const close = (): void => {
    isClosed = true;
    socket.destroy();
  };
  return { ask, close, hasEnded: () => isClosed };
}

function moveEvent(event: SupervisorEvent, byMs: number): SupervisorEvent {
  return event.event === 'output' ? { ...event, lines: event.lines.map(({ at, text }) => ({ at: at + byMs, text })) } : event;
}

function unavailable(request: Unnumbered, why: string): WherryError {
  const subject =
    request.verb === 'spawn' ? ` worker '${request.order.workerId}'` : 'workerId' in request ? ` worker '${request.workerId}'` : '';
  return new WherryError('RUNTIME_UNAVAILABLE', `supervisor request ${request.verb}${subject} failed: ${why}`, {
    hint: 'try again; the server log tells more when it stays',
  });
}
