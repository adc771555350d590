// `<fsa-sandboxes project="ID">`: the sandboxes of the project that the page shows, each with its phase and what can be
// asked of it, and the way to another one. Each has pages of its own: the address says which one is meant. They are read
// when the popover opens, and as long as it is open.

import { ask, Refused, words } from './api.ts';
import { ask as question, asks, button, icon, make, tell } from './dom.ts';
import { mayEnd } from './ending.ts';
import { randomId } from './insecure.ts';
import { removalOf, type Sandbox, titleOf, verbsOf } from './sandbox-words.ts';

/** How often what is shown is read again. */
const LOOK_MS = 1_000;

export class Sandboxes extends HTMLElement {
  readonly #opener = button('branch', '', () => this.#toggle(), 'Sandboxes');
  readonly #panel = make('div', { class: 'menu sandboxes-panel', 'data-align': 'start', role: 'dialog', 'aria-label': 'Sandboxes', hidden: true });
  readonly #list = make('ul', { role: 'list' });
  readonly #state = make('p', { class: 'small', role: 'status' });
  /** What it says: the same again is not announced again. */
  #said = '';
  /** What it says is that they could not be read. */
  #unread = false;
  readonly #more = make('div');
  #reading: AbortController | undefined;
  #shown = '';
  #outside = (event: Event): void => {
    const target = event.target as HTMLElement;
    // A question of ours is asked over all.
    if (!this.contains(target) && !target.closest('dialog')) this.#close(false);
  };

  connectedCallback(): void {
    this.#opener.dataset['kind'] = 'quiet';
    this.#opener.setAttribute('aria-haspopup', 'dialog');
    this.#opener.setAttribute('aria-expanded', 'false');
    this.#panel.replaceChildren(make('p', { class: 'menu-title' }, 'Sandboxes of this project'), this.#list, this.#state, this.#more);
    this.replaceChildren(this.#opener, this.#panel);
    this.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !this.#panel.hidden) {
        event.stopPropagation();
        this.#close(true);
      }
    });
  }

  disconnectedCallback(): void {
    this.#close(false);
  }

  get #project(): string {
    return this.getAttribute('project') ?? '';
  }

  get #src(): string {
    return `/api/projects/${this.#project}/sandboxes`;
  }

  #toggle(): void {
    if (!this.#panel.hidden) return this.#close(true);
    this.#panel.hidden = false;
    this.#opener.setAttribute('aria-expanded', 'true');
    addEventListener('pointerdown', this.#outside);
    this.#shown = '';
    this.#offer();
    this.#say(this.#list.childElementCount ? '' : 'Reading…');
    const reading = (this.#reading = new AbortController());
    void (async () => {
      while (!reading.signal.aborted) {
        await this.#read(reading.signal);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    })();
  }

  #close(focus: boolean): void {
    this.#reading?.abort();
    this.#panel.hidden = true;
    this.#opener.setAttribute('aria-expanded', 'false');
    removeEventListener('pointerdown', this.#outside);
    if (focus) this.#opener.focus();
  }

  #say(text: string): void {
    this.#unread = false;
    if (this.#said !== text) tell(this.#state, (this.#said = text));
    this.#state.hidden = text === '';
  }

  async #read(signal: AbortSignal): Promise<void> {
    try {
      const all = await ask<Sandbox[]>('GET', this.#src, undefined, signal);
      if (this.#unread) this.#say('');
      this.#unread = false;
      this.#show(all);
    } catch (error) {
      if (signal.aborted) return;
      this.#say(words(error));
      this.#unread = true;
    }
  }

  /** Anew where something differs; the focus stays on what it was on. */
  #show(all: Sandbox[]): void {
    const state = JSON.stringify(all.map(({ id, deleting, sandbox }) => [id, deleting, sandbox.phase, sandbox.desired]));
    if (state === this.#shown) return;
    const first = this.#shown === '';
    this.#shown = state;
    if (this.#state.textContent === 'Reading…') this.#say('');
    const focused = this.#panel.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset['key'] : undefined;
    this.#list.replaceChildren(...all.map((one) => this.#row(one)));
    const found = focused && this.#list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`);
    if (found) found.focus();
    else if (focused || first) this.#list.querySelector<HTMLElement>('[aria-current]')?.focus();
  }

  #row(one: Sandbox): HTMLElement {
    const title = titleOf(one);
    const key = one.sandbox.phase.toLowerCase();
    const here = one.id === this.#project;
    const link = make(
      'a',
      { href: `/projects/${one.id}`, 'aria-current': here ? 'page' : undefined, 'data-key': one.id, class: one.main ? 'sandbox-name' : 'sandbox-name mono' },
      make('bdi', {}, title),
    );
    link.addEventListener('click', () => this.#close(false));
    const verb = (glyph: string, name: string, run: () => void) => {
      const made = button(glyph, '', run, `${name} ${title}`);
      asks(made).dataset['kind'] = 'quiet';
      made.dataset['key'] = `${name} ${one.id}`;
      return made;
    };
    const verbs = verbsOf(one).map((name) => {
      if (name === 'Start') return verb('play', name, () => void this.#do('POST', `/api/sandbox/${one.id}/start`));
      if (name === 'Stop') return verb('stop', name, () => void this.#end(one, name));
      if (name === 'Restart') return verb('reload', name, () => void this.#end(one, name));
      if (name === 'Terminate') return verb('close', 'Terminate', () => void this.#terminate(one));
      return verb('trash', 'Remove', () => void this.#remove(one));
    });
    const pill = make('span', { class: 'phase-pill', 'data-phase': key }, icon(`phase-${key}`), one.deleting ? 'Being removed' : one.sandbox.phase);
    return make('li', { class: 'sandbox-row' }, link, pill, make('span', { class: 'sandbox-verbs' }, ...verbs));
  }

  async #do(method: string, address: string, body?: object): Promise<boolean> {
    try {
      await ask(method, address, body ?? (method === 'POST' ? {} : undefined));
      this.#say('');
    } catch (error) {
      this.#say(words(error));
      return false;
    }
    await this.#read(new AbortController().signal);
    return true;
  }

  async #end(one: Sandbox, name: 'Stop' | 'Restart'): Promise<void> {
    if (await mayEnd(one.id, name)) await this.#do('POST', `/api/sandbox/${one.id}/${name.toLowerCase()}`);
  }

  async #terminate(one: Sandbox): Promise<void> {
    const { answer } = await question({
      heading: `Terminate ${titleOf(one)}?`,
      text: one.database ? 'All that runs in it ends. Its files and its database are kept.' : 'All that runs in it ends. Its files are kept.',
      answers: [
        { text: 'Keep it running', value: '' },
        { text: 'Terminate', value: 'terminate', danger: true },
      ],
    });
    if (answer) await this.#do('DELETE', `/api/sandbox/${one.id}`);
  }

  async #remove(one: Sandbox): Promise<void> {
    const { answer } = await question(removalOf(one));
    if (!answer || !(await this.#do('DELETE', `${this.#src}/${one.id}`)) || one.id !== this.#project) return;
    // This page is of what is going.
    const main = this.#list.querySelector<HTMLElement>('a.sandbox-name:not(.mono)');
    main?.click();
  }

  #offer(): void {
    const open = button('plus', 'New sandbox…', () => void this.#form());
    asks(open).dataset['kind'] = 'quiet';
    this.#more.replaceChildren(open);
  }

  async #form(): Promise<void> {
    let cloned: { state: string; branch: string | null } | null;
    try {
      cloned = await ask('GET', `/api/projects/${this.#project}/repository`);
    } catch (error) {
      return this.#say(words(error));
    }
    const repository = cloned !== null && cloned.state !== 'skipped';
    const wrong = make('p', { class: 'field-message', id: 'sandbox-wrong', 'data-tone': 'bad', role: 'alert' });
    const input = (id: string, placeholder: string) =>
      make('input', { class: 'input mono', id, placeholder, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', 'aria-describedby': 'sandbox-hint sandbox-wrong' });
    const branch = input('sandbox-branch', 'feature/search');
    const from = input('sandbox-from', cloned?.branch ?? 'the usual one');
    const labelled = (label: string, field: HTMLElement, optional: boolean) =>
      make('div', { class: 'field' }, make('label', { class: 'field-label', for: field.id }, label, ...(optional ? [' ', make('span', { class: 'field-optional' }, 'optional')] : [])), field);
    const hint = repository
      ? 'The repository is cloned into it. A branch that it has is checked out; another one is made.'
      : 'This project has no repository: the sandbox starts with an empty home folder.';
    const create = asks(make('button', { class: 'button', 'data-kind': 'primary', 'data-size': 'small' }, 'Add sandbox'));
    const cancel = button('close', 'Cancel', () => {
      this.#offer();
      this.#more.querySelector('button')?.focus();
    });
    const form = make(
      'form',
      { novalidate: true, class: 'stack stack-tight', 'aria-label': 'New sandbox' },
      labelled('Branch', branch, false),
      repository && labelled('From', from, true),
      make('p', { class: 'field-hint', id: 'sandbox-hint' }, hint),
      wrong,
      make('div', { class: 'row' }, cancel, create),
    );
    const key = randomId();
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#create({ branch: branch.value, ...(from.value.trim() ? { from: from.value } : {}) }, key, create, (error) => {
        tell(wrong, words(error));
        const field = error instanceof Refused && ['bad-from', 'no-repository'].includes(error.code) ? from : branch;
        field.setAttribute('aria-invalid', 'true');
        field.focus();
      });
    });
    this.#more.replaceChildren(form);
    branch.focus();
  }

  async #create(body: object, key: string, button: HTMLButtonElement, refused: (error: unknown) => void): Promise<void> {
    if (button.getAttribute('aria-busy')) return;
    button.setAttribute('aria-busy', 'true');
    try {
      const made = await ask<Sandbox>('POST', this.#src, body, undefined, { 'idempotency-key': key });
      // As a link, so that the page is changed in place.
      const link = make('a', { href: `/projects/${made.id}`, hidden: true });
      this.append(link);
      this.#close(false);
      link.click();
      link.remove();
    } catch (error) {
      button.removeAttribute('aria-busy');
      refused(error);
    }
  }
}
