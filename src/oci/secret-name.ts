/**
 * Words that names of secrets are made of. `PWD` alone is where a shell is, BYPASS and COMPASS hold no password, and public keys and the
 * fingerprints that images of languages have in GPG_KEY are for everybody.
 */
const WORDS =
  '(?:[A-Z]*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|(?<!BY|COM)PASS|(?<!PUBLIC_?|GPG_?)KEY)|CREDENTIALS?|AUTH|PAT|(?<=_)PWD)';
const NAME = new RegExp(`(?:^|_)${WORDS}$`, 'i');
const MENTION = new RegExp(`(?:^|_)${WORDS}(?:_|$)`, 'i');

/** Whether a variable's name says that its value is a secret: `HF_TOKEN`, `PGPASSWORD`. */
export function isSecretName(name: string): boolean {
  return NAME.test(name);
}

/** As {@link isSecretName}, also for a name that only has such a word in it, as `AWS_SECRET_ACCESS_ID`: what is shown need not be there. */
export function mayBeSecretName(name: string): boolean {
  return MENTION.test(name);
}
