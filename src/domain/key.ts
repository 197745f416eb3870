/** `read-only` sees what admin keys see, but no secrets, and changes nothing. */
export const KEY_SCOPES = ['admin', 'read-only', 'endpoint'] as const;
export type KeyScope = (typeof KEY_SCOPES)[number];

/** An API key as stored: `wh_<id>_<secret>` is shown once, only its hash is kept. */
export interface Key {
  readonly id: string;
  readonly name: string;
  readonly scope: KeyScope;
  /** The only endpoint it opens; null for keys of other scopes. */
  readonly endpointId: string | null;
  readonly hash: string;
  readonly isEnabled: boolean;
  readonly createdAt: number;
}
