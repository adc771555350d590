// `<fsa-github>`: the account at GitHub, in the settings: connected or not, whether GitHub still takes our
// access, and the ways to change it. Where the installation is not set up for GitHub, there is nothing.

import { ask, button, make, words } from './api.ts';
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
  configured: boolean;
  host?: string;
  grantsUrl?: string;
  account: Account | null;
}

export function define(): void {
  customElements.define('fsa-github', GitHubAccount);
  customElements.define('fsa-repository', RepositoryChoice);
  customElements.define('fsa-clone', CloneProgress);
}

/** Goes to GitHub, and comes back to `next`. */
export async function connect(next: string): Promise<void> {
  const { url } = await ask<{ url: string }>('POST', '/api/github/connect', { next });
  location.assign(url);
}

class GitHubAccount extends HTMLElement {
  connectedCallback(): void {
    this.hidden = true;
    this.setAttribute('role', 'region');
    this.setAttribute('aria-label', 'GitHub');
    void this.#look();
  }

  async #look(): Promise<void> {
    try {
      const github = await ask<GitHub>('GET', '/api/github');
      this.hidden = !github.configured;
      this.#show(...this.#rows(github));
    } catch (error) {
      this.hidden = false;
      const again = button('Try again', () => void this.#look());
      this.#show(setting('GitHub could not be asked', words(error), again));
    }
    // The page may have been opened at this very place, before it was there.
    if (location.hash === '#github' && !this.hidden) this.scrollIntoView();
  }

  #show(...rows: HTMLElement[]): void {
    const head = make('div', 'panel-head', make('h2', '', 'GitHub'));
    const said = make('p', 'panel-body small');
    said.setAttribute('role', 'alert');
    said.hidden = true;
    this.replaceChildren(head, ...rows, said);
  }

  #rows({ account, host, grantsUrl }: GitHub): HTMLElement[] {
    const go = (text: string) => button(text, () => void this.#do(() => connect('/settings#github')));
    if (!account) {
      const why = `Projects then start from your repositories at ${host ?? 'GitHub'}, private ones too.`;
      return [setting('Not connected', why, go('Connect GitHub'))];
    }
    const since = new Date(account.connectedAt).toLocaleDateString([], { dateStyle: 'long' });
    const buttons: HTMLElement[] = [];
    if (account.state === 'revoked') buttons.push(go('Connect again'));
    if (account.canDisconnect) buttons.push(button('Disconnect…', () => void this.#disconnect(account.login)));
    const title = account.state === 'revoked' ? `No longer connected as ${account.login}` : `Connected as ${account.login}`;
    const state = { working: `Since ${since}. GitHub takes it.`, revoked: account.message, unknown: account.message }[account.state];
    const rows = [setting(title, state ?? '', ...buttons)];
    if (account.scopes.length > 0) {
      const tags = account.scopes.map((scope) => make('span', 'tag', scope));
      const text = make('p', 'row', ...tags);
      const row = make('div', 'setting', make('div', '', make('h3', '', 'What this app may do'), text));
      if (grantsUrl) {
        const link = make('a', 'button', 'Look at GitHub');
        link.dataset['size'] = 'small';
        link.href = grantsUrl;
        link.rel = 'noreferrer';
        link.target = '_blank';
        row.append(link);
      }
      rows.push(row);
    }
    return rows;
  }

  async #disconnect(login: string): Promise<void> {
    const text = `Disconnect ${login}?\n\nProjects stay. Private repositories can no longer be cloned or pushed to from here.`;
    if (!confirm(text)) return;
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
      said.textContent = words(error);
      said.hidden = false;
    }
  }
}

function setting(title: string, text: string, ...buttons: HTMLElement[]): HTMLElement {
  return make('div', 'setting', make('div', '', make('h3', '', title), make('p', '', text)), make('div', 'row', ...buttons));
}
