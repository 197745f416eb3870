/** Greets `input.name`. */
export function handler(job) {
  return { message: `Hello, ${job.input?.name ?? 'world'}!`, from: `Node ${process.versions.node}` };
}
