import { expect, it } from 'vitest';
import { isSecretName, mayBeSecretName } from './secret-name.js';

it('knows names of secrets', () => {
  const names =
    'TOKEN HF_TOKEN PGPASSWORD DB_PASS MYSQL_PWD GITHUB_PAT DB_PASSPHRASE HF_AUTH KEY API_KEY SSHKEY CREDENTIALS password dbPassword';
  expect(names.split(' ').filter((name) => !isSecretName(name))).toEqual([]);
});

it('lets names of other things be', () => {
  const names = 'PWD OLDPWD PATH BYPASS COMPASS KEYBOARD TOKENIZERS PUBLIC_KEY GPG_KEY AUTHOR PATH_PREFIX MAX_TOKENS';
  expect(names.split(' ').filter(mayBeSecretName)).toEqual([]);
});

it('tells names that only mention a secret from those of one', () => {
  for (const name of ['TOKEN_FILE', 'AUTH_MODE', 'AWS_SECRET_ACCESS_ID']) {
    expect([isSecretName(name), mayBeSecretName(name)], name).toEqual([false, true]);
  }
});
