import { WherryError } from '../base/errors.js';
import type { Platform } from '../oci/descriptor.js';
import type { Libc } from './libc.js';

/** The Python that packages are chosen for: that of the image, which need not be the one of this machine. */
export interface PythonTarget {
  /** `3.11`. */
  readonly version: string;
  /** OCI name: `amd64`, `arm64`. */
  readonly architecture: string;
  readonly libc: Libc;
}

/** What environment markers may ask for (PEP 508, "Environment Markers"). */
export type MarkerEnvironment = Readonly<Record<string, string>>;

const MACHINES: Readonly<Record<string, string>> = { amd64: 'x86_64', arm64: 'aarch64' };

/** The newest C library that wheels may need: Debian 11's. A newer one in the image is compatible. */
const GLIBC_MINOR = 31;
const MUSL_MINOR = 2;

/** Throws BUILD_FAILED for an architecture that wheels have no name for here. */
function machineOf({ architecture }: Pick<Platform, 'architecture'>): string {
  const machine = MACHINES[architecture];
  if (machine !== undefined) return machine;
  throw new WherryError('BUILD_FAILED', `Python packages cannot be installed for the architecture '${architecture}'`, {
    hint: `known are ${Object.keys(MACHINES).join(' and ')}; use a Dockerfile for others`,
  });
}

/** Platform tags of wheels that run on the target, those that ask least of it first (PEP 600, PEP 656). */
export function platformTags(target: PythonTarget): readonly string[] {
  const machine = machineOf(target);
  if (target.libc === 'musl') return countUp(MUSL_MINOR).map((minor) => `musllinux_1_${minor}_${machine}`);
  const older = machine === 'x86_64' ? ['manylinux1_x86_64', 'manylinux2010_x86_64'] : [];
  const numbered = countUp(GLIBC_MINOR)
    .filter((minor) => minor >= 5)
    .map((minor) => `manylinux_2_${minor}_${machine}`);
  return [...older, `manylinux2014_${machine}`, ...numbered, `linux_${machine}`];
}

function countUp(to: number): readonly number[] {
  return Array.from({ length: to }, (_, index) => index + 1);
}

/** The values of markers in the target. */
export function markerEnvironment(target: PythonTarget): MarkerEnvironment {
  return {
    os_name: 'posix',
    sys_platform: 'linux',
    platform_machine: machineOf(target),
    platform_system: 'Linux',
    platform_release: '',
    platform_version: '',
    platform_python_implementation: 'CPython',
    implementation_name: 'cpython',
    implementation_version: `${target.version}.0`,
    python_version: target.version,
    python_full_version: `${target.version}.0`,
  };
}
