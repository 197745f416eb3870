/** The places where a test harness may end the process: each is a step whose interruption must lose nothing. */
export const FAULT_POINTS = [
  'submit.before-commit',
  'submit.after-commit',
  'claim.before-commit',
  'claim.after-commit',
  'settle.before-commit',
  'settle.after-commit',
  'deploy.before-release',
  'deploy.after-release',
  'deploy.before-activate',
  'deploy.after-activate',
  'webhook.before-send',
  'webhook.after-send',
] as const;

export type FaultPoint = (typeof FAULT_POINTS)[number];

/** Called at each fault point; does nothing outside the test harness. */
export type Faults = (point: FaultPoint) => void;

export const noFaults: Faults = () => {};
