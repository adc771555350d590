// `<fsa-log>`: a log that is read, followed, filtered and downloaded. The page makes the element, with its address in `src` and the names of the
// logs in `sources` (`sandbox:Sandbox,past:Past run`), of which the page's address has the one that is shown in `?source=`; this is all of what it
// does. The server draws what is seen first in the same way (server/src/http/first/log.rs).

import stripAnsi from 'strip-ansi';
import { icon, make } from './dom.ts';
import { first } from './first.ts';
import { copy } from './insecure.ts';
import { filterOf, Held, LineReader, pauseMs, type Line } from './lines.ts';
import { phase, resting, rests } from './resting.ts';

/** Lines kept on the page, and in what is downloaded: `MOST_LINES` of server/src/http/logs.rs, and as far back as a cluster is asked. */
const MOST = 5_000;
/** How often it is looked whether something happened to the sandbox. */
const LOOK_MS = 250;
/** When nothing more comes for so long, a log is there as far as it goes. */
const QUIET_MS = 150;
/** And for so long at most. */
const HELD_MS = 2_000;

export class Log extends HTMLElement {
  #stop: AbortController | undefined;
  readonly #select = make('select', { class: 'select', 'aria-label': 'Which log' });
  readonly #filter = make('input', { class: 'input', type: 'search', placeholder: 'Filter the lines', 'aria-label': 'Filter the lines' });
  /** How many lines the filter leaves. */
  readonly #found = make('span', { class: 'log-found small' });
  /** The same to who hears it: as the filter changes, and not with each line that comes. */
  readonly #heard = make('span', { class: 'visually-hidden', role: 'status' });
  readonly #state = make('span', { class: 'state-note small', role: 'status' });
  readonly #save = make('a', { class: 'button', 'data-size': 'small', title: `As text; the last ${MOST.toLocaleString('en')} lines at most` }, icon('download'), 'Download');
  readonly #copy = make('button', { type: 'button', class: 'button', 'data-size': 'small' }, 'Copy');
  readonly #body = make('pre', { class: 'log-lines', tabindex: '0', role: 'log', 'aria-label': 'Log', 'aria-live': 'off' });
  /** Stands first where lines before it are not shown. */
  readonly #cut = make('div', { class: 'log-cut' }, 'Earlier lines are not shown.\n');
  /** How many lines were shown, which was the first and which the last. */
  #seen = 0;
  #ends: { first: Line; last: Line } | undefined;
  /** The address is another one: of another page, which comes, or of another log. */
  readonly #moved = (): void => {
    if (!location.pathname.endsWith('/logs') || this.#select.value === this.#named()) return;
    this.#select.value = this.#named();
    this.#follow(false);
  };

  connectedCallback(): void {
    const known = first<Line[]>(this);
    const typed = this.querySelector<HTMLInputElement>('input[type=search]');
    const typing = typed !== null && typed === document.activeElement;
    const sources = (this.getAttribute('sources') ?? 'sandbox:Sandbox').split(',').map((one) => one.split(':') as [string, string]);
    this.#select.replaceChildren(...sources.map(([value, text]) => new Option(text, value)));
    const group = make('div', { class: 'input-group' }, icon('search'), this.#filter);
    this.replaceChildren(make('div', { class: 'log-bar' }, this.#select, group, this.#found, this.#heard, this.#state, this.#save, this.#copy), this.#body);
    const told = (copied: boolean): string => (this.#state.textContent = copied ? 'Copied' : 'Not copied: select it and copy it');
    this.#copy.addEventListener('click', () => void copy(this.#body.innerText).then(told));
    this.#select.addEventListener('change', () => {
      const address = new URL(location.href);
      address.searchParams.set('source', this.#select.value);
      history.replaceState(history.state, '', address);
      this.#follow(false);
    });
    this.#filter.addEventListener('input', () => this.#sift());
    // What was typed before this came alive.
    this.#filter.value = typed?.value ?? '';
    if (typing) this.#filter.focus();
    this.#show(known ?? []);
    this.#body.scrollTop = this.#body.scrollHeight;
    const begin = (): void => {
      if (!this.isConnected) return;
      this.#select.value = this.#named();
      this.#follow(known !== undefined);
      // A browser without it shows the log of another address once the page is loaded anew.
      window.navigation?.addEventListener('currententrychange', this.#moved);
    };
    // Who comes from another page of the app: the address is that page's until this one is there.
    if (known) begin();
    else setTimeout(begin, 0);
  }

  disconnectedCallback(): void {
    this.#stop?.abort();
    window.navigation?.removeEventListener('currententrychange', this.#moved);
  }

  /** The log that the address names; the first where it names none of them. */
  #named(): string {
    const wanted = new URLSearchParams(location.search).get('source');
    const values = [...this.#select.options].map(({ value }) => value);
    return values.find((value) => value === wanted) ?? values[0] ?? '';
  }

  /** The log that is chosen; `known`: what is shown is of it, which is what the page came with. */
  #follow(known: boolean): void {
    const source = this.#select.value;
    this.#save.href = `${this.getAttribute('src')}?source=${source}&format=text&tail=${MOST}`;
    this.#save.download = `${source}.log`;
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#rest(false);
    if (!known) this.#clear();
    this.#says('Reading…');
    void (async () => {
      // One that had ended is looked after without a word, until more of it is there.
      for (let quietly = false; !stop.signal.aborted; ) {
        const said: string = await this.#read(source, stop.signal, quietly).catch(() => 'Away. Trying again…');
        if (stop.signal.aborted) return;
        const none = this.#body.childElementCount === 0 && said === ENDED;
        // On a cluster its log is gone with its run. It goes on by itself.
        const waits = none && source === 'sandbox' && rests();
        this.#rest(waits);
        this.#says(said);
        if (none && !waits) {
          this.#body.append(line({ at: null, text: EMPTY }));
          return;
        }
        const over: boolean = said === ENDED && !none;
        const happened = await this.#pause(pauseMs(source, over, rests()));
        quietly = over && !happened;
      }
    })();
  }

  /** Lets time go by, but no more than until the sandbox is in another phase. Whether it is. */
  async #pause(ms: number): Promise<boolean> {
    const [was, until] = [phase(), Date.now() + ms];
    while (this.isConnected && phase() === was && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    return phase() !== was;
  }

  get #resting(): HTMLElement | null {
    return this.querySelector<HTMLElement>(':scope > .resting');
  }

  /** How the reading is. While the sandbox rests that is said already, and each try would be announced. */
  #says(text: string): void {
    if (!this.#resting && this.#state.textContent !== text) this.#state.textContent = text;
  }

  /** Says in the place of the lines that the sandbox does not run, or no more. */
  #rest(waits: boolean): void {
    const said = this.#resting;
    this.#body.hidden = waits;
    if (waits) {
      if (!said) this.#state.textContent = '';
      resting(said, 'What it writes is shown here while it runs.', (element) => (said ? said.replaceWith(element) : this.append(element)));
    } else if (said) {
      const focused = said.contains(document.activeElement);
      said.remove();
      this.#says('Live');
      if (focused) this.#body.focus();
    }
  }

  #clear(): void {
    this.#seen = 0;
    this.#ends = undefined;
    this.#body.replaceChildren();
    this.#count();
  }

  /** More lines, at the end. Where that is what is seen, it stays so. */
  #show(fresh: Line[]): void {
    const [first, last] = [this.#ends?.first ?? fresh[0], fresh.at(-1)];
    if (!first || !last) return;
    this.#ends = { first, last };
    const body = this.#body;
    const below = this.#atEnd;
    const shows = filterOf(this.#filter.value);
    for (const one of fresh.slice(-MOST)) {
      const row = line(one);
      row.hidden = !shows(row.textContent ?? '');
      body.append(row);
    }
    this.#seen += fresh.length;
    if (this.#seen >= MOST) {
      body.prepend(this.#cut);
      while (body.childElementCount > MOST + 1) this.#cut.nextElementSibling?.remove();
    }
    this.#count();
    if (below) body.scrollTop = body.scrollHeight;
  }

  /** Whether the end is what is seen. */
  get #atEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.#body;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  /** These lines in the place of all others. Who had scrolled up stays where they were. */
  #replace(all: Line[]): void {
    const { scrollTop } = this.#body;
    const below = this.#atEnd;
    this.#clear();
    this.#show(all);
    if (!below) this.#body.scrollTop = scrollTop;
  }

  /** The lines that the filter leaves, from their end. */
  #sift(): void {
    const shows = filterOf(this.#filter.value);
    for (const row of this.#rows()) row.hidden = !shows(row.textContent ?? '');
    this.#heard.textContent = this.#count();
    this.#body.scrollTop = this.#body.scrollHeight;
  }

  #count(): string {
    const rows = this.#filter.value.trim() === '' ? undefined : this.#rows();
    return (this.#found.textContent = rows ? `${rows.filter(({ hidden }) => !hidden).length} of ${rows.length} lines` : '');
  }

  #rows(): HTMLElement[] {
    return [...this.#body.children].filter((row): row is HTMLElement => row !== this.#cut);
  }

  async #read(source: string, signal: AbortSignal, quietly: boolean): Promise<string> {
    const address = `${this.getAttribute('src')}?source=${source}&follow=true`;
    const answer = await fetch(address, { headers: { accept: 'application/x-ndjson' }, signal });
    if (!answer.ok || !answer.body) {
      const told = await answer.json().catch(() => undefined);
      return told?.details?.message ?? `The log cannot be read (${answer.status}).`;
    }
    if (!rests()) this.#rest(false);
    if (!quietly) this.#says('Live');
    const lines = new LineReader();
    const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const live = (): void => {
      if (quietly) this.#says('Live');
      quietly = false;
    };
    const show = (fresh: Line[]): void => {
      if (fresh.length === 0) return;
      this.#rest(false);
      live();
      this.#show(fresh);
    };
    // The log comes from its beginning. What is shown of it stays until it has come so far.
    let held = this.#ends && new Held(this.#ends.first, this.#ends.last, this.#seen);
    let timer: ReturnType<typeof setTimeout> | undefined;
    // One that is never quiet is not held for ever.
    const until = Date.now() + HELD_MS;
    const release = (done = false): void => {
      clearTimeout(timer);
      if (!held || signal.aborted) return;
      const come = held.release();
      held = undefined;
      if ('more' in come) return show(come.more);
      if (come.all.length > 0) this.#rest(false);
      if (!done) live();
      this.#replace(come.all);
    };
    try {
      for (;;) {
        const { done, value } = await text.read();
        if (done) {
          release(true);
          return ENDED;
        }
        const fresh = lines.take(value);
        if (!held) {
          show(fresh);
          continue;
        }
        clearTimeout(timer);
        if (held.take(fresh) || Date.now() >= until) release();
        else timer = setTimeout(release, QUIET_MS);
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

const ENDED = 'Nothing more comes';
const EMPTY = 'There is nothing in this log.';

function line({ at, text }: Line): HTMLElement {
  const row = document.createElement('div');
  if (at) {
    const time = document.createElement('time');
    time.dateTime = at;
    time.title = at;
    time.textContent = new Date(at).toLocaleTimeString([], { hour12: false });
    row.append(time, ' ');
  }
  row.append(stripAnsi(text), '\n');
  return row;
}
