import { expect, it } from 'vitest';
import { maskCommand, maskWords, showEnvironment } from './secrets.js';

it('masks values of variables whose names look secret', () => {
  const names = [
    'HF_TOKEN',
    'AWS_SECRET_ACCESS_KEY',
    'DB_PASSWORD',
    'API_KEY',
    'KEY',
    'GOOGLE_APPLICATION_CREDENTIALS',
    'token',
    'NPM_AUTH',
    'PGPASSWORD',
    'DB_PASS',
    'MYSQL_PWD',
    'GITHUB_PAT',
  ];
  for (const name of names) expect(showEnvironment([`${name}=abc`]), name).toEqual([{ name, value: '***', isMasked: true }]);
});

it('shows the others, and that a secret is empty', () => {
  const lines = ['PATH=/bin', 'TOKENIZERS_PARALLELISM=false', 'A=b=c', 'KEYBOARD=us', 'HF_TOKEN=', 'EMPTY'];
  expect(showEnvironment(lines).map(({ value, isMasked }) => [value, isMasked])).toEqual([
    ['/bin', false],
    ['false', false],
    ['b=c', false],
    ['us', false],
    ['', false],
    ['', false],
  ]);
});

it('masks passwords in addresses', () => {
  expect(showEnvironment(['URL=postgres://me:pass@host/db'])).toEqual([
    { name: 'URL', value: 'postgres://me:***@host/db', isMasked: true },
  ]);
});

it('masks build arguments in a command', () => {
  expect(maskCommand('|2 HF_TOKEN=abc MODE=fast /bin/sh -c pip install --index-url https://me:x@host/simple "API_KEY=ab"')).toBe(
    '|2 HF_TOKEN=*** MODE=fast /bin/sh -c pip install --index-url https://me:***@host/simple "API_KEY=***"',
  );
  expect(maskCommand(`ENV DB_PASSWORD="two words" A=1`)).toBe('ENV DB_PASSWORD=*** A=1');
});

it('masks what options of a command are given', () => {
  expect(maskWords(['/x', '--api-key=abc', '--token', 'abc', '--port', '80', '--password', '-v', '--key-file', '/k', 'run'])).toEqual([
    '/x',
    '--api-key=***',
    '--token',
    '***',
    '--port',
    '80',
    '--password',
    '-v',
    '--key-file',
    '/k',
    'run',
  ]);
  expect(maskWords(['/bin/sh', '-c', 'run --token abc --name "a b"'])).toEqual(['/bin/sh', '-c', 'run --token *** --name "a b"']);
  expect(maskCommand('CMD ["/x" "--api-key=abc" "--token" "a b" "--port", "80"]')).toBe(
    'CMD ["/x" "--api-key=***" "--token" *** "--port", "80"]',
  );
});
