// `<fsa-split data-project="ID">`: a second terminal, beside the one that the tabs show or below it. It is a viewer of
// one of the sandbox's sessions, of which the tabs know too; closing it ends nothing. Which session, where and how wide is
// kept in the browser, by project. Where the workspace shows one pane at a time, there is one terminal.

import { icon, make } from './dom.ts';
import { fresh, running, type Listed } from './sessions.ts';
import type { Handle } from './terminal.ts';

interface Kept {
  session: string;
  below: boolean;
  /** Of the whole, in percent. */
  share: number;
}

declare global {
  interface Window {
    fsaTerminal?: () => Promise<typeof import('./terminal.ts')>;
  }
}

/** Where the workspace has room for one terminal. */
export const NARROW = '(max-width: 45rem)';
const LEAST = 20;
const MOST = 80;
/** As many as there are tabs. */
const MOST_SESSIONS = 9;

export class Split extends HTMLElement {
  #kept: Kept | undefined;
  #handle: Handle | undefined;
  #narrow = matchMedia(NARROW);
  #change = (): void => void this.#show(false);

  connectedCallback(): void {
    this.addEventListener('open', () => void this.#open());
    this.addEventListener('close', () => this.#close());
    this.#narrow.addEventListener('change', this.#change);
    this.#kept = read(this.#place);
    this.#paint();
    void this.#show(false);
  }

  disconnectedCallback(): void {
    this.#narrow.removeEventListener('change', this.#change);
    this.#handle?.dispose();
    this.#handle = undefined;
  }

  get #place(): string {
    return `fsa.split.${this.dataset['project']}`;
  }

  get #address(): string {
    return `/api/sandbox/${this.dataset['project']}/terminal`;
  }

  #keep(): void {
    try {
      if (this.#kept) localStorage.setItem(this.#place, JSON.stringify(this.#kept));
      else localStorage.removeItem(this.#place);
    } catch {
      // Then it is kept by this page alone.
    }
  }

  /** Where it is, as attributes that the styles go by. */
  #paint(): void {
    const around = this.parentElement;
    if (!around) return;
    const on = this.#kept !== undefined && !this.#narrow.matches;
    this.toggleAttribute('data-on', on);
    if (on) around.dataset['split'] = this.#kept?.below ? 'below' : 'beside';
    else delete around.dataset['split'];
    around.style.setProperty('--split-share', `${this.#kept?.share ?? 50}%`);
    this.#line?.setAttribute('aria-orientation', this.#kept?.below ? 'horizontal' : 'vertical');
    this.#line?.setAttribute('aria-valuenow', String(this.#kept?.share ?? 50));
  }

  get #line(): HTMLElement | null {
    return this.querySelector('.split-line');
  }

  /** Splits; where it is split, the focus goes to the other one. */
  async #open(): Promise<void> {
    if (this.#narrow.matches) return;
    if (this.#kept) {
      if (this.contains(document.activeElement)) this.#first()?.focus();
      else this.#handle?.focus();
      return;
    }
    const taken = await this.#sessions();
    const shown = document.querySelector('.pane-tabs [aria-selected=true]')?.getAttribute('data-session');
    const other = taken.find((name) => name !== shown) ?? fresh(taken);
    this.#kept = { session: other, below: false, share: 50 };
    this.#keep();
    await this.#show(true);
  }

  #first(): HTMLElement | null {
    return document.querySelector('.terminals > .terminal:not([hidden]) textarea');
  }

  #close(): void {
    const had = this.contains(document.activeElement);
    this.#kept = undefined;
    this.#keep();
    void this.#show(false);
    if (had) this.#first()?.focus();
  }

  async #sessions(): Promise<string[]> {
    try {
      const answer = await fetch(`${this.#address}s`, { headers: { accept: 'application/json' } });
      return answer.ok ? running((await answer.json()) as Listed[]) : [];
    } catch {
      return [];
    }
  }

  async #show(focus: boolean): Promise<void> {
    this.#handle?.dispose();
    this.#handle = undefined;
    this.#paint();
    if (!this.hasAttribute('data-on') || !this.#kept) {
      this.replaceChildren();
      return;
    }
    const { session } = this.#kept;
    const host = make('div', { class: 'terminal-host' });
    const note = make('span', { class: 'quiet small', role: 'status' });
    const bar = make('div', { class: 'split-bar' }, this.#select(session), note, make('span', { class: 'push-end' }), this.#turn(), this.#closer());
    this.replaceChildren(this.#splitter(), make('section', { class: 'terminal split-pane', 'aria-label': 'Second terminal' }, bar, host));
    this.#paint();
    const module = await window.fsaTerminal?.().catch(() => undefined);
    if (!module || this.#kept?.session !== session || !this.isConnected || !host.isConnected) {
      if (!module) note.textContent = 'The terminal could not be loaded. Reload the page.';
      return;
    }
    const fontSize = Number(localStorage.getItem('fsa.font-size')) || undefined;
    this.#handle = module.mount(host, {
      projectId: this.dataset['project'] ?? '',
      url: this.#address,
      session,
      focus,
      ...(fontSize ? { fontSize } : {}),
      screenReader: localStorage.getItem('fsa.screen-reader') !== null,
      onState: ({ state, message }) => {
        note.textContent = { reconnecting: 'Reconnecting…', unavailable: message ?? 'Not available', ended: 'This shell has ended.' }[state as string] ?? '';
      },
      onLeave: () => bar.querySelector('select')?.focus(),
    });
  }

  /** Which session is shown. Read anew each time that somebody is about to choose. */
  #select(session: string): HTMLElement {
    const select = make('select', { class: 'input', 'aria-label': 'Session of the second terminal' });
    const fill = (names: string[]) => {
      const all = [...new Set([...names, session])];
      const options = all.map((name) => new Option(label(name), name, name === session, name === session));
      if (all.length < MOST_SESSIONS) options.push(new Option('New shell', '', false, false));
      // A list that is the same stays, so that nothing changes under the pointer.
      const same = options.map(({ value }) => value).join() === [...select.options].map(({ value }) => value).join();
      if (!same) select.replaceChildren(...options);
    };
    fill([]);
    const again = () => void this.#sessions().then(fill);
    select.addEventListener('focus', again);
    select.addEventListener('pointerenter', again);
    again();
    select.addEventListener('change', () => {
      void (async () => {
        const name = select.value === '' ? fresh(await this.#sessions()) : select.value;
        if (this.#kept) this.#kept.session = name;
        this.#keep();
        await this.#show(true);
      })();
    });
    return make('span', { class: 'select' }, select, icon('down'));
  }

  #turn(): HTMLElement {
    const turn = make('button', { type: 'button', class: 'button', 'data-kind': 'quiet', 'data-size': 'small' });
    const name = () => (turn.textContent = this.#kept?.below ? 'Side by side' : 'Below');
    name();
    turn.addEventListener('click', () => {
      if (!this.#kept) return;
      this.#kept.below = !this.#kept.below;
      this.#keep();
      this.#paint();
      name();
    });
    return turn;
  }

  #closer(): HTMLElement {
    const words = 'Close the second terminal; its shell goes on';
    const button = make('button', { type: 'button', class: 'button', 'data-shape': 'icon', 'data-kind': 'quiet', 'data-size': 'small', 'aria-label': words, title: words }, icon('close'));
    button.addEventListener('click', () => this.#close());
    return button;
  }

  /** Dragged, or moved by arrow keys 2 % a step. */
  #splitter(): HTMLElement {
    const line = make('div', {
      class: 'split-line',
      role: 'separator',
      tabindex: '0',
      'aria-label': 'Size of the second terminal',
      'aria-valuemin': String(LEAST),
      'aria-valuemax': String(MOST),
    });
    const to = (share: number) => {
      if (!this.#kept) return;
      this.#kept.share = Math.round(Math.min(MOST, Math.max(LEAST, share)));
      this.#paint();
    };
    line.addEventListener('keydown', (event) => {
      const [less, more] = this.#kept?.below ? ['ArrowDown', 'ArrowUp'] : ['ArrowRight', 'ArrowLeft'];
      const share = this.#kept?.share ?? 50;
      if (event.key === less) to(share - 2);
      else if (event.key === more) to(share + 2);
      else if (event.key === 'Home') to(LEAST);
      else if (event.key === 'End') to(MOST);
      else return;
      event.preventDefault();
      this.#keep();
    });
    line.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      line.focus();
      line.setPointerCapture(event.pointerId);
    });
    line.addEventListener('pointermove', (event) => {
      if (!line.hasPointerCapture(event.pointerId)) return;
      const around = this.parentElement?.getBoundingClientRect();
      if (!around) return;
      to(this.#kept?.below ? ((around.bottom - event.clientY) / around.height) * 100 : ((around.right - event.clientX) / around.width) * 100);
    });
    line.addEventListener('pointerup', () => this.#keep());
    return line;
  }
}

function label(session: string): string {
  return session === 'main' ? 'shell' : session.replaceAll('-', ' ');
}

function read(place: string): Kept | undefined {
  try {
    const kept = JSON.parse(localStorage.getItem(place) ?? 'null') as Partial<Kept> | null;
    if (!kept || typeof kept.session !== 'string' || !/^[\w-]{1,40}$/.test(kept.session)) return undefined;
    const share = Number(kept.share);
    return { session: kept.session, below: kept.below === true, share: share >= LEAST && share <= MOST ? share : 50 };
  } catch {
    return undefined;
  }
}
