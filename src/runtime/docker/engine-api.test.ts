import { describe, expect, it } from 'vitest';
import { parseEngineAddress } from './engine-api.js';

describe('parseEngineAddress', () => {
  it('takes the forms of DOCKER_HOST that need no help', () => {
    expect(parseEngineAddress('unix:///run/x.sock')).toMatchObject({ socketPath: '/run/x.sock' });
    expect(parseEngineAddress('tcp://127.0.0.1:2375')).toMatchObject({ host: '127.0.0.1', port: 2375 });
    expect(parseEngineAddress('tcp://[::1]:2375/')).toMatchObject({ host: '::1', port: 2375 });
  });

  it.each(['ssh://host', '/run/x.sock', 'tcp://host', 'npipe:////./pipe/docker_engine'])('refuses %s', (text) => {
    expect(() => parseEngineAddress(text)).toThrow(/no address/);
  });
});
