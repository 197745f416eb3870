/** What opens a registry, or a part of one, as it is stored. The secret is sealed and leaves the server only towards that registry. */
export interface RegistryCredential {
  /** `host[:port]`, or with a path for the repositories below it: `ghcr.io/acme`. Also its id. */
  readonly registry: string;
  /** Null for an identity token, which names its owner itself. */
  readonly username: string | null;
  readonly sealed: string;
  readonly createdAt: number;
}

/** A credential that is chosen by its id, whatever registry the image is in. The secret is sealed. */
export interface NamedCredential {
  readonly id: string;
  /** For people; unique. */
  readonly name: string;
  readonly username: string;
  readonly sealed: string;
  readonly createdAt: number;
}
