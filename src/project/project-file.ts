/** `wherry.yaml` as written: nothing filled in, durations and sizes still text. */
export interface ProjectFile {
  readonly name?: string;
  readonly handler?: string;
  readonly base?: string;
  readonly interpreter?: string;
  readonly platforms?: readonly string[];
  readonly include?: readonly string[];
  readonly dockerfile?: string;
  /** Numbers and booleans are here as the text that stands in the file. */
  readonly env?: Readonly<Record<string, string>>;
  readonly secrets?: readonly string[];
  readonly args?: readonly string[];
  readonly ports?: readonly string[];
  readonly resources?: {
    readonly cpu?: number;
    readonly memory?: string;
    readonly disk?: string;
    readonly gpu?: number | string | readonly string[];
  };
  readonly volumes?: readonly string[];
  readonly hardened?: boolean;
  readonly models?: readonly string[];
  readonly placement?: { readonly cuda?: string | readonly string[]; readonly labels?: Readonly<Record<string, string>> };
  readonly scale?: {
    readonly min?: number;
    readonly max?: number;
    readonly idle?: string;
    readonly type?: 'queueDelay' | 'requestCount';
    readonly value?: number;
    readonly extra?: number;
    readonly restAfter?: string;
    readonly keep?: 'freeze' | 'none';
  };
  readonly limits?: {
    readonly execution?: string;
    readonly ttl?: string;
    readonly retention?: string;
    readonly retentionSync?: string;
    readonly webhookRetry?: string;
    readonly rate?: number;
    readonly runSize?: string;
    readonly runsyncSize?: string;
    readonly resultSize?: string;
    readonly timeoutState?: 'TIMED_OUT' | 'FAILED';
    readonly lowPriorityWait?: string;
    readonly init?: string;
  };
  readonly runtime?: 'auto' | 'process' | 'docker';
  readonly tests?: string | readonly object[];
  readonly budget?: { readonly imageSize?: string; readonly coldStart?: string; readonly latency?: string };
}
