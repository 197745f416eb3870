import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * Ends the connection of a request whose body stops coming for so long: whatever waits for that body, or for what it holds,
 * goes on. A body may take as long as it likes while bytes come. Node destroys a socket whose time-out passes.
 */
export function limitStall(request: IncomingMessage, response: ServerResponse, idleMs: number): void {
  const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
  if (!hasBody) return;
  request.socket.setTimeout(idleMs);
  request.once('end', () => {
    // A held answer may be silent for long; after an answer Node has set the time of an idle connection.
    if (!response.writableFinished) request.socket.setTimeout(0);
  });
}
