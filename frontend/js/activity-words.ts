// How activity is shown: pure functions, without a document.

/** One thing that happened, as the API tells it. */
export interface Activity {
  id: number;
  /** Of which project; of the account, there is none. */
  projectId?: string | null;
  /** What it was called then. */
  project?: string | null;
  /** Whether nothing of it is left by now, and no page. */
  projectDeleted?: boolean;
  at: string;
  lastAt: string;
  times: number;
  kind: 'ask' | 'phase' | 'cause' | 'run' | 'network' | 'account';
  actor: { name: string; via: 'browser' | 'token' | 'system'; token?: string };
  title: string;
  detail: string | null;
  data: Record<string, unknown>;
}

/** A page of them, newest first. */
export interface Page {
  activity: Activity[];
  next: number | null;
  keptDays: number;
}

/** What of a page is not known yet, or not as it is now: what happened again has another count and time, and a project may be gone. */
export function newsOf(known: ReadonlyMap<number, Activity>, page: readonly Activity[]): Activity[] {
  return page.filter((item) => JSON.stringify(known.get(item.id)) !== JSON.stringify(item));
}

/** Of how many days it is at first. */
export const DAYS = 7;

/** The time spans that can be chosen, in days: those shorter than what is kept, and all of that, which is 0. */
export function spansOf(keptDays: number): [text: string, days: number][] {
  const spans: [string, number][] = [
    ['Last 24 hours', 1],
    ['Last 7 days', 7],
    ['Last 90 days', 90],
  ];
  return [...spans.filter(([, days]) => days < keptDays), ['Everything kept', 0]];
}

const VERBS: Record<string, string> = {
  create: 'plus',
  start: 'play',
  restart: 'reload',
  stop: 'stop',
  terminate: 'box',
  delete: 'trash',
  rename: 'edit',
  resize: 'cpu',
  env: 'environment',
  terminal: 'terminal',
  exec: 'terminal',
  files: 'files',
  share: 'share',
  unshare: 'lock',
  'reveal-password': 'eye',
};

/** The symbol and the tone of one. */
export function iconOf({ kind, data }: Activity): { name: string; tone?: 'good' | 'warn' | 'bad' } {
  switch (kind) {
    case 'ask':
      return { name: VERBS[String(data['verb'])] ?? 'user' };
    case 'phase': {
      const to = typeof data['to'] === 'string' ? data['to'].toLowerCase() : 'terminated';
      if (to === 'running') return { name: 'phase-running', tone: 'good' };
      if (to === 'error') return { name: 'phase-error', tone: 'bad' };
      return { name: `phase-${to}` };
    }
    case 'cause':
      return { name: 'warning', tone: 'warn' };
    case 'run':
      return data['event'] === 'ended' ? { name: 'error', tone: 'bad' } : { name: 'server' };
    case 'network':
      return { name: 'lock', tone: 'warn' };
    case 'account':
      if (data['event'] === 'github-revoked') return { name: 'github', tone: 'warn' };
      return { name: String(data['event']).startsWith('github-') ? 'github' : 'user' };
  }
}

/** `12:04:03`, by the clock of who looks. */
export function time(at: Date): string {
  return at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
}

/** `Today, 23 November`, `Yesterday, 22 November`, `21 November`, `31 December 2025`. */
export function day(at: Date, now: Date): string {
  const midnight = (of: Date): number => new Date(of.getFullYear(), of.getMonth(), of.getDate()).getTime();
  const ago = Math.round((midnight(now) - midnight(at)) / 86_400_000);
  const year = at.getFullYear() === now.getFullYear() ? {} : { year: 'numeric' as const };
  const date = at.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', ...year });
  if (ago === 0) return `Today, ${date}`;
  return ago === 1 ? `Yesterday, ${date}` : date;
}
