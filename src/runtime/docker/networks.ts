import { messageOf, WherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { createTurns } from '../../base/turns.js';
import { type EngineApi, engineFailed, reasonOf } from './engine-api.js';
import { networkNameOf, OWNER_LABELS } from './names.js';

/** The network of an endpoint's workers. */
export interface Network {
  readonly name: string;
  /** The address of this machine in it. */
  readonly gateway: string;
}

/** Where workers reach the server: a listener that serves nothing but workers' routes (decision 25). */
export interface WorkerListener {
  /** A name or address under which every container reaches this machine, whatever its network; null: the gateway of its network. */
  readonly host: string | null;
  /** The server's URL for workers that see this machine as `host`. */
  urlAt(host: string): string;
  /** Listens on an address of this machine; gives what ends that. Throws PORT_TAKEN. */
  open(host: string): Promise<() => Promise<void>>;
}

export interface NetworksOptions {
  /** Throws RUNTIME_UNAVAILABLE while the engine is away. */
  readonly api: () => EngineApi;
  readonly instanceId: string;
  readonly listener: WorkerListener;
  readonly log: Log;
  /** How long a network stays without workers, so that the next start from zero finds it. */
  readonly lingerMs: number;
  /** Whether an endpoint has workers, or some are being started. */
  readonly isUsed: (endpointId: string) => boolean;
}

/** One network an endpoint, so that workers of different endpoints do not reach each other. */
export interface Networks {
  /** Makes the endpoint's network, unless it is there, and listens at its gateway. Throws RUNTIME_UNAVAILABLE. */
  ensure(endpointId: string): Promise<Network>;
  /** Forgets what is known of it: the engine says that it is gone. */
  forget(endpointId: string): void;
  /** Takes over those of a former server, and removes the ones that nobody uses. */
  adopt(): Promise<void>;
  /** A worker of the endpoint ended: its network goes when it stayed unused for a while. */
  release(endpointId: string): void;
  /** Listens at an address of this machine that workers know, unless it does already. */
  listenAt(gateway: string): Promise<void>;
  /** Removes what is unused, forgets the rest, ends all listeners. */
  close(): Promise<void>;
}

export function createNetworks(options: NetworksOptions): Networks {
  const { api, instanceId, lingerMs, isUsed, log } = options;
  const known = new Map<string, Promise<Network>>();
  const timers = new Map<string, NodeJS.Timeout>();
  const listeners = createListeners(options);
  const inTurn = createTurns();

  const remove = (endpointId: string): Promise<void> =>
    inTurn(endpointId, async () => {
      if (isUsed(endpointId)) return;
      const network = await known.get(endpointId);
      const answer = await api().call({ method: 'DELETE', path: `/networks/${networkNameOf(instanceId, endpointId)}` });
      if (answer.status !== 204 && answer.status !== 200 && answer.status !== 404)
        throw engineFailed(`the removal of the network of endpoint '${endpointId}'`, answer);
      known.delete(endpointId);
      if (network) await listeners.close(network.gateway);
    });
  const schedule = (endpointId: string): void => {
    clearTimeout(timers.get(endpointId));
    const removeUnused = () => {
      timers.delete(endpointId);
      remove(endpointId).catch((cause: unknown) => log.debug({ endpointId, reason: messageOf(cause) }, 'a network could not be removed'));
    };
    timers.set(endpointId, setTimeout(removeUnused, lingerMs).unref());
  };
  /** Address ranges are few: those that only linger give way. */
  const makeRoom = async (): Promise<void> => {
    for (const endpointId of [...known.keys()]) if (!isUsed(endpointId)) await remove(endpointId).catch(() => {});
  };
  const make = async (endpointId: string): Promise<Network> => {
    const made = await makeNetwork(api(), instanceId, endpointId);
    if (made !== 'exhausted') return made;
    await makeRoom();
    const again = await makeNetwork(api(), instanceId, endpointId);
    if (again !== 'exhausted') return again;
    throw new WherryError(
      'RUNTIME_UNAVAILABLE',
      `network of endpoint '${endpointId}' not made: the docker engine has no address range left`,
      {
        hint: 'give the engine more with default-address-pools in its daemon.json',
      },
    );
  };
  return {
    async ensure(endpointId) {
      const network = await inTurn(endpointId, async () => {
        const making = known.get(endpointId) ?? make(endpointId);
        known.set(endpointId, making);
        making.catch(() => known.delete(endpointId));
        return making;
      });
      schedule(endpointId);
      await listeners.open(network.gateway);
      return network;
    },
    forget: (endpointId) => void known.delete(endpointId),
    async adopt() {
      for (const { endpointId, ...network } of await listNetworks(api(), instanceId)) {
        if (known.has(endpointId)) continue;
        if (isUsed(endpointId)) {
          known.set(endpointId, Promise.resolve(network));
          await listeners.open(network.gateway);
        } else await remove(endpointId).catch(() => {});
      }
    },
    release: schedule,
    listenAt: (gateway) => listeners.open(gateway),
    async close() {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
      await makeRoom();
      known.clear();
      await listeners.closeAll();
    },
  };
}

/** Listeners at gateways, one an address. */
function createListeners({ listener, log }: Pick<NetworksOptions, 'listener' | 'log'>) {
  const opened = new Map<string, Promise<() => Promise<void>>>();
  const close = async (gateway: string): Promise<void> => {
    const opening = opened.get(gateway);
    opened.delete(gateway);
    await (await opening?.catch(() => undefined))?.();
  };
  return {
    /** Never rejects: Podman makes a bridge with its first container, and until then its address is nowhere. */
    async open(gateway: string): Promise<void> {
      if (listener.host !== null || opened.has(gateway)) return;
      const opening = listener.open(gateway);
      opened.set(gateway, opening);
      await opening.catch((cause: unknown) => {
        opened.delete(gateway);
        log.info({ gateway, reason: messageOf(cause) }, 'workers cannot be listened to at a gateway yet');
      });
    },
    close,
    async closeAll(): Promise<void> {
      for (const gateway of [...opened.keys()]) await close(gateway);
    },
  };
}

interface NetworkAnswer {
  readonly Name: string;
  readonly Labels?: Readonly<Record<string, string>> | null;
  readonly IPAM?: { readonly Config?: readonly { readonly Gateway?: string; readonly Subnet?: string }[] | null };
}

async function makeNetwork(api: EngineApi, instanceId: string, endpointId: string): Promise<Network | 'exhausted'> {
  const name = networkNameOf(instanceId, endpointId);
  const labels = { [OWNER_LABELS.instance]: instanceId, [OWNER_LABELS.endpoint]: endpointId };
  const what = `the network of endpoint '${endpointId}'`;
  const found = await api.call({ method: 'GET', path: `/networks/${name}` });
  if (found.status === 200) return { name, gateway: gatewayOf(found.body as NetworkAnswer) };
  const body = { Name: name, Driver: 'bridge', CheckDuplicate: true, Labels: labels };
  const made = await api.call({ method: 'POST', path: '/networks/create', body });
  if (/non-overlapping|address pool|no more subnets|could not find free subnet/i.test(reasonOf(made))) return 'exhausted';
  if (made.status !== 201 && made.status !== 200 && made.status !== 409) throw engineFailed(what, made);
  const inspected = await api.call({ method: 'GET', path: `/networks/${name}` });
  if (inspected.status !== 200) throw engineFailed(what, inspected);
  return { name, gateway: gatewayOf(inspected.body as NetworkAnswer) };
}

async function listNetworks(api: EngineApi, instanceId: string): Promise<readonly (Network & { readonly endpointId: string })[]> {
  const filters = JSON.stringify({ label: [`${OWNER_LABELS.instance}=${instanceId}`] });
  const answer = await api.call({ method: 'GET', path: '/networks', query: { filters } });
  if (answer.status !== 200) throw engineFailed('the list of networks', answer);
  return (answer.body as readonly NetworkAnswer[]).flatMap((network) => {
    const endpointId = network.Labels?.[OWNER_LABELS.endpoint];
    return endpointId === undefined ? [] : [{ name: network.Name, gateway: gatewayOf(network), endpointId }];
  });
}

/** The first IPv4 address of this machine in the network. */
function gatewayOf({ Name, IPAM }: NetworkAnswer): string {
  const config = (IPAM?.Config ?? []).find(({ Gateway, Subnet }) => (Gateway ?? Subnet ?? '').includes('.'));
  // Some engines name no gateway that was not asked for: it is the first address then.
  const gateway = config?.Gateway ?? config?.Subnet?.replace(/\d+\/\d+$/, '1');
  if (gateway) return gateway;
  throw new WherryError('RUNTIME_UNAVAILABLE', `network '${Name}' has no IPv4 gateway`, { hint: 'remove it; it is made anew' });
}
