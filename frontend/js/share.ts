// `<fsa-share project="ID">`: who may open the preview that its pane shows. The port is the one in the pane's
// address. What is shared is read as the page comes, for the button and the marks in the picker of ports; how this port is,
// each time that the popover opens.

import { asks, button, icon, make, refusal, tell, when } from './dom.ts';
import { copy } from './insecure.ts';
import { type Audience, label, lasting, type SharedPort } from './share-words.ts';

interface View {
  audience: Audience;
  expiresAt?: string;
  url?: string;
  applicationUrl?: string;
}

const WORDS: Record<Audience, [string, string]> = {
  private: ['Private', 'You alone.'],
  users: ['Signed-in users', 'Everybody who can sign in here.'],
  link: ['Public link', 'Whoever has the link, until it expires.'],
};
const HOURS: [string, string][] = [
  ['1', '1 hour'],
  ['24', '1 day'],
  ['168', '7 days'],
  ['720', '30 days'],
];

/** How it is shared, beside what is chosen. */
function said({ audience, expiresAt }: View): string {
  if (audience === 'private') return '';
  if (audience === 'link') return expiresAt ? `The link works until ${when(expiresAt)}.` : '';
  return `Open to everybody who is signed in${expiresAt ? `, until ${when(expiresAt)}` : ''}.`;
}

export class Share extends HTMLElement {
  readonly #opener = button('share', '', () => this.#toggle(), 'Share preview');
  readonly #panel = make('div', { class: 'menu share-panel', role: 'dialog', 'aria-label': 'Share preview', hidden: true });
  readonly #state = make('p', { class: 'small', role: 'status' });
  #shares: SharedPort[] = [];
  /** Until the next of them is over. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Another port is shown, or the picker opens. */
  readonly #watch = new MutationObserver(() => this.#mark());
  #outside = (event: Event): void => {
    if (!this.contains(event.target as HTMLElement)) this.#close(false);
  };

  connectedCallback(): void {
    this.#opener.dataset['kind'] = 'quiet';
    this.#opener.setAttribute('aria-haspopup', 'dialog');
    this.#opener.setAttribute('aria-expanded', 'false');
    this.replaceChildren(this.#opener, this.#panel);
    this.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !this.#panel.hidden) {
        event.stopPropagation();
        this.#close(true);
      }
    });
    const address = this.#pane?.querySelector('.address');
    if (address) this.#watch.observe(address, { subtree: true, childList: true, attributeFilter: ['data-port', 'hidden'] });
    void this.#list();
  }

  disconnectedCallback(): void {
    this.#watch.disconnect();
    clearTimeout(this.#timer);
    removeEventListener('pointerdown', this.#outside);
  }

  get #pane(): Element | null {
    return this.closest('.preview-pane');
  }

  get #field(): HTMLInputElement | null | undefined {
    return this.#pane?.querySelector<HTMLInputElement>('.address input');
  }

  /** The preview's own, whatever is typed there. */
  get #address(): string {
    return this.#field?.defaultValue ?? '';
  }

  /** Where it is refused nothing is marked: the popover says why. */
  async #list(): Promise<void> {
    const answer = await fetch(`/api/projects/${this.getAttribute('project')}/shares`).catch(() => undefined);
    if (!answer?.ok) return;
    this.#shares = await answer.json();
    this.#mark();
  }

  /** How a port is by now. */
  #note(port: string, { audience, expiresAt }: View): void {
    const others = this.#shares.filter((share) => String(share.port) !== port);
    this.#shares = audience === 'private' ? others : [...others, { port: Number(port), audience, expiresAt }];
    this.#mark();
  }

  /** Of the picker only while it is open: until then the page may not have taken it over. */
  #mark(): void {
    const { shares, again } = lasting(this.#shares, Date.now());
    clearTimeout(this.#timer);
    if (again !== undefined && this.isConnected) this.#timer = setTimeout(() => this.#mark(), again);
    const of = (port: string | null | undefined) => shares.find((share) => String(share.port) === port);
    const shown = of(this.#field?.dataset['port']);
    const name = label(shown, when);
    if (this.#opener.title !== name) {
      this.#opener.replaceChildren(icon('share'), ...(shown ? ['Shared'] : []));
      this.#opener.title = name;
      this.#opener.setAttribute('aria-label', name);
      this.#opener.dataset['tone'] = shown ? 'warn' : '';
      this.#opener.dataset['shape'] = shown ? '' : 'icon';
    }
    for (const item of this.#pane?.querySelectorAll('.address .menu:not([hidden]) [role=menuitemradio]') ?? []) {
      const [is, mark] = [of(item.querySelector('.mono')?.textContent), item.querySelector('.tag')];
      if (is && !mark) item.append(make('span', { class: 'tag', 'data-tone': 'warn' }, 'shared'));
      else if (!is) mark?.remove();
    }
  }

  #toggle(): void {
    if (!this.#panel.hidden) return this.#close(true);
    this.#panel.hidden = false;
    this.#opener.setAttribute('aria-expanded', 'true');
    addEventListener('pointerdown', this.#outside);
    void this.#read();
  }

  #close(focus: boolean): void {
    this.#panel.hidden = true;
    this.#opener.setAttribute('aria-expanded', 'false');
    removeEventListener('pointerdown', this.#outside);
    if (focus) this.#opener.focus();
  }

  async #ask(port: string, method: string, body?: object): Promise<View | undefined> {
    const headers = body ? { 'content-type': 'application/json' } : undefined;
    const init = { method, headers, body: body && JSON.stringify(body) };
    const answer = await fetch(`/api/projects/${this.getAttribute('project')}/ports/${port}/share`, init).catch(() => undefined);
    if (answer?.ok) return answer.json();
    const why = answer ? await refusal(answer) : { message: 'The server does not answer.', next: 'Try again in a moment.' };
    tell(this.#state, `${why.message} ${why.next}`);
    return undefined;
  }

  async #read(): Promise<void> {
    // Not of the address: that of a preview on a port of the server does not have it.
    const port = this.#field?.dataset['port'];
    if (!port || !this.#address) {
      this.#panel.replaceChildren(make('p', { class: 'small' }, 'There is no address of a preview to share.'));
      return;
    }
    this.#state.textContent = 'Reading…';
    this.#panel.replaceChildren(this.#state);
    const view = await this.#ask(port, 'GET');
    if (view) this.#show(port, view);
  }

  #show(port: string, view: View): void {
    this.#note(port, view);
    this.#state.textContent = said(view);
    const choices = (Object.keys(WORDS) as Audience[]).map((audience) => {
      const [name, about] = WORDS[audience];
      const input = make('input', { type: 'radio', name: 'share', value: audience, checked: audience === view.audience });
      input.addEventListener('change', () => (hours.hidden = input.value !== 'link'));
      return make('label', { class: 'choice' }, input, make('span', { class: 'choice-name' }, name), make('small', {}, about));
    });
    const select = make('select', { class: 'input', 'aria-label': 'The link works for' }, ...HOURS.map(([value, text]) => new Option(text, value, value === '24', value === '24')));
    const hours = make('div', { hidden: view.audience !== 'link' }, select);
    const set = asks(button('check', view.audience === 'link' ? 'Set, or make a new link' : 'Set', () => void this.#set(port, select.value)));
    set.dataset['kind'] = 'primary';
    const copy = button('copy', 'Copy address', () => void this.#copy(this.#address, 'Address copied.'));
    const made = view.url !== undefined && this.#link(view.url, 'Public link', 'Copy the link now: it is not shown again.');
    const own = view.applicationUrl !== undefined && this.#link(view.applicationUrl, 'Link to the application', 'The same for the application’s own address.');
    this.#panel.replaceChildren(
      make('p', { class: 'menu-title' }, `Who may open port ${port}`),
      make('div', { role: 'radiogroup', 'aria-label': `Who may open port ${port}`, class: 'stack stack-tight' }, ...choices),
      hours,
      ...(made ? [made] : []),
      ...(own ? [own] : []),
      this.#state,
      make('div', { class: 'row' }, copy, set),
    );
    this.#panel.querySelector<HTMLElement>(made ? '.share-copy' : ':checked')?.focus();
  }

  /** A link is told once. */
  #link(url: string, name: string, about: string): HTMLElement {
    const copy = button('copy', 'Copy link', () => void this.#copy(url, 'Link copied.'));
    copy.classList.add('share-copy');
    return make(
      'div',
      { class: 'banner', 'data-tone': 'info' },
      icon('link'),
      make('div', {}, make('p', {}, about), make('input', { class: 'input mono', readonly: true, value: url, 'aria-label': name })),
      copy,
    );
  }

  async #set(port: string, hours: string): Promise<void> {
    const audience = this.#panel.querySelector<HTMLInputElement>('input[name=share]:checked')?.value ?? 'private';
    this.#state.textContent = 'Saving…';
    const body = audience === 'link' ? { audience, expiresInHours: Number(hours) } : { audience };
    const view = await this.#ask(port, 'PUT', body);
    if (!view) return;
    this.#show(port, view);
    if (view.audience === 'private') this.#state.textContent = 'Private.';
  }

  async #copy(text: string, done: string): Promise<void> {
    this.#state.textContent = (await copy(text)) ? done : 'The browser did not let this page copy: select it and copy it.';
  }
}
