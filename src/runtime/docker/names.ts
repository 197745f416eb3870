import type { Digest } from '../../oci/digest.js';
import type { ImageName } from '../runtime.js';

/** Labels on containers and networks: whose they are, also after this server is gone. */
export const OWNER_LABELS = {
  instance: 'dev.wherry.instance',
  worker: 'dev.wherry.worker',
  endpoint: 'dev.wherry.endpoint',
  release: 'dev.wherry.release',
} as const;

/** The name of a worker's container. */
export function containerNameOf(workerId: string): string {
  return `wherry-${workerId}`;
}

/** Enough of the instance's id to keep several servers on one engine apart; the whole id is in the label. */
function shortInstance(instanceId: string): string {
  return instanceId.replaceAll('-', '').slice(-12);
}

/** The network of an endpoint's containers. */
export function networkNameOf(instanceId: string, endpointId: string): string {
  return `wherry-${shortInstance(instanceId)}-${endpointId}`;
}

/** An image as the engine names it: the embedded registry's address, and the digest. */
export function imageReferenceOf(registry: string, { repository, digest }: ImageName): string {
  return `${registry}/${repository}@${digest}`;
}

/** Tags tell what this server pulled, so that nothing else is ever removed. */
export function markOf(instanceId: string, digest: Digest): string {
  return `${markPrefix(instanceId)}${digest.slice('sha256:'.length, 'sha256:'.length + MARK_DIGITS)}`;
}

/** The digest's digits in a tagged reference of ours, or undefined when it is none. */
export function digitsOfMark(instanceId: string, reference: string): string | undefined {
  const tag = reference.slice(reference.lastIndexOf(':') + 1);
  return tag.startsWith(markPrefix(instanceId)) ? tag.slice(markPrefix(instanceId).length) : undefined;
}

const MARK_DIGITS = 32;
const markPrefix = (instanceId: string) => `wherry-${shortInstance(instanceId)}-`;
