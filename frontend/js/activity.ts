// `<fsa-activity>`: what happened to a project, or to all of them and the account, newest first. The page makes the element, with
// its address in `src`, and changes `data-state` around it whenever something may be new; this is all of what it does. The server
// draws what is seen first in the same way (server/src/http/first/activity.rs).

import { day, DAYS, iconOf, newsOf, spansOf, time, type Activity as Item, type Page } from './activity-words.ts';
import { make, prose } from './dom.ts';
import { first } from './first.ts';

/** How many are asked for at once. */
const AT_ONCE = 50;
/** How often it looks by itself: refused connections change nothing else that the page hears of. */
const LOOK_MS = 20_000;
/** How far down the page somebody is reading, so that nothing may move. */
const READING = 120;

const KINDS: [string, string][] = [
  ['', 'All'],
  ['ask', 'People'],
  ['phase,run', 'Phases'],
  ['cause', 'Causes'],
  ['network', 'Network'],
];
/** What is of no project, and so of all of them alone. */
const ACCOUNT: [string, string] = ['account', 'Account'];
/** The address of all. */
const ALL = '/api/activity';

export class Activity extends HTMLElement {
  #items = new Map<number, Item>();
  #waiting: Page | undefined;
  /** On which day the list was drawn. */
  #drawnOn = '';
  #next: number | null = null;
  #kinds = '';
  /** Of how many days; 0: of all that is kept. */
  #days = DAYS;
  #search = '';
  #asked = 0;
  /** How many readings are under way that somebody asked for; whether it is to be looked for what is new after them. */
  #reading = 0;
  #due = false;
  #typing: number | undefined;
  #timer: number | undefined;
  #list = document.createElement('section');
  #news = document.createElement('div');
  #save = document.createElement('a');
  #span = document.createElement('select');
  #state: string | undefined;
  readonly #states = new MutationObserver(() => {
    const state = this.parentElement?.dataset['state'];
    if (state !== this.#state) void this.#look();
    this.#state = state;
  });

  connectedCallback(): void {
    const page = first<Page>(this);
    const typed = this.querySelector<HTMLInputElement>('input[type=search]');
    const typing = typed !== null && typed === document.activeElement;
    const toolbar = element('div', 'toolbar');
    const group = element('div', 'input-group');
    const search = element('input', 'input');
    search.type = 'search';
    search.placeholder = 'Search activity';
    search.setAttribute('aria-label', 'Search activity');
    search.addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = window.setTimeout(() => {
        this.#search = search.value.trim();
        void this.#begin();
      }, 200);
    });
    group.append(icon('search'), search);
    const kinds = element('div', 'segmented');
    kinds.setAttribute('role', 'group');
    kinds.setAttribute('aria-label', 'Filter by kind');
    for (const [value, text] of this.getAttribute('src') === ALL ? [...KINDS, ACCOUNT] : KINDS) {
      const button = element('button', '', text);
      button.type = 'button';
      button.setAttribute('aria-pressed', String(value === this.#kinds));
      button.addEventListener('click', () => {
        this.#kinds = value;
        for (const other of kinds.children) other.setAttribute('aria-pressed', String(other === button));
        void this.#begin();
      });
      kinds.append(button);
    }
    const end = element('div', 'toolbar-end');
    const select = element('span', 'select');
    this.#span.className = 'input';
    this.#span.setAttribute('aria-label', 'Time span');
    this.#offer(page?.keptDays ?? Infinity);
    this.#span.addEventListener('change', () => {
      this.#days = Number(this.#span.value);
      void this.#begin();
    });
    select.append(this.#span, icon('down'));
    this.#save.className = 'button';
    this.#save.download = 'activity.jsonl';
    this.#save.title = 'As filtered, as JSON lines';
    this.#save.append(icon('download'), 'Export');
    end.append(select, this.#save);
    toolbar.append(group, kinds, end);
    this.#news.className = 'row';
    this.#news.setAttribute('role', 'status');
    this.#list.className = 'panel timeline';
    this.#list.setAttribute('aria-label', 'Timeline');
    this.replaceChildren(toolbar, this.#news, this.#list);
    // What was typed before this came alive.
    search.value = typed?.value ?? '';
    this.#search = search.value.trim();
    if (typing) search.focus();
    this.#state = this.parentElement?.dataset['state'];
    if (this.parentElement) this.#states.observe(this.parentElement, { attributeFilter: ['data-state'] });
    this.#timer = window.setInterval(() => {
      if (!document.hidden) void this.#look();
    }, LOOK_MS);
    if (page && this.#search === '') this.#anew(page);
    else void this.#begin();
  }

  disconnectedCallback(): void {
    this.#states.disconnect();
    clearInterval(this.#timer);
    clearTimeout(this.#typing);
    this.#asked += 1;
  }

  /** The time spans, where they are others than before. */
  #offer(keptDays: number): void {
    const spans = spansOf(keptDays);
    if (!spans.some(([, days]) => days === this.#days)) this.#days = 0;
    if (this.#span.options.length === spans.length) return;
    this.#span.replaceChildren(...spans.map(([text, days]) => new Option(text, String(days), days === this.#days, days === this.#days)));
  }

  #address(more: Record<string, string> = {}): string {
    const query = new URLSearchParams(more);
    if (this.#kinds) query.set('kind', this.#kinds);
    if (this.#search) query.set('search', this.#search);
    if (this.#days > 0) query.set('since', new Date(Date.now() - this.#days * 86_400_000).toISOString());
    return `${this.getAttribute('src')}?${query}`;
  }

  /** Reads a page; `undefined` where meanwhile something else was asked for, or it failed, which is said. */
  async #read(more: Record<string, string>): Promise<Page | undefined> {
    const asked = (this.#asked += 1);
    const answer = await fetch(this.#address({ limit: String(AT_ONCE), ...more })).catch(() => undefined);
    const told = await answer?.json().catch(() => undefined);
    if (asked !== this.#asked || !this.isConnected) return undefined;
    if (answer?.ok && told) return told as Page;
    this.#failed(told?.details?.message ?? 'The server cannot be reached.');
    return undefined;
  }

  /** From the beginning, by the filters of now. */
  async #begin(): Promise<void> {
    this.#save.href = this.#address({ format: 'jsonl' });
    const page = await this.#wanted({});
    if (page) this.#anew(page);
  }

  /** As `#read`, of what somebody asked for: a look that comes meanwhile would take its place, and so comes after it. */
  async #wanted(more: Record<string, string>): Promise<Page | undefined> {
    this.#reading += 1;
    const page = await this.#read(more);
    this.#reading -= 1;
    if (this.#reading === 0 && this.#due) {
      this.#due = false;
      setTimeout(() => this.isConnected && void this.#look(), 0);
    }
    return page;
  }

  #anew(page: Page): void {
    this.#offer(page.keptDays);
    this.#save.href = this.#address({ format: 'jsonl' });
    this.#items.clear();
    this.#waiting = undefined;
    this.#take(page);
    this.#next = page.next;
    this.#draw(page);
  }

  /** What is new. It waits while somebody is at the list, so that nothing moves under them. */
  async #look(): Promise<void> {
    if (this.#reading > 0) {
      this.#due = true;
      return;
    }
    const page = await this.#read({});
    if (!page) return;
    const news = newsOf(this.#items, page.activity).length;
    // What was today is yesterday now and then.
    const old = this.#drawnOn !== new Date().toDateString();
    this.#waiting = news > 0 || old ? page : undefined;
    if (this.#waiting && !this.#isRead) this.#show();
    else this.#tellOfNews(news);
  }

  /** Whether somebody reads further down, or has the focus, the pointer or what they selected in the list. */
  get #isRead(): boolean {
    const list = this.#list;
    const selection = document.getSelection();
    const selected = selection !== null && !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(list);
    return window.scrollY >= READING || list.contains(document.activeElement) || list.matches(':hover') || selected;
  }

  #show(): void {
    const page = this.#waiting;
    this.#waiting = undefined;
    if (!page) return;
    // More is new than one page holds: what lies between is not known, so it begins again.
    const known = this.#items.size === 0 || page.activity.some((item) => this.#items.has(item.id));
    if (!known) {
      this.#items.clear();
      this.#next = page.next;
    }
    this.#take(page);
    this.#draw(page);
  }

  async #older(): Promise<void> {
    // What is read already takes the place of all that is shown, or is the same.
    const page = this.#next === null || this.#reading > 0 ? undefined : await this.#wanted({ before: String(this.#next) });
    if (!page) return;
    const first = page.activity[0];
    this.#take(page);
    this.#next = page.next;
    this.#draw(page);
    if (first) this.#list.querySelector<HTMLElement>(`[data-id="${first.id}"]`)?.focus();
  }

  #take(page: Page): void {
    for (const item of page.activity) this.#items.set(item.id, item);
  }

  #tellOfNews(count: number): void {
    if (count === 0) return this.#news.replaceChildren();
    const text = `Show ${count} newer ${count === 1 ? 'event' : 'events'}`;
    const there = this.#news.querySelector('[data-newer]');
    if (there) {
      if (there.textContent !== text) there.textContent = text;
      return;
    }
    const button = element('button', 'button', text);
    button.type = 'button';
    button.dataset['size'] = 'small';
    button.dataset['newer'] = '';
    button.addEventListener('click', () => {
      const byKey = button.matches(':focus-visible');
      window.scrollTo({ top: 0 });
      this.#show();
      if (byKey) this.#list.querySelector<HTMLElement>('[data-id]')?.focus();
    });
    this.#news.replaceChildren(button);
  }

  #failed(why: string): void {
    if (this.#news.firstElementChild?.textContent === why) return;
    this.#news.replaceChildren();
    const again = element('button', 'button', 'Try again');
    again.type = 'button';
    again.dataset['size'] = 'small';
    again.addEventListener('click', () => void this.#begin());
    this.#news.append(element('span', 'small', why), again);
  }

  #draw(page: Page): void {
    this.#drawnOn = new Date().toDateString();
    this.#news.replaceChildren();
    const open = new Set([...this.#list.querySelectorAll<HTMLElement>('[data-id]:has(details[open])')].map((row) => row.dataset['id']));
    const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
    const rows = [...this.#items.values()].sort((a, b) => b.id - a.id);
    const parts: HTMLElement[] = [];
    let list: HTMLElement | undefined;
    let today = '';
    for (const item of rows) {
      const on = day(new Date(item.at), new Date());
      if (on !== today || !list) {
        today = on;
        list = element('ol', '');
        list.setAttribute('role', 'list');
        parts.push(element('h2', 'timeline-day', on), list);
      }
      const row = drawn(item, this.getAttribute('src') === ALL);
      if (open.has(String(item.id))) row.querySelector('details')?.setAttribute('open', '');
      list.append(row);
    }
    if (rows.length === 0) {
      const empty = element('div', 'empty-state');
      empty.append(element('h2', '', 'Nothing like that happened'), element('p', '', 'Choose another kind or a longer time.'));
      parts.push(empty);
    }
    const foot = element('p', 'panel-foot');
    if (this.#next !== null) {
      const more = element('button', 'button', 'Older events');
      more.type = 'button';
      more.dataset['size'] = 'small';
      more.addEventListener('click', () => void this.#older());
      foot.append(more);
    }
    foot.append(element('span', '', `${rows.length} ${rows.length === 1 ? 'event' : 'events'}. Kept for ${page.keptDays} days.`));
    this.#list.replaceChildren(...parts, foot);
    if (focused) this.#focusAgain(focused);
  }

  /** The focus goes to what stands for the same: a row, what it has, or the button for older ones. */
  #focusAgain(was: Element): void {
    const id = was.closest<HTMLElement>('[data-id]')?.dataset['id'];
    const part = was.matches('[data-id]') ? '' : was.localName;
    const place = id === undefined ? '.panel-foot' : `[data-id="${id}"]`;
    this.#list.querySelector<HTMLElement>(`${place} ${part}`.trim())?.focus({ preventScroll: true });
  }
}

function drawn(item: Item, all: boolean): HTMLElement {
  const row = element('li', 'event');
  row.dataset['id'] = String(item.id);
  row.tabIndex = -1;
  const { name, tone } = iconOf(item);
  if (tone) row.dataset['tone'] = tone;
  const at = element('time', '', time(new Date(item.at)));
  at.dateTime = item.at;
  at.title = item.at;
  const mark = element('span', 'event-mark');
  mark.append(icon(name));
  const words = element('div', '');
  words.append(make('p', {}, prose(item.title)));
  if (all && item.projectId) {
    const called = element('bdi', '', item.project ?? '');
    const line = element('p', '');
    if (item.projectDeleted) line.append(called, ' (deleted)');
    else {
      const of = element('a', '');
      of.href = `/projects/${item.projectId}`;
      of.append(called);
      line.append(of);
    }
    words.append(line);
  }
  if (item.detail) words.append(make('p', {}, prose(item.detail)));
  if (item.times > 1) words.append(element('p', '', `Again and again, last at ${time(new Date(item.lastAt))}`));
  const raw = element('details', '');
  const code = element('pre', 'code-block');
  code.append(element('code', '', JSON.stringify(item.data, null, 2)));
  raw.append(element('summary', '', 'Raw event'), code);
  words.append(raw);
  const who = element('span', 'event-who');
  who.append(item.actor.via === 'token' ? `${item.actor.name}, by the token “${item.actor.token ?? ''}”` : item.actor.name);
  row.append(at, mark, words, who);
  return row;
}

function element<K extends keyof HTMLElementTagNameMap>(name: K, classes: string, text?: string): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A symbol of the page's sprite. */
function icon(name: string): SVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `${document.querySelector<HTMLMetaElement>('meta[name=fsa-icons]')?.content ?? ''}#${name}`);
  svg.append(use);
  return svg;
}
