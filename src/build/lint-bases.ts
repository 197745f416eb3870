/** When the makers of common base images stop mending them: the day after their last one, by the version a tag begins with. */
const ENDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  python: {
    '2': '2020-01-01',
    '3.6': '2021-12-24',
    '3.7': '2023-06-28',
    '3.8': '2024-10-08',
    '3.9': '2025-11-01',
    '3.10': '2026-11-01',
    '3.11': '2027-11-01',
  },
  node: { '14': '2023-05-01', '16': '2023-09-12', '18': '2025-05-01', '20': '2026-05-01', '22': '2027-05-01', '24': '2028-05-01' },
  debian: {
    stretch: '2022-07-01',
    '9': '2022-07-01',
    buster: '2024-07-01',
    '10': '2024-07-01',
    bullseye: '2026-09-01',
    '11': '2026-09-01',
  },
  ubuntu: { '18.04': '2023-06-01', '20.04': '2025-06-01', '22.04': '2027-05-01' },
  alpine: {
    '3.15': '2023-11-02',
    '3.16': '2024-05-24',
    '3.17': '2024-11-23',
    '3.18': '2025-05-10',
    '3.19': '2025-11-02',
    '3.20': '2026-04-02',
    '3.21': '2026-11-02',
  },
};

/** The day since which nobody mends this image or the distribution it names (YYYY-MM-DD), when the table knows it and it has passed. */
export function findEndOfLife(repository: string, tag: string, now: number): string | undefined {
  const own = ENDS[repository.split('/').at(-1) ?? ''] ?? {};
  const version = Object.keys(own)
    .filter((known) => tag === known || (tag.startsWith(known) && /[.\-_]/.test(tag.charAt(known.length))))
    .sort((a, b) => b.length - a.length)[0];
  const distribution = tag.split('-').find((part) => /^[a-z]+$/.test(part) && part in (ENDS['debian'] ?? {}));
  const ends = [version && own[version], distribution && ENDS['debian']?.[distribution]];
  return ends.filter((end): end is string => Boolean(end) && Date.parse(String(end)) <= now).sort()[0];
}
