// `<fsa-extra data-project="ID" data-part="name">`, and `"removal"`: what a project's settings have of an extra sandbox in place
// of what is the project's own. It is called after its project and its branch, and goes alone.

import { ask, words } from './api.ts';
import { ask as question, asks, button, make, prose, tell } from './dom.ts';
import { removalOf, type Sandbox, titleOf } from './sandbox-words.ts';
import { go } from './shortcuts.ts';

export class Extra extends HTMLElement {
  connectedCallback(): void {
    this.replaceChildren(make('span', { class: 'skeleton' }));
    void this.#look();
  }

  get #project(): string {
    return this.dataset['project'] ?? '';
  }

  get #src(): string {
    return `/api/projects/${this.#project}/sandboxes`;
  }

  async #look(): Promise<void> {
    try {
      const all = await ask<Sandbox[]>('GET', this.#src);
      const [main, own] = [all.find(({ main }) => main), all.find(({ id }) => id === this.#project)];
      if (!main || !own) return;
      if (this.dataset['part'] === 'name') this.#name(main, own);
      else this.#removal(main, own);
    } catch (error) {
      this.#show('This sandbox could not be looked up', words(error), button('reload', 'Try again', () => void this.#look()));
    }
  }

  #show(heading: string, text: string, ...more: HTMLElement[]): void {
    this.replaceChildren(make('div', {}, make('h3', {}, heading), make('p', {}, prose(text))), ...more);
  }

  #name(main: Sandbox, own: Sandbox): void {
    const link = make('a', { class: 'button', 'data-size': 'small', href: `/projects/${main.id}/settings` }, 'Project settings');
    this.#show(`The sandbox of ${titleOf(own)}`, 'It is called after its project and its branch. Where the project is renamed, it follows.', link);
  }

  #removal(main: Sandbox, own: Sandbox): void {
    const { text } = removalOf(own);
    if (own.deleting) return this.#show('Remove the sandbox', 'It is being removed.');
    const said = make('span', { class: 'field-message', role: 'alert', 'data-tone': 'bad' });
    const remove = button('trash', 'Remove the sandbox…', () => void this.#ask(main, own, said));
    asks(remove).dataset['kind'] = 'danger';
    this.#show('Remove the sandbox', `${text} Its project and the other sandboxes stay.`, remove);
    this.firstElementChild?.append(said);
  }

  async #ask(main: Sandbox, own: Sandbox, said: HTMLElement): Promise<void> {
    const { answer } = await question(removalOf(own));
    if (!answer) return;
    said.textContent = '';
    try {
      await ask('DELETE', `${this.#src}/${own.id}`);
      go(`/projects/${main.id}`);
    } catch (error) {
      tell(said, words(error));
    }
  }
}
