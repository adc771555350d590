// The command palette and the list of shortcuts: two dialogs, made when they are first wanted.

import { ask, Refused, words } from './api.ts';
import { commands, CONTROLS, found, SHORTCUTS, toggle, type Command, type Project } from './commands.ts';
import { ask as question, icon, make } from './dom.ts';
import { mayEnd } from './ending.ts';
import { go, operator, projectHere, signInHere } from './shortcuts.ts';
import { NARROW } from './split.ts';

function kbd(keys: readonly string[]): HTMLElement {
  const shown = make('span', { class: 'menu-note keys' });
  keys.forEach((key) => shown.append(make('kbd', { class: 'kbd' }, key)));
  return shown;
}

/** Opens the palette; where it is open, closes it. */
export function open(): void {
  const already = document.querySelector<HTMLDialogElement>('dialog.palette[open]');
  if (already) return already.close();
  new Palette().show();
}

class Palette {
  #all: Command[] = [];
  #shown: Command[] = [];
  #at = 0;
  /** Somebody moved: what they chose stays chosen when more arrives. */
  #moved = false;
  /** The projects are on their way; an Enter that comes before them waits for them. */
  #loading = true;
  #entered = false;
  readonly #input = make('input', {
    type: 'text',
    role: 'combobox',
    'aria-expanded': 'true',
    'aria-controls': 'palette-options',
    'aria-autocomplete': 'list',
    'aria-label': 'Search projects and commands',
    placeholder: 'Search projects and commands',
    autocomplete: 'off',
    spellcheck: 'false',
    autofocus: true,
  });
  readonly #list = make('div', { class: 'palette-list', id: 'palette-options', role: 'listbox', 'aria-label': 'Results' });
  readonly #count = make('span', { class: 'push-end', role: 'status' });
  readonly #dialog = make(
    'dialog',
    { class: 'dialog palette', 'aria-label': 'Command palette' },
    make('div', { class: 'palette-search' }, icon('search'), this.#input, make('kbd', { class: 'kbd' }, 'Esc')),
    this.#list,
    make(
      'p',
      { class: 'palette-foot' },
      make('span', {}, make('kbd', { class: 'kbd' }, '↑'), ' ', make('kbd', { class: 'kbd' }, '↓'), ' move'),
      make('span', {}, make('kbd', { class: 'kbd' }, 'Enter'), ' run'),
      this.#count,
    ),
  );

  show(): void {
    const dialog = this.#dialog;
    this.#input.addEventListener('input', () => {
      this.#moved = this.#entered = false;
      this.#fill(true);
    });
    dialog.addEventListener('keydown', (event) => this.#key(event));
    // Beside it.
    dialog.addEventListener('pointerdown', (event) => event.target === dialog && dialog.close());
    dialog.addEventListener('close', () => dialog.remove());
    this.#list.addEventListener('pointermove', (event) => this.#point(event));
    this.#list.addEventListener('click', (event) => {
      this.#point(event);
      if ((event.target as Element).closest('[role=option]')) this.#run();
    });
    document.body.append(dialog);
    void this.#load([], false);
    dialog.showModal();
    void Promise.all([ask<Project[]>('GET', '/api/projects?extra=true').catch(() => []), operator()]).then(([projects, runs]) => {
      this.#loading = false;
      this.#load(projects, runs);
      if (this.#entered && this.#dialog.open) this.#run();
    });
  }

  #load(projects: Project[], runs: boolean): void {
    const here = projectHere();
    // Before the list is there: what the page itself says of its project.
    const project = here
      ? (projects.find(({ id }) => id === here) ?? { id: here, name: document.querySelector('.top-bar .breadcrumb bdi')?.textContent ?? '', sandbox: { phase: '' } })
      : undefined;
    const split = document.querySelector('fsa-split');
    const terminals = split !== null && getComputedStyle(split.parentElement!).display !== 'none';
    const wide = !matchMedia(NARROW).matches;
    const place = { project, terminals, split: split?.hasAttribute('data-on') ?? false, operator: runs, controls: pressable() };
    this.#all = commands(place, projects).filter(({ run }) => wide || !('act' in run && run.act === 'split'));
    this.#fill(!this.#moved);
  }

  #fill(first: boolean): void {
    const chosen = this.#shown[this.#at]?.label;
    this.#shown = found(this.#all, this.#input.value);
    this.#at = first ? 0 : Math.max(0, this.#shown.findIndex(({ label }) => label === chosen));
    const groups: HTMLElement[] = [];
    this.#shown.forEach((command, at) => {
      if (command.group !== this.#shown[at - 1]?.group) {
        groups.push(make('div', { role: 'group', 'aria-label': command.group }, make('p', { class: 'menu-title', 'aria-hidden': 'true' }, make('bdi', {}, command.group))));
      }
      const note = command.keys ? kbd(command.keys) : command.note && make('span', { class: 'menu-note' }, command.note);
      groups.at(-1)?.append(
        make('div', { role: 'option', id: `palette-${at}`, 'aria-selected': 'false' }, icon(command.icon), make('bdi', { class: 'truncate' }, command.label), note || undefined),
      );
    });
    if (groups.length === 0) groups.push(make('p', { class: 'palette-none' }, 'Nothing is called so.'));
    this.#list.replaceChildren(...groups);
    const { length } = this.#shown;
    this.#count.textContent = length === 1 ? '1 result' : `${length} results`;
    this.#mark();
  }

  #mark(): void {
    for (const option of this.#list.querySelectorAll('[aria-selected=true]')) option.setAttribute('aria-selected', 'false');
    const option = this.#list.querySelector(`#palette-${this.#at}`);
    option?.setAttribute('aria-selected', 'true');
    if (option) this.#input.setAttribute('aria-activedescendant', option.id);
    else this.#input.removeAttribute('aria-activedescendant');
    (this.#at === 0 ? this.#list.firstElementChild : option)?.scrollIntoView({ block: 'nearest' });
  }

  #point(event: Event): void {
    const option = (event.target as Element).closest('[role=option]');
    const at = Number(option?.id.split('-')[1] ?? -1);
    if (at >= 0 && at !== this.#at) {
      this.#moved = true;
      this.#at = at;
      this.#mark();
    }
  }

  #key(event: KeyboardEvent): void {
    const { length } = this.#shown;
    const move = { ArrowDown: this.#at + 1, ArrowUp: this.#at - 1, PageDown: Math.min(this.#at + 8, length - 1), PageUp: Math.max(this.#at - 8, 0) }[event.key];
    if (move !== undefined) {
      event.preventDefault();
      this.#moved = true;
      this.#at = length === 0 ? 0 : (move + length) % length;
      this.#mark();
    } else if (event.key === 'Enter' && !event.isComposing) {
      event.preventDefault();
      if (this.#loading && !this.#moved) this.#entered = true;
      else this.#run();
    } else if (event.key === 'Tab') {
      // There is one field, and the focus stays in it.
      event.preventDefault();
    }
  }

  #run(): void {
    const command = this.#shown[this.#at];
    if (!command) return;
    const project = projectHere();
    this.#dialog.close();
    const { run } = command;
    if ('go' in run) go(run.go, run.whole);
    else if ('ask' in run) void once(() => verb(project ?? '', run.ask));
    else if ('press' in run) document.querySelector<HTMLElement>(run.press)?.click();
    else act(run.act);
  }
}

/** The controls that can be pressed, those of a menu that is closed as well. */
function pressable(): Map<string, string> {
  const there = new Map<string, string>();
  for (const { find } of CONTROLS) {
    const control = document.querySelector<HTMLElement>(find);
    if (!control || control.getAttribute('aria-disabled') === 'true') continue;
    if (control.getAttribute('role') === 'menuitem' || control.checkVisibility()) there.set(find, control.textContent?.trim() ?? '');
  }
  return there;
}

function act(what: 'terminal' | 'search' | 'split' | 'unsplit' | 'theme' | 'sign-out' | 'shortcuts'): void {
  if (what === 'terminal') window.dispatchEvent(new KeyboardEvent('keydown', { key: '~', code: 'Backquote', ctrlKey: true, shiftKey: true }));
  else if (what === 'search') window.dispatchEvent(new KeyboardEvent('keydown', { key: 'F', code: 'KeyF', ctrlKey: true, shiftKey: true }));
  else if (what === 'split') document.querySelector('fsa-split')?.dispatchEvent(new Event('open'));
  else if (what === 'unsplit') document.querySelector('fsa-split')?.dispatchEvent(new Event('close'));
  else if (what === 'theme') switchTheme();
  else if (what === 'shortcuts') shortcuts();
  else void signOut();
}

function switchTheme(): void {
  const root = document.documentElement;
  const dark = root.dataset['theme'] ? root.dataset['theme'] === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset['theme'] = dark ? 'light' : 'dark';
  document.cookie = `theme=${root.dataset['theme']}; path=/; max-age=31536000; samesite=lax`;
}

async function signOut(): Promise<void> {
  try {
    await ask('POST', '/api/sign-out', {});
    location.assign('/sign-in');
  } catch (error) {
    refused('You are still signed in', error);
  }
}

function refused(heading: string, error: unknown): void {
  if (error instanceof Refused && error.code === 'signed-out') location.assign(signInHere());
  else void question({ heading, text: words(error), answers: [{ text: 'Close', value: 'close' }] });
}

/** A key that is pressed again before its first press was answered asks for nothing more. */
let asking = false;

async function once(ask: () => Promise<void>): Promise<void> {
  if (asking) return;
  asking = true;
  try {
    await ask();
  } finally {
    asking = false;
  }
}

/** Asks for it; first whether, where it would end a program that somebody runs in a terminal. */
async function verb(project: string, what: 'start' | 'stop' | 'restart'): Promise<void> {
  const name = `${what[0]?.toUpperCase()}${what.slice(1)}`;
  if (what !== 'start' && !(await mayEnd(project, name))) return;
  try {
    await ask('POST', `/api/sandbox/${project}/${what}`, {});
  } catch (error) {
    refused(`${name} was refused`, error);
  }
}

/** `S` and `Shift R` on a page of a project, and the button where something waits for its start. */
export function press(project: string, what: 'toggle' | 'restart' | 'start'): Promise<void> {
  return once(async () => {
    if (what !== 'toggle') return verb(project, what);
    try {
      const { phase } = await ask<{ phase: string }>('GET', `/api/sandbox/${project}`);
      const wanted = toggle(phase);
      if (wanted) await verb(project, wanted);
    } catch (error) {
      refused('The sandbox could not be asked', error);
    }
  });
}

/** Shows the keys. */
export function shortcuts(): void {
  if (document.querySelector('dialog#shortcuts')) return;
  const close = make('button', { type: 'button', class: 'button', 'data-shape': 'icon', 'data-kind': 'quiet', 'data-size': 'small', 'aria-label': 'Close', autofocus: true }, icon('close'));
  const rows = SHORTCUTS.map(([what, keys]) => make('div', {}, make('dt', {}, what), make('dd', {}, kbd(keys))));
  const dialog = make(
    'dialog',
    { class: 'dialog', id: 'shortcuts', 'aria-labelledby': 'shortcuts-title' },
    make('div', { class: 'dialog-head' }, make('h2', { id: 'shortcuts-title' }, 'Keyboard shortcuts'), close),
    make(
      'div',
      { class: 'dialog-body' },
      make('p', { class: 'quiet small' }, 'Single keys work while no field and no terminal has the focus. On a Mac, the palette is ⌘ K. They can be turned off in the account’s settings.'),
      make('dl', { class: 'facts' }, ...rows),
    ),
  );
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('pointerdown', (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
