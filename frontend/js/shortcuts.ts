// Keys of the whole page, and what opens the palette and the shortcuts: elements with `data-opens`.
//
// Single keys work only when no field and no terminal has the focus and no dialog is open, and can be turned off.

import { signInFrom } from './address.ts';
import { PAGES } from './commands.ts';
import { leadsIntoSearch, sendsForm } from './keys.ts';
import { part } from './load.ts';
import { withPart } from './missing.ts';

const mac = /Mac|iPhone|iPad/.test(navigator.platform);
/** After G, its second key is waited for. */
const SECOND_KEY_MS = 1_500;
const FIELDS = 'input, textarea, select, [contenteditable], .terminal-host, dialog, iframe, [role=menu]';

/** The project whose page is shown. */
export function projectHere(): string | undefined {
  return /^\/projects\/([0-9a-f-]{36})(?:\/|$)/.exec(location.pathname)?.[1];
}

/** The sign-in page's address, which leads back here. */
export function signInHere(): string {
  return signInFrom(location.pathname + location.search + location.hash);
}

/** Goes to another page as a link does: within the app where it can. */
export function go(address: string, whole = false): void {
  if (whole) {
    location.assign(address);
    return;
  }
  const link = document.createElement('a');
  link.href = address;
  link.hidden = true;
  document.body.append(link);
  link.click();
  link.remove();
  if (/^\/projects\/[0-9a-f-]{36}$/.test(address)) enterTerminal();
  else enterPage();
}

/** The focus is at the page's beginning, also where what had it went away with the page before. */
function enterPage(): void {
  const until = performance.now() + 2_000;
  const look = () => {
    if (document.activeElement === document.body) document.getElementById('main')?.focus();
    if (performance.now() < until) setTimeout(look, 50);
  };
  setTimeout(look, 50);
}

/** The focus goes into the terminal that is shown, once it is there. */
function enterTerminal(): void {
  const until = performance.now() + 2_000;
  const from = document.activeElement;
  const look = () => {
    const input = document.querySelector<HTMLElement>('.terminals > .terminal:not([hidden]) textarea');
    // Whoever took the focus elsewhere in the meantime keeps it.
    const still = document.activeElement;
    if (still !== from && still !== document.body && still?.id !== 'main') return;
    if (input && still?.id === 'main') input.focus();
    else if (input && !document.querySelector('dialog[open]')) input.focus();
    if (document.activeElement !== input && performance.now() < until) setTimeout(look, 50);
  };
  setTimeout(look, 100);
}

type Opens = 'palette' | 'shortcuts' | 'split';

async function open(what: Opens): Promise<void> {
  if (what === 'split') {
    document.querySelector('fsa-split')?.dispatchEvent(new Event('open'));
    return;
  }
  const busy = (): boolean => document.querySelector('dialog[open]:not(.palette)') !== null;
  if (busy()) return;
  await withPalette(`${what === 'palette' ? 'The command palette' : 'The list of shortcuts'} could not be loaded`, (palette) => {
    if (busy()) return;
    if (what === 'palette') palette.open();
    else palette.shortcuts();
  });
}

const PALETTE = () => import('./palette.ts');

/** Does something with the palette's code; where it does not come, says that this was not done. */
export function withPalette(undone: string, use: (palette: typeof import('./palette.ts')) => unknown): Promise<void> {
  return withPart(PALETTE, undone, use);
}

let begun = 0;

function key(event: KeyboardEvent): void {
  const { code, ctrlKey, metaKey, altKey, shiftKey } = event;
  if (code === 'KeyK' && !altKey && !shiftKey && (mac ? metaKey && !ctrlKey : ctrlKey && !metaKey)) {
    event.preventDefault();
    event.stopPropagation();
    void open('palette');
    return;
  }
  if (code === 'Digit5' && ctrlKey && shiftKey && !altKey && !metaKey && document.querySelector('fsa-split')) {
    event.preventDefault();
    event.stopPropagation();
    void open('split');
    return;
  }
  if (sendsForm(event) && !event.isComposing && !event.repeat) {
    const form = document.activeElement?.closest('form');
    // As Enter in a field of one line does: a button that rests takes no click.
    const send = form && [...form.elements].find((one) => one instanceof HTMLButtonElement && one.type === 'submit');
    if (send instanceof HTMLButtonElement) {
      event.preventDefault();
      event.stopPropagation();
      send.click();
    }
    return;
  }
  if (ctrlKey || metaKey || altKey || event.defaultPrevented || event.isComposing) return;
  if (document.activeElement?.closest(FIELDS) || document.querySelector('dialog[open]') || localStorage.getItem('fsa.no-keys')) return;
  const second = begun > 0 && performance.now() - begun < SECOND_KEY_MS;
  begun = 0;
  const project = projectHere();
  const pressed = event.key.toLowerCase();
  if (second && project) {
    const page = PAGES.find(([key]) => key === pressed);
    if (page) {
      event.preventDefault();
      go(`/projects/${project}${page[2]}`);
    }
  } else if (leadsIntoSearch(event)) {
    const search = [...document.querySelectorAll<HTMLInputElement>('input[type=search]')].find((one) => one.checkVisibility());
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === '?') {
    event.preventDefault();
    void open('shortcuts');
  } else if (project && pressed === 'g' && !shiftKey) {
    begun = performance.now();
  } else if (project && ((pressed === 's' && !shiftKey) || (pressed === 'r' && shiftKey)) && !event.repeat) {
    event.preventDefault();
    void withPalette('Nothing was asked of the sandbox', (palette) => palette.press(project, pressed === 'r' ? 'restart' : 'toggle'));
  }
}

/** Listens, once for the page. */
export function begin(): void {
  addEventListener('keydown', key, true);
  // Ready before it is wanted: what is typed right after its key is meant for it, and not for the terminal below.
  const later = window.requestIdleCallback ?? ((then: () => void) => setTimeout(then, 1_000));
  later(() => void part(PALETTE).catch(() => undefined));
  // The app's router would take it for another page, and the focus would stay where it was.
  addEventListener(
    'click',
    (event) => {
      if (!(event.target instanceof Element) || !event.target.closest('.skip-link')) return;
      event.preventDefault();
      event.stopPropagation();
      document.getElementById('main')?.focus();
    },
    true,
  );
  // Whoever signs in again comes back: where from is known when the link is followed.
  for (const followed of ['click', 'auxclick']) {
    addEventListener(
      followed,
      (event) => {
        const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>('a[href^="/sign-in"]') : null;
        if (link) link.href = signInHere();
      },
      true,
    );
  }
  addEventListener('click', (event) => {
    const opener = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-opens]') : null;
    if (opener) void open(opener.dataset['opens'] as Opens);
    // A menu of the browser's own goes with what is chosen in it: a page that changes in place would keep it.
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    link?.closest<HTMLElement>('[popover]:popover-open')?.hidePopover();
  });
  // Links that only whoever runs the installation can follow, and the key of the palette.
  const links = () => {
    if (mac) sayCommand();
    for (const link of document.querySelectorAll<HTMLAnchorElement>('a[data-operator][hidden]')) {
      void operator().then((is) => (link.hidden = !is));
    }
  };
  links();
  new MutationObserver(links).observe(document.body, { childList: true, subtree: true });
}

/** The server, which knows no keyboards, names the palette's key on all others. */
function sayCommand(): void {
  for (const opener of document.querySelectorAll('[data-opens=palette][aria-label$="Ctrl K"]')) {
    opener.setAttribute('aria-label', 'Search and commands, ⌘ K');
    opener.setAttribute('aria-keyshortcuts', 'Meta+K');
    const key = opener.querySelector('kbd')?.firstChild;
    if (key) key.nodeValue = '⌘ K';
  }
}

let known: Promise<boolean> | undefined;

/** Whether the viewer runs the installation. Asked once. */
export function operator(): Promise<boolean> {
  known ??= fetch('/api/me', { headers: { accept: 'application/json' } })
    .then((answer): Promise<{ operator?: boolean }> | object => (answer.ok ? answer.json() : {}))
    .then((told: { operator?: boolean }) => told.operator === true)
    .catch(() => {
      known = undefined;
      return false;
    });
  return known;
}
