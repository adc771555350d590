// What the repository's panel says, without the page.

export interface Status {
  url: string | null;
  folder: string | null;
  branch: string | null;
  upstream: string | null;
  ahead: number | null;
  behind: number | null;
  fetchedAt: string | null;
  commit: { id: string; subject: string } | null;
  changes: { path: string; kind: 'added' | 'modified' | 'deleted' | 'renamed' | 'conflict' }[];
  more: boolean;
  folders: { name: string; repository: boolean }[];
}

/** `1 file`, `2 files`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Branch, what is to push and to pull, what has changed. What is to pull is as of git's last fetch, `when` that was. */
export function summary(status: Status, when: (at: string) => string): string {
  const parts = [status.branch ?? 'no branch'];
  if (status.commit && status.upstream === null) parts.push('not pushed yet');
  if (status.ahead) parts.push(`${count(status.ahead, 'commit')} to push`);
  const heard = status.fetchedAt === null ? 'the last fetch' : when(status.fetchedAt);
  if (status.behind) parts.push(`${count(status.behind, 'commit')} to pull as of ${heard}`);
  const changed = `${status.changes.length}${status.more ? '+' : ''}`;
  parts.push(status.changes.length > 0 ? `${changed} ${status.changes.length === 1 ? 'change' : 'changes'}` : 'nothing changed');
  return parts.join(' · ');
}

/** A repository's name for a folder: what GitHub takes of it. */
export function proposed(folder: string): string {
  return folder.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/\.git$/i, '').slice(0, 100);
}

/** What is cloned, in a summary: `owner/name`, and the branch where one is chosen; nothing without an address. */
export function cloned(url: string, branch: string): string {
  if (url === '') return '';
  const name = /[^/:]+\/[^/]+?(?=(?:\.git)?\/*$)/.exec(url)?.[0] ?? url;
  return branch === '' ? name : `${name} · ${branch}`;
}
