import { describe, expect, it } from 'vitest';
import { parseDockerfile } from './dockerfile.js';
import { findEngineNeed } from './dockerfile-needs.js';

const needOf = (line: string) =>
  findEngineNeed(parseDockerfile(`FROM scratch\n${line}\n`), { engine: undefined, buildArgs: [], secrets: [] });

describe('what engines read by rules of a shell needs one', () => {
  it.each([
    "ENV B='$A'",
    'ENV D=\\$A',
    'ENV F="\\$A"',
    "ENV M=x'y'z",
    'ENV N="x"y',
    'ENV O "a" "b"',
    'ENV P=${A:-x}',
    'ENV Q=$1',
    "LABEL a='$A'",
    'LABEL $A=b',
    "WORKDIR '/$A'",
    'WORKDIR ["/a"]',
    'WORKDIR a b',
    'USER a b',
    'COPY ["a\\"b", "/x/"]',
    'CMD',
  ])('%s', (line) => {
    expect(needOf(line)).toMatch(/^line 2: /);
  });

  it('and so does another character that escapes', () => {
    expect(findEngineNeed(parseDockerfile('# escape=`\nFROM scratch\n'), { engine: undefined, buildArgs: [], secrets: [] })).toContain(
      "line 1: '`'",
    );
  });
});

it.each([
  'ENV A=1 B="two words" C=\'two words\' D=two\\ words E="it\'s" F="$A" G=',
  'ENV A two  words',
  'LABEL "a b"=c',
  'WORKDIR "/a"',
  'COPY ["a b", "/x/"]',
  'COPY a \\\n  b /x/',
  'VOLUME ["/a"]',
  `CMD echo '$A' \\\n  "b"`,
])('needs no engine: %s', (line) => {
  expect(needOf(line)).toBeUndefined();
});
