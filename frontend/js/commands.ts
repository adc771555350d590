// What the command palette offers, and which of it a query finds. Pure.

/** A project, as the API lists it, or an extra sandbox of one, which is called `project / branch`. */
export interface Project {
  id: string;
  name: string;
  /** The project that an extra sandbox belongs to. */
  extraOf?: string;
  sandbox: { phase: string };
}

/** Where the palette was opened. */
export interface Place {
  /** The project whose page is shown. */
  project?: Project | undefined;
  /** Whether its terminals are on the page. */
  terminals: boolean;
  /** Whether two of them are. */
  split: boolean;
  /** Whether the viewer runs the installation. */
  operator: boolean;
  /** Which of `CONTROLS` can be pressed, by what finds them, and what each says. */
  controls?: ReadonlyMap<string, string>;
}

export interface Command {
  group: string;
  icon: string;
  label: string;
  /** More words that find it. */
  also?: string;
  /** Keys that do the same, or what else is to be known. */
  keys?: string[];
  note?: string;
  run: Run;
}

export type Run =
  | { go: string; whole?: boolean }
  | { ask: 'start' | 'stop' | 'restart' }
  | { press: string }
  | { act: 'terminal' | 'search' | 'split' | 'unsplit' | 'theme' | 'sign-out' | 'shortcuts' };

/** The pages of a project: the key after G, the name, the address from the project's on, the icon. */
export const PAGES: [key: string, label: string, path: string, icon: string][] = [
  ['t', 'Terminal', '', 'terminal'],
  ['p', 'Preview', '#preview', 'preview'],
  ['d', 'Database', '/database', 'database'],
  ['e', 'Environment', '/environment', 'environment'],
  ['f', 'Files', '/files', 'files'],
  ['a', 'Activity', '/activity', 'activity'],
  ['l', 'Logs', '/logs', 'log'],
  ['s', 'Project settings', '/settings', 'settings'],
];

/** Controls of a project's pages that are commands as well, while they can be pressed. One without a label is called as it says. */
export const CONTROLS: { find: string; icon: string; label?: string; also: string }[] = [
  { find: '.terminal-pane [aria-label="Close this terminal"]', icon: 'close', label: 'Close this terminal', also: 'end shell tab' },
  { find: '.preview-pane [aria-label="Reload preview"]', icon: 'reload', label: 'Reload preview', also: 'refresh' },
  { find: '.preview-pane [aria-label="Open preview in a new tab"]', icon: 'external', label: 'Open preview in a new tab', also: 'window' },
  { find: '.preview-pane fsa-share > button', icon: 'share', label: 'Share preview', also: 'public link' },
  { find: '.top-bar [data-verb^="Terminate"]', icon: 'trash', label: 'Terminate sandbox…', also: 'end' },
  { find: '.top-bar [role=menuitem][data-kind=danger]', icon: 'trash', also: 'delete remove' },
];

/** What `S` asks for: what the likeliest button says. */
export function toggle(phase: string): 'start' | 'stop' | undefined {
  if (['Stopped', 'Terminated', 'Error'].includes(phase)) return 'start';
  if (['Running', 'Creating', 'Starting', 'Updating'].includes(phase)) return 'stop';
  return undefined;
}

/** Everything that can be done here, in the order in which it is shown. */
export function commands(place: Place, projects: readonly Project[]): Command[] {
  const all: Command[] = [];
  const { project } = place;
  if (project) {
    const group = `Sandbox: ${project.name}`;
    const wanted = toggle(project.sandbox.phase);
    const begins = ['Creating', 'Starting'].includes(project.sandbox.phase);
    if (wanted === 'start') all.push({ group, icon: 'play', label: 'Start sandbox', keys: ['S'], run: { ask: 'start' } });
    if (wanted === 'stop') {
      all.push({ group, icon: 'stop', label: begins ? 'Cancel start' : 'Stop sandbox', also: 'stop', keys: ['S'], run: { ask: 'stop' } });
    }
    if (project.sandbox.phase === 'Running' || project.sandbox.phase === 'Error') {
      all.push({ group, icon: 'reload', label: 'Restart sandbox', keys: ['Shift', 'R'], run: { ask: 'restart' } });
    }
    if (place.terminals) {
      all.push({ group, icon: 'plus', label: 'New terminal', also: 'shell tab', keys: ['Ctrl', 'Shift', '`'], run: { act: 'terminal' } });
      all.push(
        place.split
          ? { group, icon: 'close', label: 'Close the second terminal', also: 'split', run: { act: 'unsplit' } }
          : { group, icon: 'split', label: 'Split the terminal', also: 'second side by side', keys: ['Ctrl', 'Shift', '5'], run: { act: 'split' } },
      );
      all.push({ group, icon: 'search', label: 'Search the output', also: 'find terminal', keys: ['Ctrl', 'Shift', 'F'], run: { act: 'search' } });
    }
    for (const { find, icon, label, also } of CONTROLS) {
      const says = place.controls?.get(find);
      if (says !== undefined) all.push({ group, icon, label: label ?? says, also, run: { press: find } });
    }
    for (const [key, label, path, icon] of PAGES) {
      all.push({ group: 'Go to', icon, label, keys: ['G', key.toUpperCase()], run: { go: `/projects/${project.id}${path}` } });
    }
  }
  for (const other of together(projects)) {
    if (other.id === project?.id) continue;
    all.push({ group: 'Projects', icon: other.extraOf ? 'branch' : 'box', label: other.name, note: other.sandbox.phase, run: { go: `/projects/${other.id}` } });
  }
  const group = 'FullStack Agent';
  all.push({ group, icon: 'projects', label: 'All projects', run: { go: '/' } });
  all.push({ group, icon: 'plus', label: 'New project', also: 'create', run: { go: '/projects/new' } });
  all.push({ group, icon: 'settings', label: 'Account settings', also: 'tokens sessions appearance', run: { go: '/settings' } });
  all.push({ group, icon: 'activity', label: 'All activity', also: 'account sign-ins tokens audit', run: { go: '/activity' } });
  all.push({ group, icon: 'link', label: 'API', also: 'docs rest openapi', run: { go: '/docs/api', whole: true } });
  if (place.operator) all.push({ group, icon: 'server', label: 'Doctor', also: 'check installation', run: { go: '/doctor', whole: true } });
  all.push({ group, icon: 'moon', label: 'Switch theme', also: 'dark light', run: { act: 'theme' } });
  all.push({ group, icon: 'keyboard', label: 'Keyboard shortcuts', also: 'keys help', keys: ['?'], run: { act: 'shortcuts' } });
  all.push({ group, icon: 'signout', label: 'Sign out', also: 'log out', run: { act: 'sign-out' } });
  return all;
}

/** Each project, and after it its extra sandboxes. */
function together(projects: readonly Project[]): Project[] {
  const extras = new Map<string, Project[]>();
  for (const one of projects) if (one.extraOf) extras.set(one.extraOf, [...(extras.get(one.extraOf) ?? []), one]);
  return projects.filter(({ extraOf }) => !extraOf).flatMap((one) => [one, ...(extras.get(one.id) ?? [])]);
}

/** So many projects are shown before anything is typed. */
const MOST_PROJECTS = 20;
/** And so many of what was found. */
const MOST_FOUND = 100;

/** Those in which every word of the query is, best first, groups together. */
export function found(all: readonly Command[], query: string): Command[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) {
    const projects = all.filter(({ group }) => group === 'Projects');
    const more = new Set(projects.slice(MOST_PROJECTS));
    return all.filter((command) => !more.has(command));
  }
  const rated: { command: Command; rate: number; at: number }[] = [];
  all.forEach((command, at) => {
    const label = command.label.toLowerCase();
    const more = `${command.also ?? ''} ${command.note ?? ''}`.toLowerCase();
    let rate = 0;
    for (const word of words) {
      const place = label.indexOf(word);
      if (place === 0) rate += 4;
      else if (place > 0) rate += /[\s\-_.:/]/.test(label[place - 1] ?? '') ? 3 : 2;
      else if (more.includes(word)) rate += 1;
      else return;
    }
    rated.push({ command, rate, at });
  });
  rated.sort((a, b) => b.rate - a.rate || a.at - b.at);
  rated.length = Math.min(rated.length, MOST_FOUND);
  // A group stands where its best is.
  const groups = [...new Set(rated.map(({ command }) => command.group))];
  return groups.flatMap((group) => rated.filter(({ command }) => command.group === group).map(({ command }) => command));
}

/** Keys as the shortcuts page lists them. */
export const SHORTCUTS: [what: string, keys: string[]][] = [
  ['Command palette, also in a terminal', ['Ctrl', 'K']],
  ['Keyboard shortcuts', ['?']],
  ['Search on this page', ['/']],
  ['New project, on the list of projects', ['N']],
  ...PAGES.map(([key, label]): [string, string[]] => [`Go to ${label}`, ['G', key.toUpperCase()]]),
  ['Start or stop; asks where a program runs', ['S']],
  ['Restart; asks where a program runs', ['Shift', 'R']],
  ['New terminal', ['Ctrl', 'Shift', '`']],
  ['Go to the nth terminal', ['Alt', '1…9']],
  ['Split the terminal; then go to the other one', ['Ctrl', 'Shift', '5']],
  ['Search the output', ['Ctrl', 'Shift', 'F']],
  ['Copy from the terminal', ['Ctrl', 'Shift', 'C']],
  ['Paste into the terminal', ['Ctrl', 'Shift', 'V']],
  ['Leave the terminal', ['Ctrl', 'Shift', 'Esc']],
  ['Move or rename a file or folder', ['F2']],
  ['Take its last move back', ['Ctrl', 'Z']],
  ['Send the form around a field', ['Ctrl', 'Enter']],
  ['Tabs, menus, the line between panes', ['Arrows']],
  ['Close, and back to where you were', ['Esc']],
];
