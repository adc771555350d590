// `<fsa-shares data-project="ID">`: the ports of a project that others may open, in its settings, and an end to each.

import { ask, words } from './api.ts';
import { asks, button, make, tell, when } from './dom.ts';
import { label, type SharedPort } from './share-words.ts';

export class Shares extends HTMLElement {
  readonly #say = make('p', { class: 'field-message setting', role: 'status', hidden: true });
  readonly #list = make('ul', { class: 'sessions', role: 'list' });

  connectedCallback(): void {
    this.setAttribute('role', 'region');
    this.setAttribute('aria-label', 'Shares');
    const none = make('div', { class: 'setting' }, make('p', {}, 'Ports are shared in the preview’s bar.'));
    this.replaceChildren(make('div', { class: 'panel-head' }, make('h2', {}, 'Shares')), none);
    void this.#load();
  }

  get #project(): string {
    return `/api/projects/${this.dataset['project']}`;
  }

  async #load(): Promise<void> {
    try {
      const shares = await ask<SharedPort[]>('GET', `${this.#project}/shares`);
      const none = make('li', { class: 'setting' }, make('p', {}, 'No port is shared. Ports are shared in the preview’s bar.'));
      this.#list.replaceChildren(...(shares.length > 0 ? shares.map((share) => this.#row(share)) : [none]));
    } catch (error) {
      this.#told(words(error), 'bad');
    }
    this.replaceChildren(this.firstChild!, this.#list, this.#say);
  }

  #row(share: SharedPort): HTMLElement {
    const text = make('div', {}, make('h3', {}, `Port ${share.port}`), make('p', {}, label(share, when)));
    return make('li', { class: 'setting' }, text, asks(button('lock', 'End', () => void this.#end(share.port), `End the share of port ${share.port}`)));
  }

  async #end(port: number): Promise<void> {
    try {
      await ask('DELETE', `${this.#project}/ports/${port}/share`);
      this.#told(`Port ${port} is private.`);
      await this.#load();
    } catch (error) {
      return this.#told(words(error), 'bad');
    }
    // The button that was used is gone, and had the focus.
    if (document.activeElement !== document.body) return;
    const next = this.#list.querySelector<HTMLElement>('button') ?? this.#say;
    if (next === this.#say) next.tabIndex = -1;
    next.focus();
  }

  #told(text: string, tone = ''): void {
    this.#say.hidden = false;
    tell(this.#say, text);
    this.#say.dataset['tone'] = tone;
  }
}
