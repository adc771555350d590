// `<fsa-github>`: the account at GitHub, in the settings: connected or not, whether GitHub still takes our
// access, and the ways to change it. Where the installation is not set up for GitHub, there is nothing. It is as high from the
// beginning as with what it finds (style/screens/forms.css): nothing below moves. The server draws what is seen first in the same
// way (server/src/http/first/github.rs).

import { ask, button, connect, hasGitHub, make, words } from './api.ts';
import { ask as question, asks, tell } from './dom.ts';
import { first } from './first.ts';
import { CloneProgress, RepositoryChoice } from './repository.ts';

interface Account {
  login: string;
  connectedAt: string;
  scopes: string[];
  state: 'working' | 'revoked' | 'unknown';
  message?: string;
  canDisconnect: boolean;
}

interface GitHub {
  host?: string;
  grantsUrl?: string;
  account: Account | null;
}

export function define(): void {
  customElements.define('fsa-github', GitHubAccount);
  customElements.define('fsa-repository', RepositoryChoice);
  customElements.define('fsa-clone', CloneProgress);
}

class GitHubAccount extends HTMLElement {
  connectedCallback(): void {
    this.hidden = !hasGitHub();
    if (this.hidden) return;
    this.setAttribute('role', 'region');
    this.setAttribute('aria-label', 'GitHub');
    const known = first<GitHub>(this);
    this.#show(known ? this.#row(known) : make('div', 'setting', make('p', '', 'Looking…')));
    // Whether GitHub still takes it is not in our tables.
    if (!known || known.account?.state === 'unknown') void this.#look();
  }

  async #look(): Promise<void> {
    try {
      this.#show(this.#row(await ask<GitHub>('GET', '/api/github')));
    } catch (error) {
      const again = button('Try again', () => void this.#look());
      this.#show(setting('GitHub could not be asked', words(error), again));
    }
  }

  #show(row: HTMLElement): void {
    const head = make('div', 'panel-head', make('h2', '', 'GitHub'));
    const said = make('p', 'panel-body small');
    said.setAttribute('role', 'alert');
    said.hidden = true;
    this.replaceChildren(head, row, said);
  }

  #row({ account, host, grantsUrl }: GitHub): HTMLElement {
    const go = (text: string) => asks(button(text, () => void this.#do(() => connect('/settings#github'))));
    if (!account) {
      const why = `Projects then start from your repositories at ${host ?? 'GitHub'}, private ones too.`;
      return setting('Not connected', why, go('Connect GitHub'));
    }
    const since = new Date(account.connectedAt).toLocaleDateString([], { dateStyle: 'long' });
    const buttons: HTMLElement[] = [];
    if (grantsUrl) {
      const link = make('a', 'button', 'Look at GitHub');
      link.dataset['size'] = 'small';
      link.href = grantsUrl;
      link.rel = 'noreferrer';
      link.target = '_blank';
      buttons.push(link);
    }
    if (account.state === 'revoked') buttons.push(go('Connect again'));
    if (account.canDisconnect) buttons.push(asks(button('Disconnect…', () => void this.#disconnect(account.login))));
    const title = account.state === 'revoked' ? `No longer connected as ${account.login}` : `Connected as ${account.login}`;
    const state = { working: `Since ${since}. GitHub takes it.`, revoked: account.message, unknown: account.message }[account.state];
    const row = setting(title, state ?? '', ...buttons);
    const tags = account.scopes.map((scope) => make('span', 'tag', scope));
    if (tags.length > 0) row.firstElementChild?.append(make('p', 'row', 'What this app may do:', ...tags));
    return row;
  }

  async #disconnect(login: string): Promise<void> {
    const { answer } = await question({
      heading: `Disconnect ${login}?`,
      text: 'Projects stay. Private repositories can no longer be cloned or pushed to from here.',
      answers: [
        { text: 'Stay connected', value: '' },
        { text: 'Disconnect', value: 'disconnect', danger: true },
      ],
    });
    if (!answer) return;
    await this.#do(async () => {
      await ask('DELETE', '/api/github');
      await this.#look();
      this.querySelector('button')?.focus();
    });
  }

  async #do(work: () => Promise<void>): Promise<void> {
    const said = this.querySelector<HTMLElement>('[role=alert]');
    if (said) said.hidden = true;
    try {
      await work();
    } catch (error) {
      if (!said) return;
      tell(said, words(error));
      said.hidden = false;
    }
  }
}

function setting(title: string, text: string, ...buttons: HTMLElement[]): HTMLElement {
  return make('div', 'setting', make('div', '', make('h3', '', title), make('p', '', text)), make('div', 'row', ...buttons));
}
