import { describe, expect, it } from 'vitest';
import { parseDockerfile } from './dockerfile.js';
import { findEngineNeed } from './dockerfile-needs.js';

const WISHES = { engine: undefined, buildArgs: [], secrets: [] };
const FILES = ['run', 'run.py', 'site.conf', 'src', 'src/a'];
const needOf = (line: string) => findEngineNeed(parseDockerfile(`FROM scratch\n${line}\n`), WISHES, FILES);

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
    expect(findEngineNeed(parseDockerfile('# escape=`\nFROM scratch\n'), WISHES, FILES)).toContain("line 1: '`'");
  });
});

it.each([
  'COPY site.conf /etc/nginx/conf.d',
  'COPY sit* /etc/site.conf',
  'COPY run /opt/tool',
  'COPY run /opt/tool.d',
  'COPY run.py /opt/run',
])('needs an engine where only the base can tell whether the target is a directory: %s', (line) => {
  expect(needOf(line)).toContain('line 2: COPY to what may be a directory');
});

it.each([
  'ENV A=1 B="two words" C=\'two words\' D=two\\ words E="it\'s" F="$A" G=',
  'ENV A two  words',
  'LABEL "a b"=c',
  'WORKDIR "/a"',
  'COPY ["a b", "/x/"]',
  'COPY a \\\n  b /x/',
  'COPY site.conf /etc/nginx/conf.d/',
  'COPY site.conf /etc/nginx/default.conf',
  'COPY run /opt/run',
  'COPY src /opt/tool',
  'COPY . /opt',
  'VOLUME ["/a"]',
  `CMD echo '$A' \\\n  "b"`,
])('needs no engine: %s', (line) => {
  expect(needOf(line)).toBeUndefined();
});
