// `<fsa-claude>`: the account's own Claude credentials, in the settings: whose sandboxes use now, and to set, replace and
// remove one's own. What is typed is sent and forgotten; nothing shows it again. The server draws what is seen first in the same way
// (server/src/http/first/claude.rs).

import { ask, Refused, words } from './api.ts';
import { KINDS, field, state, waits, type Kind, type View } from './claude-words.ts';
import { ask as question, asks, button, icon, make, prose, tell } from './dom.ts';
import { first } from './first.ts';

/** What the terminal's note of missing credentials remembers, once it was read. */
const NOTE = 'fsa.claude-credentials';

export class ClaudeCredentials extends HTMLElement {
  #view: View | undefined;
  readonly #say = make('p', { class: 'field-message setting', role: 'status', hidden: true });

  connectedCallback(): void {
    const view = first<View>(this);
    this.setAttribute('role', 'region');
    this.setAttribute('aria-labelledby', 'claude-title');
    if (view) this.#show(view);
    else void this.#load();
  }

  async #load(): Promise<void> {
    try {
      this.#show(await ask<View>('GET', '/api/claude'));
    } catch (error) {
      const again = button('reload', 'Try again', () => void this.#load());
      this.#fill(make('div', { class: 'setting' }, make('div', {}, make('h3', {}, 'They could not be looked up'), make('p', {}, prose(words(error)))), again));
    }
  }

  #fill(...parts: (HTMLElement | undefined)[]): void {
    const head = make('div', { class: 'panel-head' }, make('h2', { id: 'claude-title' }, 'Claude Code'), make('span', { class: 'count' }, 'credentials'));
    this.replaceChildren(head, ...parts.filter((part) => part !== undefined), this.#say);
  }

  #show(view: View, form?: HTMLElement): void {
    this.#view = view;
    const { own } = view;
    const { heading, lines } = state(view, Date.now());
    const set = own !== null && make('span', { class: 'tag', 'data-tone': 'good' }, icon('check'), 'set');
    const text = make('div', {}, make('h3', {}, heading, own !== null && ' ', set), ...lines.map((line) => make('p', {}, line)));
    const open = button(own ? 'edit' : 'plus', own ? 'Replace' : 'Set your own', () => this.#open());
    open.dataset['key'] = 'open';
    if (form) open.hidden = true;
    const remove = own ? asks(button('trash', 'Remove…', () => void this.#remove(), 'Remove your Claude credentials')) : undefined;
    if (remove) remove.dataset['kind'] = 'danger';
    this.#fill(make('div', { class: 'setting' }, text, make('div', { class: 'row' }, open, remove)), this.#waits(view), form);
  }

  /** What runs with others, each with the way to its "Restart now". */
  #waits({ waiting }: View): HTMLElement | undefined {
    if (waiting.length === 0) return undefined;
    const links = waiting.map(({ id, name }) => make('li', {}, make('a', { href: `/projects/${id}/environment` }, make('bdi', {}, name))));
    const text = make('div', {}, make('p', {}, make('strong', {}, waits(waiting.length)), ' “Restart now” on its page brings the change into it.'), make('ul', { class: 'steps' }, ...links));
    return make('div', { class: 'panel-body' }, make('div', { class: 'banner', 'data-tone': 'warn' }, icon('warning'), text));
  }

  #open(): void {
    if (!this.#view) return;
    this.#told('');
    const form = this.#form(this.#view);
    this.#show(this.#view, form);
    form.querySelector<HTMLElement>('#claude-value')?.focus();
  }

  #close(): void {
    if (this.#view) this.#show(this.#view);
    this.#focus();
  }

  #form({ own }: View): HTMLElement {
    const now = own?.kind ?? 'apiKey';
    const choice = (kind: Kind) =>
      make(
        'label',
        { class: 'choice' },
        make('input', { type: 'radio', name: 'claude-kind', value: kind, checked: kind === now }),
        make('span', { class: 'choice-name' }, KINDS[kind].name),
        make('small', {}, make('code', {}, KINDS[kind].variable)),
      );
    const value = make('input', { class: 'input mono', id: 'claude-value', type: 'password', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'claude-value-wrong claude-value-hint' });
    const url = make('input', { class: 'input mono', id: 'claude-url', type: 'text', inputmode: 'url', autocomplete: 'off', spellcheck: 'false', placeholder: 'https://api.anthropic.com', value: own?.baseUrl ?? undefined, 'aria-describedby': 'claude-url-wrong claude-url-hint' });
    const wrong = (name: string) => make('p', { class: 'field-message', id: `claude-${name}-wrong`, 'data-tone': 'bad', role: 'alert' });
    const one = (name: string, label: string, input: HTMLElement, hint: string) =>
      make('div', { class: 'field' }, make('label', { class: 'field-label', for: `claude-${name}` }, label), input, make('p', { class: 'field-hint quiet small', id: `claude-${name}-hint` }, hint), wrong(name));
    const cancel = button('close', 'Cancel', () => this.#close());
    const save = asks(make('button', { class: 'button', 'data-kind': 'primary', 'data-size': 'small' }, 'Save'));
    const form = make(
      'form',
      { novalidate: true, class: 'panel-body stack', 'aria-label': own ? 'Replace your Claude credentials' : 'Set your Claude credentials' },
      make('fieldset', { class: 'stack stack-tight' }, make('legend', { class: 'field-label' }, 'What it is'), make('div', { class: 'choice-grid' }, choice('apiKey'), choice('authToken'))),
      one('value', 'Key or token', value, 'Stored encrypted and never shown again. It goes into your sandboxes, whose programs can read it, and nowhere else.'),
      one('url', 'Base URL (optional)', url, 'Of a gateway that sandboxes reach. Anthropic’s own where it is empty.'),
      make('p', { class: 'quiet small' }, 'To try it, run ', make('code', {}, 'claude'), ' in a terminal after a restart. A project’s own variables of these names win.'),
      make('div', { class: 'row' }, save, cancel),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (save.getAttribute('aria-busy') === 'true') return;
      save.setAttribute('aria-busy', 'true');
      const kind = form.querySelector<HTMLInputElement>('input[name=claude-kind]:checked')?.value ?? now;
      void this.#save({ kind, value: value.value, baseUrl: url.value.trim() || null }, { value, url }).finally(() => save.removeAttribute('aria-busy'));
    });
    form.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      this.#close();
    });
    return form;
  }

  async #save(body: object, inputs: { value: HTMLInputElement; url: HTMLInputElement }): Promise<void> {
    this.#told('');
    for (const input of Object.values(inputs)) {
      input.removeAttribute('aria-invalid');
      this.querySelector(`#${input.id}-wrong`)?.replaceChildren();
    }
    try {
      this.#show(await ask<View>('PUT', '/api/claude', body));
    } catch (error) {
      const about = error instanceof Refused ? field(error.code) : undefined;
      if (!about) return this.#told(words(error), 'bad');
      inputs[about].setAttribute('aria-invalid', 'true');
      this.querySelector(`#${inputs[about].id}-wrong`)?.append(prose(words(error)));
      inputs[about].focus();
      return;
    }
    remember('seen');
    this.#told('Saved. Sandboxes have it from their next start on.', 'good');
    this.#focus();
  }

  async #remove(): Promise<void> {
    const operator = this.#view?.operator;
    const { answer } = await question({
      heading: 'Remove your Claude credentials?',
      text: `They cannot be brought back. Sandboxes that run keep them until their next start${operator ? ', and then use the operator’s.' : ', and then Claude Code asks to sign in.'}`,
      answers: [
        { text: 'Keep them', value: 'keep' },
        { text: 'Remove them', value: 'remove', danger: true },
      ],
    });
    if (answer !== 'remove') return;
    try {
      this.#show(await ask<View>('DELETE', '/api/claude', {}));
      remember(undefined);
      this.#told('Removed.');
    } catch (error) {
      this.#told(words(error), 'bad');
    }
    this.#focus();
  }

  /** The button that was used is gone. */
  #focus(): void {
    this.querySelector<HTMLElement>('[data-key=open]')?.focus();
  }

  #told(text: string, tone = ''): void {
    this.#say.hidden = text === '';
    tell(this.#say, text);
    this.#say.dataset['tone'] = tone;
  }
}

/** A page that is left and come back to without loading still believes what it was loaded with. */
function remember(seen: string | undefined): void {
  if (seen) localStorage.setItem(NOTE, seen);
  else localStorage.removeItem(NOTE);
}
