// `<fsa-source src="…/repository">`: the project's repository beside its files: what has changed, a commit, a push; and where
// there is none, a folder that becomes a new one at GitHub.

import { ask, button, connect, make, Refused, words } from './api.ts';
import { asks, prose, tell, when } from './dom.ts';
import { proposed, summary, type Status } from './source-words.ts';

interface Publication {
  folder: string;
  name: string;
  owner: string | null;
  visibility: 'private' | 'public';
  state: 'waiting' | 'working' | 'done' | 'failed';
  url: string | null;
  progress: string | null;
  failure: { message: string; nextSteps: string[]; detail: string | null } | null;
}

interface GitHub {
  configured: boolean;
  account: { login: string; state: string } | null;
}

/** How often what has changed is looked at while the page is seen. */
const LOOK_MS = 15_000;
/** How often a publication that is under way is. */
const STEP_MS = 1_000;

/** Chosen where the organization is none of those listed; no name has a slash. */
const ANOTHER = '/';

let ids = 0;

export class Source extends HTMLElement {
  #stop: AbortController | undefined;
  #github: GitHub | undefined;
  #busy = false;
  #publication: Publication | null = null;
  /** What is shown, so that a look which finds the same changes nothing: the focus stays, and nothing is announced again. */
  #drawn = '';
  #step: ReturnType<typeof setTimeout> | undefined;
  readonly #state = make('p', 'small');
  readonly #said = make('div', 'source-said small');
  readonly #body = make('div', 'stack stack-tight');
  readonly #message = make('input', 'input');
  readonly #seen = (): void => {
    if (document.visibilityState === 'visible') void this.#look();
  };

  get #src(): string {
    return this.getAttribute('src') ?? '';
  }

  connectedCallback(): void {
    this.className = 'panel source';
    this.setAttribute('role', 'region');
    this.setAttribute('aria-label', 'Repository');
    this.#state.setAttribute('role', 'status');
    this.#state.textContent = 'Looking…';
    this.#drawn = '';
    this.#said.setAttribute('role', 'alert');
    this.#said.dataset['tone'] = 'bad';
    this.#message.id = `fsa-message-${++ids}`;
    this.#message.maxLength = 10_000;
    this.#message.autocomplete = 'off';
    this.#message.placeholder = 'What has changed';
    this.#message.addEventListener('input', () => this.#say());
    const again = button('Look again', () => void this.#look());
    again.classList.add('push-end');
    this.replaceChildren(
      make('div', 'panel-head', make('h2', '', 'Repository'), again),
      make('div', 'panel-body stack stack-tight', this.#state, this.#body, this.#said),
    );
    const stop = (this.#stop = new AbortController());
    document.addEventListener('visibilitychange', this.#seen, { signal: stop.signal });
    void this.#look();
    const timer = setInterval(this.#seen, LOOK_MS);
    stop.signal.addEventListener('abort', () => {
      clearInterval(timer);
      clearTimeout(this.#step);
    });
  }

  disconnectedCallback(): void {
    this.#stop?.abort();
  }

  #say(error?: unknown): void {
    this.#said.replaceChildren();
    if (error === undefined) return;
    if (!(error instanceof Refused)) return void this.#said.append(make('p', '', String(error)));
    this.#said.append(make('p', '', prose(error.message)), make('ul', 'steps', ...error.steps.map((step) => make('li', '', prose(step)))));
  }

  /** Whether this is another thing than what is shown, as which it counts from now on. */
  #differs(...what: unknown[]): boolean {
    const now = JSON.stringify(what);
    if (now === this.#drawn) return false;
    this.#drawn = now;
    return true;
  }

  async #look(): Promise<void> {
    if (this.#busy) return;
    const signal = this.#stop?.signal;
    try {
      const status = await ask<Status>('GET', `${this.#src}/status`, undefined, signal);
      const before = this.#publication?.state;
      // One that is done is no news any more.
      if (before !== 'done') this.#publication = await ask<Publication | null>('GET', `${this.#src}/publication`, undefined, signal);
      const { state, failure } = this.#publication ?? {};
      if (status.url !== null) {
        if (this.#publication && (state === 'waiting' || state === 'working')) return this.#underWay(this.#publication);
        this.#repository(status);
        if (before !== state && state === 'failed' && failure) this.#failed(failure);
        return;
      }
      this.#github ??= await ask<GitHub>('GET', '/api/github', undefined, signal);
      this.#none(status);
    } catch (error) {
      if (signal?.aborted || !this.#differs('wrong', words(error))) return;
      tell(this.#state, words(error));
      this.#body.replaceChildren();
    }
  }

  #repository(status: Status): void {
    if (!this.#differs('repository', status)) return;
    this.#state.replaceChildren(make('span', 'mono', (status.url ?? '').replace(/\.git$/, '')), ` · ${summary(status, when)}`);
    const label = make('label', 'field-label', 'Message');
    label.htmlFor = this.#message.id;
    const commit = asks(button('Commit', () => void this.#commit(false)));
    const both = asks(button('Commit and push', () => void this.#commit(true)));
    both.dataset['kind'] = 'primary';
    const push = asks(button('Push', () => void this.#push()));
    const unpushed = status.commit !== null && (status.ahead === null || status.ahead > 0);
    push.disabled = !unpushed;
    const rows = status.changes.map(({ path, kind }) => {
      const tag = make('span', 'tag', kind);
      if (kind === 'conflict') tag.dataset['tone'] = 'bad';
      return make('li', 'row', tag, make('bdi', 'mono', path));
    });
    if (status.more) rows.push(make('li', 'quiet', 'There are more.'));
    const list = make('ul', 'source-changes', ...rows);
    list.setAttribute('aria-label', 'Changes');
    // What can be scrolled can be reached by keyboard.
    list.tabIndex = 0;
    const focus = this.#body.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined;
    const changed = status.changes.length > 0;
    const parts: HTMLElement[] = [];
    if (changed) parts.push(list, make('div', 'field', label, this.#message));
    parts.push(make('div', 'row', ...(changed ? [both, commit] : []), push));
    this.#body.replaceChildren(...parts);
    if (focus === this.#message && changed) this.#message.focus();
    else if (focus?.matches('.source-changes') && changed) list.focus();
    else if (focus && !focus.isConnected) [...this.#body.querySelectorAll('button')].find((one) => one.textContent === focus.textContent && !one.disabled)?.focus();
  }

  /** Runs one thing at a time, and says what it is. */
  async #do(doing: string, work: () => Promise<Status | undefined>): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    this.#drawn = '';
    this.#say();
    const before = [...this.#state.childNodes];
    this.#state.textContent = doing;
    try {
      const status = await work();
      this.#busy = false;
      if (status) this.#repository(status);
      else await this.#look();
    } catch (error) {
      this.#busy = false;
      this.#drawn = '';
      this.#state.replaceChildren(...before);
      this.#say(error);
      // A commit may be there whose push was refused.
      await this.#look();
    }
  }

  async #commit(push: boolean): Promise<void> {
    const message = this.#message.value.trim();
    if (message === '') {
      this.#say(new Refused('A commit needs a message.', '', ['Say what has changed.']));
      return this.#message.focus();
    }
    await this.#do(push ? 'Committing and pushing…' : 'Committing…', async () => {
      const status = await ask<Status>('POST', `${this.#src}/commit`, { message });
      this.#message.value = '';
      return push ? await ask<Status>('POST', `${this.#src}/push`, {}) : status;
    });
  }

  async #push(): Promise<void> {
    await this.#do('Pushing…', () => ask<Status>('POST', `${this.#src}/push`, {}));
  }

  /** There is no repository: one can be made. */
  #none(status: Status): void {
    const of = this.#publication;
    if (of && (of.state === 'waiting' || of.state === 'working')) return this.#underWay(of);
    if (!this.#differs('none', status, of, this.#github)) return;
    this.#say();
    if (of?.state === 'failed' && of.failure) this.#failed(of.failure);
    if (!this.#github?.configured) {
      this.#state.textContent = 'This project has no repository, and this installation is not set up for GitHub.';
      return this.#body.replaceChildren();
    }
    const account = this.#github.account;
    if (!account || account.state === 'revoked') {
      this.#state.textContent = 'This project has no repository. To make one of a folder, connect GitHub.';
      const go = button('Connect GitHub', () => void connect(location.pathname).catch((error) => this.#say(error)));
      return this.#body.replaceChildren(make('div', 'row', go));
    }
    this.#state.textContent =
      status.folders.length > 0
        ? 'This project has no repository. A folder in its home can become one.'
        : 'This project has no repository. Make a folder with your files in it, and it can become one.';
    const open = button(of?.state === 'failed' ? 'Try again…' : 'Publish to GitHub…', () => this.#dialog(status, account.login));
    open.disabled = status.folders.length === 0;
    this.#body.replaceChildren(make('div', 'row', open));
  }

  #failed({ message, nextSteps, detail }: NonNullable<Publication['failure']>): void {
    this.#say(new Refused(message, '', nextSteps));
    if (detail) this.#said.append(make('pre', 'small', detail));
  }

  #underWay(of: Publication): void {
    if (this.#differs('under way', of)) {
      this.#say();
      this.#state.textContent = `Publishing ~/${of.folder} as ${of.name}: ${of.progress ?? 'begins'}…`;
      this.#body.replaceChildren();
    }
    clearTimeout(this.#step);
    this.#step = setTimeout(() => this.isConnected && void this.#look(), STEP_MS);
  }

  #dialog(status: Status, login: string): void {
    const of = this.#publication?.state === 'failed' ? this.#publication : null;
    const id = ++ids;
    const field = (name: string, control: HTMLElement, hint?: string): HTMLElement => {
      control.id = `fsa-publish-${name}-${id}`;
      const label = make('label', 'field-label', name);
      label.htmlFor = control.id;
      const whole = make('div', 'field', label, control);
      if (hint) {
        const text = make('p', 'field-hint', hint);
        text.id = `${control.id}-hint`;
        control.setAttribute('aria-describedby', text.id);
        whole.append(text);
      }
      return whole;
    };
    const text = (value: string, most: number): HTMLInputElement => {
      const input = make('input', 'input');
      [input.value, input.maxLength, input.autocomplete, input.spellcheck] = [value, most, 'off', false];
      return input;
    };
    const folder = make('select', 'input');
    for (const one of status.folders) folder.append(new Option(one.name, one.name));
    const usual = status.folders.find(({ repository }) => repository) ?? status.folders[0];
    folder.value = of && status.folders.some(({ name }) => name === of.folder) ? of.folder : (usual?.name ?? '');
    const name = text(of?.name ?? proposed(folder.value), 100);
    folder.addEventListener('change', () => (name.value = proposed(folder.value)));
    const owner = make('select', 'input');
    owner.append(new Option(login, ''), new Option('Another organization…', ANOTHER));
    const offer = (organization: string): void => {
      const known = [...owner.options].some((one) => one.text.toLowerCase() === organization.toLowerCase());
      if (!known) owner.add(new Option(organization, organization), owner.options.length - 1);
    };
    if (of?.owner && of.owner.toLowerCase() !== login.toLowerCase()) {
      offer(of.owner);
      owner.value = of.owner;
    }
    const another = text('', 39);
    const typed = field('Organization', another, 'As it stands in the addresses of its repositories.');
    typed.hidden = true;
    owner.addEventListener('change', () => (typed.hidden = owner.value !== ANOTHER));
    const visibility = make('select', 'input');
    visibility.append(new Option('Private', 'private'), new Option('Public: everybody sees it', 'public'));
    visibility.value = of?.visibility ?? 'private';
    const message = text('First commit', 10_000);
    const wrong = make('p', 'field-message');
    wrong.dataset['tone'] = 'bad';
    wrong.setAttribute('role', 'alert');
    const cancel = make('button', 'button', 'Cancel');
    cancel.type = 'button';
    const publish = asks(make('button', 'button', 'Publish'));
    publish.type = 'submit';
    publish.dataset['kind'] = 'primary';
    const title = make('h2', '', 'Publish to GitHub');
    title.id = `fsa-publish-${id}`;
    const form = make(
      'form',
      '',
      make(
        'div',
        'dialog-body stack',
        field('Folder', folder, 'Becomes the repository. Where it has no .gitignore, one is made that leaves out node_modules, .env and what builds make.'),
        field('Repository name', name),
        field('Owner', owner, 'Your account, or an organization.'),
        typed,
        field('Visibility', visibility),
        field('Message', message, 'Of the commit of what is not committed yet.'),
        wrong,
      ),
      make('div', 'dialog-foot', cancel, publish),
    );
    form.noValidate = true;
    const dialog = make('dialog', 'dialog', make('div', 'dialog-head', title), form);
    dialog.setAttribute('aria-labelledby', title.id);
    cancel.addEventListener('click', () => dialog.close());
    const closed = new AbortController();
    dialog.addEventListener('close', () => {
      closed.abort();
      dialog.remove();
    });
    // Without them, a name can be typed.
    void ask<{ organizations: string[] }>('GET', '/api/github/repositories', undefined, closed.signal).then(
      ({ organizations }) => organizations.forEach(offer),
      () => undefined,
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      wrong.textContent = '';
      const organization = owner.value === ANOTHER ? another.value.trim() : owner.value;
      if (owner.value === ANOTHER && organization === '') {
        wrong.textContent = 'Say which organization.';
        return another.focus();
      }
      const wish = {
        folder: folder.value,
        name: name.value.trim(),
        visibility: visibility.value,
        message: message.value,
        ...(organization ? { owner: organization } : {}),
      };
      publish.disabled = true;
      void ask<Publication>('POST', `${this.#src}/publication`, wish).then(
        (begun) => {
          dialog.close();
          if (begun.state === 'done') void this.#look();
          else this.#underWay(begun);
        },
        (error) => {
          publish.disabled = false;
          tell(wrong, words(error));
        },
      );
    });
    document.body.append(dialog);
    dialog.showModal();
    name.focus();
  }
}
