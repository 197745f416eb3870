/** The C library of a Linux system, which compiled packages are made for. */
export type Libc = 'glibc' | 'musl';

/** That of an image, by its name: Alpine's have musl. */
export function libcOf(base: string): Libc {
  return /alpine|musl/.test(base) ? 'musl' : 'glibc';
}
