import type { IncomingMessage, ServerResponse } from 'node:http';

/** How slow the other side may be. */
export interface Pace {
  /** Longest pause, and the window that `leastBytes` counts in. */
  readonly idleMs: number;
  /** So many bytes of a body have to come in each window: one byte now and then would hold a connection for ever. */
  readonly leastBytes: number;
}

/**
 * Ends the connection of a request whose body stops coming or only trickles: whatever waits for that body, or for what it holds,
 * goes on. Node destroys a socket whose time-out passes.
 */
export function limitStall(request: IncomingMessage, response: ServerResponse, pace: Pace): void {
  const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
  if (!hasBody) return;
  // Most bodies come in the packet of their head, and have been read by then.
  process.nextTick(() => {
    if (!request.complete && !request.destroyed) watchBody(request, response, pace);
  });
}

function watchBody(request: IncomingMessage, response: ServerResponse, { idleMs, leastBytes }: Pace): void {
  const { socket } = request;
  socket.setTimeout(idleMs);
  let before = socket.bytesRead;
  const window = setInterval(() => {
    // A request that was answered before its body came is not told when its connection closes.
    if (socket.destroyed) return clearInterval(window);
    if (socket.bytesRead - before < leastBytes) socket.destroy();
    before = socket.bytesRead;
  }, idleMs);
  window.unref();
  request.once('close', () => clearInterval(window));
  request.once('end', () => {
    clearInterval(window);
    // A held answer may be silent for long; after an answer Node has set the time of an idle connection.
    if (!response.writableFinished) socket.setTimeout(0);
  });
}

/** Ends the connection of a reader that takes nothing of an answer for so long. For answers that are whole; Node goes on from there when they went out. */
export function limitReader(response: ServerResponse, idleMs: number): void {
  if (response.socket && response.socket.writableLength > 0) response.socket.setTimeout(idleMs);
}
