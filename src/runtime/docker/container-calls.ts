import { WherryError } from '../../base/errors.js';
import type { ContainerState } from './ending.js';
import { type EngineAnswer, type EngineApi, engineFailed, reasonOf } from './engine-api.js';

/** What the engine says of a container. */
export interface Container extends ContainerState {
  readonly isPaused: boolean;
  /** Its memory limit. */
  readonly memoryBytes: number | undefined;
  /** Ports of this machine, by port of the container (`8000/tcp`). */
  readonly ports: ReadonlyMap<string, number>;
}

interface InspectAnswer {
  readonly State: ContainerState & { readonly Paused?: boolean };
  readonly HostConfig?: { readonly Memory?: number };
  readonly NetworkSettings?: {
    readonly Ports?: Readonly<Record<string, readonly { readonly HostPort: string }[] | null>> | null;
  };
}

/** Undefined when there is no such container. Throws RUNTIME_UNAVAILABLE. */
export async function lookAt(api: EngineApi, nameOrId: string): Promise<Container | undefined> {
  const answer = await api.call({ method: 'GET', path: `/containers/${nameOrId}/json` });
  if (isGone(answer)) return undefined;
  if (answer.status !== 200) throw engineFailed(`a look at container '${nameOrId}'`, answer);
  const { State: state, HostConfig: host, NetworkSettings: network } = answer.body as InspectAnswer;
  const ports = Object.entries(network?.Ports ?? {}).flatMap(([port, bindings]) =>
    bindings?.[0] ? [[port, Number(bindings[0].HostPort)] as const] : [],
  );
  const isPaused = state.Paused ?? false;
  // Podman does not call a paused container a running one.
  return { ...state, Running: state.Running || isPaused, isPaused, memoryBytes: host?.Memory || undefined, ports: new Map(ports) };
}

/** Podman calls a container that it is just removing a fault of its own. */
function isGone(answer: EngineAnswer): boolean {
  return answer.status === 404 || (answer.status === 500 && /no such container/i.test(reasonOf(answer)));
}

/** Removes a container with its anonymous volumes, whatever it does; idempotent. Throws RUNTIME_UNAVAILABLE. */
export async function removeContainer(api: EngineApi, nameOrId: string): Promise<void> {
  const answer = await api.call({ method: 'DELETE', path: `/containers/${nameOrId}`, query: { v: 'true', force: 'true' } });
  // 409: another removal is under way.
  if (![200, 204, 409].includes(answer.status) && !isGone(answer)) throw engineFailed(`the removal of container '${nameOrId}'`, answer);
}

export type Creation = { readonly containerId: string } | 'no-image' | 'no-disk-limit';

/** Creates a container, or says what is missing for it. Throws RUNTIME_REFUSED, RUNTIME_UNAVAILABLE. */
export async function createContainer(api: EngineApi, name: string, body: unknown): Promise<Creation> {
  const answer = await api.call({ method: 'POST', path: '/containers/create', query: { name }, body });
  if (answer.status === 201) return { containerId: (answer.body as { Id: string }).Id };
  const reason = reasonOf(answer);
  if (/no such image|image not known/i.test(reason)) return 'no-image';
  if (/storage-?opt|storage option/i.test(reason)) return 'no-disk-limit';
  throw refusedOrFailed(`the creation of container '${name}'`, answer);
}

export type ContainerStart = 'started' | 'no-network' | 'port-taken';

/** Starts a created container, or says what it lacks; then it must be removed. Throws RUNTIME_REFUSED, RUNTIME_UNAVAILABLE; then too. */
export async function startContainer(api: EngineApi, containerId: string): Promise<ContainerStart> {
  const answer = await api.call({ method: 'POST', path: `/containers/${containerId}/start`, idleMs: START_MS });
  if (answer.status === 204 || answer.status === 304) return 'started';
  const reason = reasonOf(answer);
  if (/network .*not found|unable to find network/i.test(reason)) return 'no-network';
  if (/port is already allocated|address already in use|ports are not available/i.test(reason)) return 'port-taken';
  throw refusedOrFailed('the start of its container', answer);
}

const START_MS = 120_000;

/** An engine tells with the same status that a command does not exist and that its disk is full: the words make the difference. */
function refusedOrFailed(what: string, answer: EngineAnswer): WherryError {
  const reason = reasonOf(answer);
  const isRefused = answer.status === 400 || /OCI runtime|executable file not found|device driver|CDI device/i.test(reason);
  if (!isRefused) return engineFailed(what, answer);
  return new WherryError('RUNTIME_REFUSED', `${what} was refused: ${reason}`, {
    hint: "correct the image's command, or the release's arguments and resources",
  });
}

/** Sends a signal to the main process; one that ended meanwhile is no failure. Throws RUNTIME_UNAVAILABLE. */
export async function signalContainer(api: EngineApi, containerId: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  // A frozen process gets no signal, and Podman refuses to send one.
  if ((await lookAt(api, containerId))?.isPaused) await api.call({ method: 'POST', path: `/containers/${containerId}/unpause` });
  const answer = await api.call({ method: 'POST', path: `/containers/${containerId}/kill`, query: { signal } });
  if (answer.status === 204 || isGone(answer)) return;
  if ((await lookAt(api, containerId))?.Running) throw engineFailed(`${signal} to container '${containerId}'`, answer);
}

/** Suspends all processes; gives the memory they hold. Throws RUNTIME_UNAVAILABLE, also when it does not run. */
export async function freezeContainer(api: EngineApi, containerId: string): Promise<number> {
  const memoryBytes = await readMemory(api, containerId);
  await changeFreeze(api, containerId, true);
  return memoryBytes;
}

/** Lets suspended processes go on. Throws RUNTIME_UNAVAILABLE, also when it does not run. */
export function thawContainer(api: EngineApi, containerId: string): Promise<void> {
  return changeFreeze(api, containerId, false);
}

/** What is so already is refused by engines, each in its own words: a look decides. */
async function changeFreeze(api: EngineApi, containerId: string, isFrozen: boolean): Promise<void> {
  const verb = isFrozen ? 'pause' : 'unpause';
  const answer = await api.call({ method: 'POST', path: `/containers/${containerId}/${verb}` });
  if (answer.status === 204) return;
  const found = await lookAt(api, containerId);
  if (!found?.Running || found.isPaused !== isFrozen) throw engineFailed(`${verb} of container '${containerId}'`, answer);
}

interface StatsAnswer {
  readonly memory_stats?: { readonly usage?: number; readonly stats?: Readonly<Record<string, number>> };
}

/** What the processes hold; pages of files that the kernel can drop are not counted. */
async function readMemory(api: EngineApi, containerId: string): Promise<number> {
  const query = { stream: 'false', 'one-shot': 'true' };
  const answer = await api.call({ method: 'GET', path: `/containers/${containerId}/stats`, query });
  if (answer.status !== 200) throw engineFailed(`the memory of container '${containerId}'`, answer);
  const { usage = 0, stats = {} } = (answer.body as StatsAnswer).memory_stats ?? {};
  return Math.max(0, usage - (stats['total_inactive_file'] ?? stats['inactive_file'] ?? 0));
}
