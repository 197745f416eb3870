/**
 * The environment of a worker, by the names of RunPod's worker protocol: unmodified images and their SDKs read them. Nothing else below the
 * doors knows these names (docs/adr/0025).
 */

/** Where workers find their volume, and in it the cache of models (endpoint-settings §6): images have the path written into them. */
export const VOLUME_ROOT = '/runpod-volume';

/** The SDK's own checks want four GB of memory and the internet; a release may ask for them (worker-protocol §9.3). */
export const SDK_DEFAULTS: Readonly<Record<string, string>> = { RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: 'true' };

/** Those of {@link protocolVariables} that differ from worker to worker of a release. */
export const OWN_VARIABLES: readonly string[] = ['RUNPOD_POD_ID', 'RUNPOD_AI_API_KEY', 'RUNPOD_POD_HOSTNAME'];

/** What a worker is told of itself and of its server. */
export interface WorkerIdentity {
  /** Of the server, as the worker reaches it. */
  readonly url: string;
  readonly id: string;
  readonly endpointId: string;
  readonly token: string;
  readonly pingIntervalMs: number;
  readonly gpus: number;
}

/** worker-protocol §1.1 and §1.3: placeholders stay literal, each URL has a query already; users cannot override these. */
export function protocolVariables({ url, id, endpointId, token, pingIntervalMs, gpus }: WorkerIdentity): Readonly<Record<string, string>> {
  const base = `${url}/v2/${endpointId}`;
  return {
    RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=CPU`,
    RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=CPU`,
    RUNPOD_POD_ID: id,
    RUNPOD_AI_API_KEY: token,
    RUNPOD_PING_INTERVAL: String(pingIntervalMs),
    RUNPOD_ENDPOINT_ID: endpointId,
    RUNPOD_POD_HOSTNAME: id,
    RUNPOD_GPU_COUNT: String(gpus),
  };
}

/** What a worker is told of its ports (worker-protocol §1.3): `ports` are as an engine has them, `8000/tcp`. */
export function portVariables(
  address: string,
  ports: readonly { readonly port: string; readonly hostPort: number }[],
): Readonly<Record<string, string>> {
  if (ports.length === 0) return {};
  const told = ports.map(({ port, hostPort }) => {
    const [number, protocol = ''] = port.split('/');
    return [`RUNPOD_${protocol.toUpperCase()}_PORT_${number}`, String(hostPort)] as const;
  });
  return { RUNPOD_PUBLIC_IP: address, ...Object.fromEntries(told) };
}

/** The name of the volume that lies at {@link VOLUME_ROOT}, if one does. */
export function volumeVariables(volumes: readonly { readonly name: string; readonly path: string }[]): Readonly<Record<string, string>> {
  const network = volumes.find(({ path }) => path === VOLUME_ROOT);
  return network ? { RUNPOD_VOLUME_ID: network.name } : {};
}

/** References to secrets within the value of a variable, with or without the blanks; whatever stands there as a name must be one. */
export const SECRET_REFERENCE = /\{\{\s*RUNPOD_SECRET_([^\s{}]+)\s*\}\}/g;

/** How a value of a variable refers to a secret. */
export function formatSecretReference(name: string): string {
  return `{{ RUNPOD_SECRET_${name} }}`;
}
