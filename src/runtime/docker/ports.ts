import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';

/** Where ports of workers are published: for this machine's server, not for the world. */
export const PUBLISHED_AT = '127.0.0.1';

/** A port of a worker, and the port of this machine that leads to it. */
export interface PublishedPort {
  /** As an engine has it: `8000/tcp`. */
  readonly port: string;
  readonly hostPort: number;
}

/**
 * Chooses ports of this machine for those of a worker, which has to be told them when its container is made: an engine that chooses does so
 * later. They are free now; whether they still are at the start, the engine says.
 */
export async function choosePorts(declared: readonly string[]): Promise<readonly PublishedPort[]> {
  const held = declared.map((text) => ({ port: portOf(text), server: createServer().listen(0, PUBLISHED_AT) }));
  try {
    await Promise.all(held.map(({ server }) => once(server, 'listening')));
    return held.map(({ port, server }) => ({ port, hostPort: (server.address() as AddressInfo).port }));
  } finally {
    for (const { server } of held) server.close();
  }
}

/** `8000/http` is `8000/tcp` for an engine. */
function portOf(text: string): string {
  const [number = '', protocol] = text.split('/');
  return `${number}/${protocol === 'udp' ? 'udp' : 'tcp'}`;
}
