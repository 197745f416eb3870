import { BlockList, isIP } from 'node:net';
import { WherryError } from '../base/errors.js';

/** Where webhooks may go: the open internet, and what the operator allows. */
export interface WebhookTargets {
  /** Why a URL can never be a target, or undefined. Names are judged when they are resolved. */
  refuseUrl(url: string): string | undefined;
  /** Why an address may not be connected to for that host, or undefined. */
  refuseAddress(address: string, host: string): string | undefined;
}

const URL_LENGTH = 4_096;

/** IPv4 that is not the open internet: IANA's special-purpose registry (RFC 6890), multicast and reserved. */
const PRIVATE_IPV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
/** Inside the global unicast 2000::/3: Teredo and other protocol assignments, documentation, and 6to4, which carries IPv4. */
const PRIVATE_IPV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

/** `allow`: addresses, networks (`10.1.0.0/16`) and host names. Throws CONFIG_INVALID. */
export function createWebhookTargets(allow: readonly string[]): WebhookTargets {
  const isPrivate = listOf([...PRIVATE_IPV4, ...PRIVATE_IPV6]);
  const isGlobalIpv6 = listOf(['2000::/3']);
  const isHost = (entry: string) => isIP(entry.split('/')[0] ?? '') === 0;
  const hosts = new Set(allow.filter(isHost).map((host) => checkHost(host.toLowerCase())));
  const isAllowed = listOf(allow.filter((entry) => !isHost(entry)));

  const refuseAddress = (given: string, host: string): string | undefined => {
    const address = plainAddress(given);
    if (hosts.has(host) || isAllowed(address)) return undefined;
    if (isPrivate(address) || (isIP(address) !== 4 && !isGlobalIpv6(address)))
      return `${host} is ${address}, which is not an address of the open internet`;
    return undefined;
  };
  return {
    refuseAddress,
    refuseUrl: (text) => {
      if (text.length > URL_LENGTH) return `is longer than ${URL_LENGTH} characters`;
      if (!URL.canParse(text)) return 'is not a URL';
      const url = new URL(text);
      if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'is not an http or https URL';
      if (url.username !== '' || url.password !== '') return 'carries a user name or password';
      const host = hostOf(url);
      if (isIP(host) === 0 || refuseAddress(host, host) === undefined) return undefined;
      return `names ${plainAddress(host)}, which is not an address of the open internet`;
    },
  };
}

/** Host of a URL as a resolver takes it. The URL parser has made decimal, octal and hexadecimal forms plain already. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

/** Without zone, and IPv4 in IPv6 (`::ffff:7f00:1`) as the IPv4 it is. */
function plainAddress(given: string): string {
  const address = given.split('%')[0] ?? '';
  if (isIP(address) !== 6) return address;
  const short = hostOf(new URL(`http://[${address}]`));
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (!mapped) return short;
  const [high = 0, low = 0] = mapped.slice(1).map((group) => Number.parseInt(group, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

function listOf(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    const type = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    try {
      list.addSubnet(address, bits === undefined ? (type === 'ipv6' ? 128 : 32) : Number(bits), type);
    } catch (cause) {
      throw new WherryError('CONFIG_INVALID', `'${network}' is not a network that webhooks may go to`, {
        hint: 'write an address, a network such as 10.1.0.0/16, or a host name in WHERRY_WEBHOOK_ALLOW',
        cause,
      });
    }
  }
  return (address) => isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

function checkHost(host: string): string {
  if (/^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/.test(host)) return host;
  throw new WherryError('CONFIG_INVALID', `'${host}' is not a host that webhooks may go to`, {
    hint: 'write an address, a network such as 10.1.0.0/16, or a host name in WHERRY_WEBHOOK_ALLOW',
  });
}
