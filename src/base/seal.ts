import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { WherryError } from './errors.js';

/** Keeps secrets unreadable at rest (AES-256-GCM). `purpose` binds a sealed text to its place: it opens nowhere else. */
export interface Seal {
  close(text: string, purpose: string): string;
  /** Throws SEAL_BROKEN when the text was changed, or sealed with another key or for another purpose. */
  open(sealed: string, purpose: string): string;
}

/** Length of the key in bytes. */
export const SEAL_KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A seal with a key of {@link SEAL_KEY_BYTES}; sealed texts are base64 of nonce, tag and cipher text. */
export function createSeal(key: Uint8Array): Seal {
  return {
    close: (text, purpose) => {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(purpose));
      const hidden = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), hidden]).toString('base64');
    },
    open: (sealed, purpose) => {
      const bytes = Buffer.from(sealed, 'base64');
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
          .setAAD(Buffer.from(purpose))
          .setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
        return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
      } catch (cause) {
        throw new WherryError('SEAL_BROKEN', `the stored secret for ${purpose} could not be read: it was sealed with another key`, {
          hint: 'put back the secret.key this data directory was used with, or make a new secret',
          cause,
        });
      }
    },
  };
}
