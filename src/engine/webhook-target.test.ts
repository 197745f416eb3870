import { describe, expect, it } from 'vitest';
import { createWebhookTargets } from './webhook-target.js';

const targets = createWebhookTargets([]);

describe('targets of webhooks', () => {
  it.each([
    'http://127.0.0.1/',
    'http://127.8.9.10:8080/',
    'http://0.0.0.0/',
    'http://0/',
    'http://2130706433/',
    'http://0x7f000001/',
    'http://0x7f.1/',
    'http://0177.0.0.1/',
    'http://127.1/',
    'http://127.0.0.1./',
    'http://１２７.0.0.1/',
    'http://10.1.2.3/',
    'http://172.16.0.1/',
    'http://172.31.255.255/',
    'http://192.168.1.1/',
    'http://100.64.0.1/',
    'http://169.254.169.254/latest/meta-data/',
    'http://192.0.0.192/',
    'http://198.18.0.1/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
    'http://[::1]/',
    'http://[::]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:a9fe:a9fe]/',
    'http://[0:0:0:0:0:ffff:10.0.0.1]/',
    'http://[::127.0.0.1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://[2002:7f00:1::]/',
    'http://[2001::1]/',
    'http://[fc00::1]/',
    'http://[fd00:ec2::254]/',
    'http://[fe80::1]/',
    'http://[ff02::1]/',
    'http://user:pass@93.184.216.34/',
    'http://user@example.com/',
    'file:///etc/passwd',
    'gopher://example.com/',
    'http+unix://%2Frun%2Fdocker.sock/',
    'unix:/run/docker.sock',
    'not a url',
    `http://example.com/${'x'.repeat(5_000)}`,
  ])('are not %s (S2, B16)', (url) => {
    expect(targets.refuseUrl(url)).toEqual(expect.any(String));
  });

  it.each(['http://93.184.216.34/', 'https://[2606:4700:4700::1111]/', 'https://example.com/hook?x=1', 'http://[::ffff:93.184.216.34]/'])(
    'may be %s',
    (url) => {
      expect(targets.refuseUrl(url)).toBeUndefined();
    },
  );

  it('judge a name by the address it has, with the reason (S2)', () => {
    expect(targets.refuseAddress('127.0.0.1', 'rebind.test')).toBe(
      'rebind.test is 127.0.0.1, which is not an address of the open internet',
    );
    expect(targets.refuseAddress('::ffff:10.0.0.1', 'rebind.test')).toContain('10.0.0.1');
    expect(targets.refuseAddress('fe80::1%eth0', 'rebind.test')).toContain('fe80::1');
    expect(targets.refuseAddress('nonsense', 'rebind.test')).toEqual(expect.any(String));
    expect(targets.refuseAddress('93.184.216.34', 'example.com')).toBeUndefined();
  });

  it('may be what the operator allows: an address, a network, a host (S2)', () => {
    const allowing = createWebhookTargets(['127.0.0.1', '10.1.0.0/16', 'fd00::/8', 'hooks.internal']);
    expect(allowing.refuseUrl('http://127.0.0.1:99/')).toBeUndefined();
    expect(allowing.refuseUrl('http://[::ffff:10.1.2.3]/')).toBeUndefined();
    expect(allowing.refuseUrl('http://[fd12::1]/')).toBeUndefined();
    expect(allowing.refuseUrl('http://127.0.0.2/')).toEqual(expect.any(String));
    expect(allowing.refuseUrl('http://10.2.0.1/')).toEqual(expect.any(String));
    expect(allowing.refuseAddress('192.168.0.9', 'hooks.internal')).toBeUndefined();
    expect(allowing.refuseAddress('192.168.0.9', 'other.internal')).toEqual(expect.any(String));
  });

  it.each(['10.0.0.0/99', '10.0.0.0/x', 'a b', 'http://x/'])('cannot be allowed as %s', (entry) => {
    expect(() => createWebhookTargets([entry])).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });
});
