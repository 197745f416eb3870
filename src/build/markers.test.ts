import { describe, expect, it } from 'vitest';
import { evaluateMarker } from './markers.js';
import { markerEnvironment } from './python-target.js';

const environment = markerEnvironment({ version: '3.11', architecture: 'amd64', libc: 'glibc' });
const holds = (marker: string) => evaluateMarker(marker, environment);

describe('an environment marker', () => {
  it('compares versions by their numbers', () => {
    expect(holds("python_version < '3.9'")).toBe(false);
    expect(holds('python_version >= "3.9"')).toBe(true);
    expect(holds("python_full_version == '3.11.*'")).toBe(true);
    expect(holds("python_full_version != '3.1.*'")).toBe(true);
    expect(holds("python_version ~= '3.9'")).toBe(true);
    expect(holds("python_version ~= '3.9.2'")).toBe(false);
    expect(holds("'3.10' <= python_version")).toBe(true);
  });

  it('compares the rest as text', () => {
    expect(holds("sys_platform == 'linux'")).toBe(true);
    expect(holds("platform_machine != 'x86_64'")).toBe(false);
    expect(holds("'lin' in sys_platform")).toBe(true);
    expect(holds("sys_platform not in 'win32 darwin'")).toBe(true);
    expect(holds("implementation_name === 'cpython'")).toBe(true);
  });

  it('binds `and` closer than `or`, and brackets closest', () => {
    expect(holds("sys_platform == 'win32' and os_name == 'nt' or python_version > '3'")).toBe(true);
    expect(holds("sys_platform == 'win32' and (os_name == 'nt' or python_version > '3')")).toBe(false);
  });

  it('knows the extra that is asked for, and none without', () => {
    expect(holds("extra == 'http'")).toBe(false);
    expect(evaluateMarker("extra == 'http'", { ...environment, extra: 'http' })).toBe(true);
  });

  it('refuses what it cannot read', () => {
    for (const marker of ['python_version >', "colour == 'red'", "(os_name == 'posix'", "os_name < 'posix'", 'os_name == posix;'])
      expect(() => holds(marker)).toThrow(/cannot be read/);
  });
});
