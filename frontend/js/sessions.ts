// What of the list of a sandbox's sessions is shown as tabs, and which of them are at work. Pure.

/** A session as the server lists it. */
export interface Listed {
  name: string;
  startedAt?: number;
  /** Exit code of the shell; absent while it runs. */
  exited?: number | null;
  /** Whether a program of its shell has the terminal. */
  busy?: boolean;
}

/** The names of those whose shell runs, oldest first. */
export function running(listed: readonly Listed[]): string[] {
  return listed
    .filter(({ exited }) => exited === undefined || exited === null)
    .sort((a, b) => (a.startedAt ?? 0) - (b.startedAt ?? 0))
    .map(({ name }) => name);
}

/** What a stop or restart would end, as a question says it; `undefined` where every shell waits at its prompt. */
export function atWork(listed: readonly Listed[]): string | undefined {
  const names = running(listed.filter(({ busy }) => busy));
  if (names.length === 0) return undefined;
  const shown = names.slice(0, 3).map((name) => `“${name}”`);
  if (names.length > 3) shown.push(`${names.length - 3} more`);
  const last = shown.pop() ?? '';
  if (shown.length === 0) return `A program runs in the terminal ${last}. It would end; files stay.`;
  return `Programs run in the terminals ${shown.join(', ')} and ${last}. They would end; files stay.`;
}

/** A name that no session has, as the tabs give them. */
export function fresh(taken: readonly string[]): string {
  const numbers = taken.map((name) => Number(/^shell-(\d+)$/.exec(name)?.[1] ?? 1));
  return `shell-${Math.max(1, ...numbers) + 1}`;
}
