import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request that the hub or its store of large files got. */
export interface Seen {
  readonly at: 'hub' | 'store';
  readonly path: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

export interface TestHub {
  readonly url: string;
  readonly seen: Seen[];
  /** Puts a commit there; files above 100 bytes lie in the store, as large files do. */
  commit(repository: string, files: Readonly<Record<string, Buffer | string>>, branch?: string): string;
  /** Only with this token; `gated` is told apart from what is not there. */
  guard(repository: string, token: string, isGated?: boolean): void;
  /** What the store does with its next requests. */
  readonly faults: Fault[];
  /** Answers nothing but this status until it is undefined again. */
  setDown(status: number | undefined): void;
  /** Transfers of the store wait until it is resolved. */
  hold(until: Promise<void> | undefined): void;
  close(): Promise<void>;
}

/** `cut` ends the connection after so many bytes; `twist` sends other bytes; `whole` ignores ranges. */
export type Fault = { readonly cut: number } | 'twist' | 'whole';

interface Repository {
  readonly refs: Map<string, string>;
  readonly commits: Map<string, Map<string, Buffer>>;
  guard?: { readonly token: string; readonly isGated: boolean };
}

const LARGE = 100;

/** The routes of a hub that its clients use, over real sockets; its store is another host, as the hub's is. */
export async function openHub(): Promise<TestHub> {
  const repositories = new Map<string, Repository>();
  const blobs = new Map<string, Buffer>();
  const seen: Seen[] = [];
  const faults: Fault[] = [];
  let down: number | undefined;
  let held: Promise<void> | undefined;
  const note = (at: Seen['at'], { url = '', headers }: IncomingMessage) => {
    seen.push({ at, path: url, authorization: headers.authorization, range: headers.range });
  };
  const store = await serve(async (request, response) => {
    note('store', request);
    await held;
    const body = blobs.get((request.url ?? '').split('?')[0]?.slice(1) ?? '');
    if (!body) return void response.writeHead(404).end();
    sendBody(response, body, { range: request.headers.range, fault: faults.shift() });
  });
  const hub = await serve(async (request, response) => {
    note('hub', request);
    if (down !== undefined) return void response.writeHead(down, { 'retry-after': '0' }).end();
    const url = new URL(request.url ?? '/', 'http://hub');
    const [, api, asked, name] = /^\/(api\/models\/)?([^/]+\/[^/]+)\/(?:revision|resolve)\/(.+)$/.exec(url.pathname) ?? [];
    const [revision = '', ...path] = (name ?? '').split('/').map(decodeURIComponent);
    const repository = repositories.get(asked ?? '');
    const fail = (status: number, code: string) => void response.writeHead(status, { 'x-error-code': code }).end();
    const { guard } = repository ?? {};
    const isOpen = !guard || request.headers.authorization === `Bearer ${guard.token}`;
    if (!repository || (!isOpen && !guard?.isGated)) return fail(401, 'RepoNotFound');
    if (!isOpen && !api) return fail(401, 'GatedRepo');
    const commit = repository.refs.get(revision) ?? revision;
    const files = repository.commits.get(commit);
    if (!files) return fail(404, 'RevisionNotFound');
    if (api) return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(listFiles(commit, files)));
    const file = files.get(path.join('/'));
    if (!file) return fail(404, 'EntryNotFound');
    const common = { 'x-repo-commit': commit, 'accept-ranges': 'bytes' };
    if (file.length <= LARGE) {
      const etag = { etag: `"${gitHash(file)}"` };
      return void response.writeHead(200, { ...common, ...etag, 'content-length': file.length }).end(request.method === 'HEAD' ? '' : file);
    }
    const hash = sha256(file);
    const linked = { 'x-linked-etag': `"${hash}"`, 'x-linked-size': file.length, etag: `"${hash}"` };
    const { port } = store.address() as AddressInfo;
    response.writeHead(302, { ...common, ...linked, location: `http://localhost:${port}/${hash}?X-Signature=s3cret` }).end();
  });
  return {
    url: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
    seen,
    faults,
    commit(name, given, branch = 'main') {
      const files = new Map(Object.entries(given).map(([path, body]) => [path, Buffer.from(body)]));
      const repository = repositories.get(name) ?? { refs: new Map<string, string>(), commits: new Map<string, Map<string, Buffer>>() };
      const commit = createHash('sha1')
        .update(JSON.stringify([name, branch, Object.keys(given), repository.commits.size]))
        .digest('hex');
      for (const body of files.values()) blobs.set(sha256(body), body);
      repository.commits.set(commit, files);
      repository.refs.set(branch, commit);
      repositories.set(name, repository);
      return commit;
    },
    guard(name, token, isGated = false) {
      const repository = repositories.get(name);
      if (repository) repository.guard = { token, isGated };
    },
    setDown(status) {
      down = status;
    },
    hold(until) {
      held = until;
    },
    async close() {
      for (const server of [hub, store]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}

function listFiles(commit: string, files: ReadonlyMap<string, Buffer>) {
  const siblings = [...files].map(([rfilename, body]) => {
    const lfs = body.length > LARGE ? { lfs: { sha256: sha256(body), size: body.length, pointerSize: 134 } } : {};
    return { rfilename, size: body.length, blobId: gitHash(body), ...lfs };
  });
  return { id: 'm', sha: commit, siblings };
}

function sendBody(response: ServerResponse, body: Buffer, { range, fault }: { range: string | undefined; fault: Fault | undefined }): void {
  const from = fault === 'whole' ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  const part = fault === 'twist' ? Buffer.alloc(body.length - from, 7) : body.subarray(from);
  const head = { 'content-length': part.length, etag: `"${sha256(body)}"`, 'accept-ranges': 'bytes' };
  if (from > 0) response.writeHead(206, { ...head, 'content-range': `bytes ${from}-${body.length - 1}/${body.length}` });
  else response.writeHead(200, head);
  if (typeof fault === 'object') response.write(part.subarray(0, fault.cut), () => response.destroy());
  else response.end(part);
}

function serve(answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>): Promise<Server> {
  const server = createServer((request, response) => {
    answer(request, response).catch((cause: unknown) => response.destroy(cause as Error));
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

export function sha256(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex');
}

/** As git names a file. */
export function gitHash(body: Buffer): string {
  return createHash('sha1').update(`blob ${body.length}\0`).update(body).digest('hex');
}
