// `<fsa-repository>`: which repository a new project starts from: any address, or one of the user's own at
// GitHub from a list that is searched. What is chosen stands in the attributes `url`, `branch` and `depth`,
// where the form reads it.
//
// `<fsa-clone src="…/repository">`: how far the clone into a new sandbox is, and the ways on where it failed.

import { ask, button, connect, hasGitHub, make, Refused, words } from './api.ts';
import { asks, prose, tell } from './dom.ts';
import { cloned } from './source-words.ts';

interface Repository {
  fullName: string;
  cloneUrl: string;
  private: boolean;
  defaultBranch: string | null;
  description: string | null;
}

interface Page {
  repositories: Repository[];
  page: number;
  nextPage: number | null;
  total: number;
  cutOff: boolean;
}

/** How long nothing is typed before it is searched for. */
const PAUSE_MS = 250;
/** How often a clone that is under way is looked at. */
const LOOK_MS = 1_000;

/** Where what was filled in waits while its page is left for GitHub, in this tab. */
const KEPT = 'fsa.new-project';
/** The texts of it. Variables are none: they are kept nowhere. */
const TEXTS = ['name', 'repository.url', 'repository.branch', 'repository.depth'];

interface Kept {
  texts: string[];
  size: string | undefined;
  database: boolean | undefined;
}

const input = (selector: string): HTMLInputElement | null => document.querySelector(`.new-project ${selector}`);
const text = (id: string): HTMLInputElement | null => input(`#${CSS.escape(id)}`);

/** Keeps what was filled in of the form of a new project. */
function keep(): void {
  const texts = TEXTS.map((id) => text(id)?.value ?? '');
  // With a password in it, an address is refused anyway.
  if (/:\/\/[^/]*@/.test(texts[1] ?? '')) texts[1] = '';
  const kept: Kept = { texts, size: input('[name=size]:checked')?.value, database: input('#db')?.checked };
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
}

/** Fills in what was kept, once. A page that is not alive yet takes it over, as what was typed that early. */
function restore(): void {
  const kept = sessionStorage.getItem(KEPT);
  if (kept === null) return;
  sessionStorage.removeItem(KEPT);
  const { texts, size, database } = JSON.parse(kept) as Kept;
  const told = (field: HTMLInputElement, event: string) => field.dispatchEvent(new Event(event, { bubbles: true }));
  TEXTS.forEach((id, at) => {
    const field = text(id);
    if (!field) return;
    field.value = texts[at] ?? '';
    told(field, 'input');
  });
  for (const [field, checked] of [[input(`[name=size][value="${size}"]`), true], [input('#db'), database === true]] as const) {
    if (!field) continue;
    field.checked = checked;
    told(field, 'change');
  }
}

let ids = 0;

/** A labelled input; its value goes into an attribute of `of`. Its id is what the API calls the field (refused.ts). */
function field(of: HTMLElement, attribute: string, label: string, optional: boolean, hint?: string): [HTMLElement, HTMLInputElement] {
  const input = make('input', 'input mono');
  input.id = `repository.${attribute}`;
  input.autocomplete = 'off';
  input.spellcheck = false;
  const name = make('label', 'field-label', label, ...(optional ? [' ', make('span', 'field-optional', 'optional')] : []));
  name.htmlFor = input.id;
  const keep = () => {
    // What is no number has no value, and is not to be taken for nothing.
    const value = input.validity.badInput ? '?' : input.value.trim();
    if (value) of.setAttribute(attribute, value);
    else of.removeAttribute(attribute);
  };
  input.addEventListener('input', keep);
  const whole = make('div', 'field', name, input);
  if (hint) {
    const text = make('p', 'field-hint', hint);
    text.id = `${input.id}-hint`;
    input.setAttribute('aria-describedby', text.id);
    whole.append(text);
  }
  return [whole, input];
}

export class RepositoryChoice extends HTMLElement {
  static observedAttributes = ['url', 'branch'];
  readonly #code = make('dd', '');
  readonly #summed = make('div', '', make('dt', '', 'Code'), this.#code);
  #url!: HTMLInputElement;
  #branch!: HTMLInputElement;
  #asking: AbortController | undefined;

  connectedCallback(): void {
    const [url, urlInput] = field(this, 'url', 'Address', true, 'For example https://github.com/owner/name');
    urlInput.inputMode = 'url';
    const [branch, branchInput] = field(this, 'branch', 'Branch', true);
    const [depth, depthInput] = field(this, 'depth', 'Commits', true);
    depthInput.type = 'number';
    depthInput.min = '1';
    depthInput.max = '1000000';
    branchInput.placeholder = 'the usual one';
    depthInput.placeholder = 'all';
    this.#url = urlInput;
    this.#branch = branchInput;
    this.replaceChildren(url, make('div', 'choice-grid', branch, depth));
    restore();
    if (!hasGitHub()) return;
    // Of one height, whatever comes into it: nothing below moves.
    const offer = make('div', 'repository-offer');
    this.append(offer);
    void this.#offer(offer);
  }

  disconnectedCallback(): void {
    this.#asking?.abort();
  }

  /** The form's summary has what is cloned. */
  attributeChangedCallback(): void {
    this.#code.textContent = cloned(this.getAttribute('url') ?? '', this.getAttribute('branch') ?? '');
    if (this.#code.textContent === '') this.#summed.remove();
    else if (!this.#summed.isConnected) document.querySelector('.new-project .facts')?.append(this.#summed);
  }

  /** The list, where there is an account to list of; else the way to one. */
  async #offer(offer: HTMLElement): Promise<void> {
    let account: { login: string; state: string } | null;
    try {
      ({ account } = await ask<{ account: typeof account }>('GET', '/api/github'));
    } catch (error) {
      return this.#instead(offer, words(error), 'Try again', () => this.#offer(offer));
    }
    if (!this.isConnected) return;
    if (!account || account.state === 'revoked') {
      const said = 'Connect GitHub to choose one of your own repositories. What you have filled in here stays, but for a pasted `.env`, which is kept nowhere.';
      return this.#instead(offer, said, 'Connect GitHub', () => {
        keep();
        return connect(location.pathname).catch((error: unknown) => {
          // The page stays: what was filled in is in it.
          sessionStorage.removeItem(KEPT);
          throw error;
        });
      });
    }
    const search = make('input', 'input');
    search.type = 'search';
    search.id = `fsa-search-${++ids}`;
    search.autocomplete = 'off';
    search.placeholder = 'Search';
    const label = make('label', 'field-label', `Or one of those that ${account.login} sees at GitHub`);
    label.htmlFor = search.id;
    const list = make('ul', 'repository-list');
    list.setAttribute('aria-label', 'Repositories');
    const state = make('p', 'field-hint');
    state.setAttribute('role', 'status');
    const more = button('More', () => void this.#search(search.value, Number(more.dataset['page']), list, state, more));
    more.hidden = true;
    more.classList.add('push-end');
    offer.replaceChildren(label, search, list, make('div', 'row', state, more));
    let pause: ReturnType<typeof setTimeout> | undefined;
    search.addEventListener('input', () => {
      clearTimeout(pause);
      pause = setTimeout(() => void this.#search(search.value, 1, list, state, more), PAUSE_MS);
    });
    // Enter would send the form.
    search.addEventListener('keydown', (event) => event.key === 'Enter' && event.preventDefault());
    await this.#search('', 1, list, state, more);
  }

  /** Says why there is no list, and what to do. */
  #instead(offer: HTMLElement, text: string, act: string, run: () => Promise<void>): void {
    const said = make('p', 'field-hint', prose(text));
    said.setAttribute('role', 'status');
    const go = button(act, () => void run().catch((error) => tell(said, words(error))));
    offer.replaceChildren(make('div', 'empty-state', said, go));
  }

  async #search(text: string, page: number, list: HTMLElement, state: HTMLElement, more: HTMLElement): Promise<void> {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    state.textContent = 'Looking…';
    try {
      const address = `/api/github/repositories?search=${encodeURIComponent(text)}&page=${page}`;
      const found = await ask<Page>('GET', address, undefined, asking.signal);
      const rows = found.repositories.map((repository) => this.#row(repository));
      if (page === 1) list.replaceChildren(...rows);
      else list.append(...rows);
      const count = found.total === 1 ? '1 repository' : `${found.total} repositories`;
      state.textContent = found.cutOff ? `${count}, of the 2,000 that were pushed to last` : count;
      more.hidden = found.nextPage === null;
      more.dataset['page'] = String(found.nextPage ?? 1);
    } catch (error) {
      if (asking.signal.aborted) return;
      list.replaceChildren();
      more.hidden = true;
      tell(state, words(error));
    }
  }

  #row(repository: Repository): HTMLElement {
    const choose = button(repository.fullName, () => {
      this.#url.value = repository.cloneUrl.replace(/\.git$/, '');
      this.#branch.value = '';
      this.#url.dispatchEvent(new Event('input'));
      this.#branch.dispatchEvent(new Event('input'));
      this.#branch.placeholder = repository.defaultBranch ?? 'the usual one';
      this.#url.focus();
    });
    choose.dataset['kind'] = 'quiet';
    if (repository.description) choose.title = repository.description;
    const row = make('li', 'row', choose);
    if (repository.private) row.append(make('span', 'tag', 'private'));
    return row;
  }
}

interface Clone {
  url: string;
  branch: string | null;
  folder: string;
  state: 'waiting' | 'cloning' | 'done' | 'failed' | 'skipped';
  progress: string | null;
}

export class CloneProgress extends HTMLElement {
  #stop: AbortController | undefined;

  connectedCallback(): void {
    this.hidden = true;
    const stop = (this.#stop = new AbortController());
    void (async () => {
      while (!stop.signal.aborted && (await this.#look(stop.signal))) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    })();
  }

  disconnectedCallback(): void {
    this.#stop?.abort();
  }

  /** Whether there is more to see. */
  async #look(signal: AbortSignal): Promise<boolean> {
    try {
      const clone = await ask<Clone | null>('GET', this.getAttribute('src') ?? '', undefined, signal);
      // The project was made without one.
      if (!clone) return false;
      this.#show(clone);
      return clone.state !== 'done' && clone.state !== 'skipped';
    } catch (error) {
      // What is shown stays, until the server answers.
      return !(error instanceof Refused && error.code === 'not-found');
    }
  }

  #show(clone: Clone): void {
    this.hidden = clone.state === 'skipped';
    const said = {
      waiting: 'Waits until the sandbox is up.',
      cloning: clone.progress ?? 'Begins…',
      done: `It is in ~/${clone.folder}.`,
      failed: 'It could not be cloned. The project is kept.',
      skipped: '',
    }[clone.state];
    if (!this.firstElementChild || this.dataset['state'] !== clone.state) {
      const head = make('div', 'panel-head', make('h2', '', 'Repository'), make('span', 'count', clone.branch ?? ''));
      const text = make('p', 'small mono');
      text.setAttribute('role', 'status');
      const row = make('div', 'panel-body stack stack-tight', make('p', 'mono', clone.url), text);
      if (clone.state === 'failed') {
        row.append(make('div', 'row', asks(button('Try again', () => void this.#decide('retry'))), asks(button('Go on without it', () => void this.#decide('skip')))));
      } else if (clone.state === 'waiting' || clone.state === 'cloning') {
        row.append(make('div', 'row', asks(button('Go on without it', () => void this.#decide('skip')))));
      }
      this.dataset['state'] = clone.state;
      this.replaceChildren(head, row);
    }
    const text = this.querySelector('[role=status]');
    if (text && text.textContent !== said) text.textContent = said;
  }

  async #decide(action: 'retry' | 'skip'): Promise<void> {
    try {
      this.#show(await ask<Clone>('POST', this.getAttribute('src') ?? '', { action }));
    } catch (error) {
      const text = this.querySelector('[role=status]');
      if (text) tell(text, words(error));
    }
  }
}
