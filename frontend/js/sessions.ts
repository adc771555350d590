// What of the list of a sandbox's sessions is shown as tabs. Pure.

/** A session as the server lists it. */
export interface Listed {
  name: string;
  startedAt?: number;
  /** Exit code of the shell; absent while it runs. */
  exited?: number | null;
}

/** The names of those whose shell runs, oldest first. */
export function running(listed: readonly Listed[]): string[] {
  return listed
    .filter(({ exited }) => exited === undefined || exited === null)
    .sort((a, b) => (a.startedAt ?? 0) - (b.startedAt ?? 0))
    .map(({ name }) => name);
}
