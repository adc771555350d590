// `<fsa-sessions>`: where the user is signed in, and how to end it there. The server draws what is seen first in the same way
// (server/src/http/first/sessions.rs).

import { ask, words } from './api.ts';
import { ask as question, asks, button, make, tell } from './dom.ts';
import { first } from './first.ts';
import { browser, since } from './signed-in-words.ts';

interface Session {
  id: string;
  current: boolean;
  since: string | null;
  expiresAt: string;
  browser: string | null;
}

export class SignedIn extends HTMLElement {
  readonly #say = make('p', { class: 'field-message setting', role: 'status', hidden: true });
  readonly #list = make('ul', { class: 'sessions', role: 'list' });

  connectedCallback(): void {
    const sessions = first<Session[]>(this);
    this.replaceChildren(this.#list, this.#say);
    if (sessions) this.#show(sessions);
    else void this.#load();
  }

  #show(sessions: Session[]): void {
    this.#list.replaceChildren(...sessions.map((session) => this.#row(session)));
    const others = sessions.filter(({ current }) => !current).length;
    if (others > 1) this.#list.append(make('li', { class: 'setting' }, make('p', {}, `${others} other sessions`), asks(button('signout', 'End all others…', () => void this.#all(others)))));
  }

  async #load(): Promise<void> {
    try {
      this.#show(await ask<Session[]>('GET', '/api/sessions'));
    } catch (error) {
      this.#told(words(error), 'bad');
    }
  }

  #row(session: Session): HTMLElement {
    const name = browser(session.browser);
    const time = session.since
      ? make('time', { datetime: session.since, title: session.since }, since(session.since, Date.now()))
      : 'Signed in before that was kept';
    const text = make('div', {}, make('h3', {}, name, session.current && ' ', session.current && make('span', { class: 'tag', 'data-tone': 'good' }, 'this browser')), make('p', {}, time));
    const end = asks(button('', 'End', () => void this.#end(session.id, name), `End the session of ${name}`));
    end.firstChild?.remove();
    return make('li', { class: 'setting' }, text, !session.current && end);
  }

  async #end(id: string, name: string): Promise<void> {
    try {
      await ask('DELETE', `/api/sessions/${id}`, {});
      this.#told(`Signed out of ${name}.`);
    } catch (error) {
      this.#told(words(error), 'bad');
    }
    await this.#load();
    this.#focus();
  }

  async #all(count: number): Promise<void> {
    const { answer } = await question({
      heading: `End ${count} other sessions?`,
      text: 'Those browsers are signed out at once, with their terminals’ connections. What runs in sandboxes goes on.',
      answers: [
        { text: 'Keep them', value: 'keep' },
        { text: 'End all others', value: 'end', danger: true },
      ],
    });
    if (answer !== 'end') return;
    try {
      const { ended } = await ask<{ ended: number }>('DELETE', '/api/sessions', {});
      this.#told(ended === 1 ? 'Signed out of 1 browser.' : `Signed out of ${ended} browsers.`);
    } catch (error) {
      this.#told(words(error), 'bad');
    }
    await this.#load();
    this.#focus();
  }

  /** The button that was used is gone. */
  #focus(): void {
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
