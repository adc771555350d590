// `<fsa-preview>`: what the preview's pane does beside showing a port: the address can be typed, the frame made as wide
// as a phone, and where the browser does not find the preview, that is said.
//
// The page opens previews: it gives the field the preview's address (`value`) and port, and enters at the path that the
// field has in `data-next`. So an address is opened by setting that, and loading the preview again.

import { pathOf } from './address.ts';
import { button, icon, make } from './dom.ts';

/** Kept for the session: each tab has its own. */
const PHONE = 'fsa.preview-phone';
/** A frame that does not find its page may tell nobody, and is looked at after so long; and then again. */
const LOOK_MS = 5_000;
/** Where the browser got once, it finds the way. */
const found = new Set<string>();

export class Preview extends HTMLElement {
  readonly #phone = button('device', '', () => this.#widen(!this.#narrow), 'Phone width');
  readonly #said = make('p', {});
  readonly #note = make('div', { class: 'banner banner-strip preview-over', role: 'alert', hidden: true }, icon('warning'), this.#said);
  /** What the field shows is not yet asked for. */
  #typing = false;
  /** What is wrong with what was typed. */
  #wrong = '';
  /** Why there is nothing in the frame. */
  #lost = '';
  #left: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  connectedCallback(): void {
    this.#phone.dataset['kind'] = 'quiet';
    this.#phone.classList.add('phone-width');
    this.#widen(sessionStorage.getItem(PHONE) !== null);
    this.replaceChildren(this.#phone, this.#note);
    const { signal } = (this.#left = new AbortController());
    const [field, frame] = [this.#field, this.#frame];
    if (!field || !frame) return;
    field.addEventListener('input', () => this.#type(), { signal });
    field.addEventListener('keydown', (event) => this.#key(event), { signal });
    const port = () => field.dataset['port'];
    let of = port();
    const typed = new MutationObserver(() => {
      if (of !== port()) {
        of = port();
        this.#typing = false;
        this.#lost = '';
        delete field.dataset['next'];
      }
      this.#show();
    });
    typed.observe(field, { attributeFilter: ['value', 'data-port'] });
    // Some browsers say that a frame is loaded where it shows an error of theirs, others say nothing.
    frame.addEventListener('load', () => this.#lookIn(0), { signal });
    const shown = new MutationObserver(() => this.#lookIn(LOOK_MS));
    shown.observe(frame, { attributeFilter: ['hidden'] });
    signal.addEventListener('abort', () => [typed, shown].forEach((observer) => observer.disconnect()));
  }

  disconnectedCallback(): void {
    this.#left?.abort();
    clearTimeout(this.#timer);
  }

  get #pane(): Element | null {
    return this.closest('.preview-pane');
  }

  get #field(): HTMLInputElement | null | undefined {
    return this.#pane?.querySelector<HTMLInputElement>('.address input');
  }

  get #frame(): HTMLIFrameElement | null | undefined {
    return this.#pane?.querySelector('iframe');
  }

  get #reload(): HTMLElement | null | undefined {
    return this.#pane?.querySelector<HTMLElement>('[aria-label="Reload preview"]');
  }

  get #narrow(): boolean {
    return this.#phone.getAttribute('aria-pressed') === 'true';
  }

  /** The style goes by what the button says. */
  #widen(narrow: boolean): void {
    this.#phone.setAttribute('aria-pressed', String(narrow));
    if (narrow) sessionStorage.setItem(PHONE, '1');
    else sessionStorage.removeItem(PHONE);
  }

  /** Where the preview is, unless something else is being typed. */
  #show(): void {
    const field = this.#field;
    if (!field || this.#typing) return;
    const { defaultValue: address } = field;
    field.value = address && field.dataset['next'] ? new URL(field.dataset['next'], address).href : address;
    this.#say('');
  }

  #say(wrong = this.#wrong): void {
    this.#wrong = wrong;
    this.#said.textContent = wrong || this.#lost;
    this.#note.dataset['tone'] = wrong ? 'bad' : 'warn';
    this.#note.hidden = this.#said.textContent === '';
    if (wrong) this.#field?.setAttribute('aria-invalid', 'true');
    else this.#field?.removeAttribute('aria-invalid');
  }

  #type(): void {
    this.#typing = true;
    this.#say('');
  }

  #key(event: KeyboardEvent): void {
    if (event.isComposing || (event.key !== 'Enter' && event.key !== 'Escape')) return;
    event.preventDefault();
    if (event.key === 'Enter') return this.#open();
    this.#typing = false;
    this.#show();
  }

  #open(): void {
    const field = this.#field;
    if (!field) return;
    const { defaultValue: address, dataset, value } = field;
    const path = address ? pathOf(value, address) : undefined;
    if (path === undefined) {
      const where = address ? ` Here only addresses at ${new URL(address).host} are opened; another port is chosen beside the address.` : '';
      return this.#say(`This is no address of this preview.${where}`);
    }
    dataset['next'] = path;
    this.#typing = false;
    this.#show();
    const reload = this.#reload;
    if (reload?.getAttribute('aria-disabled')) this.#say(`Nothing listens on port ${dataset['port']}: it opens when something does.`);
    else reload?.click();
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), ms);
  }

  /** The origin of what the frame shows, or is to show. */
  get #origin(): string {
    const address = this.#field?.defaultValue;
    return address && this.#frame?.hidden === false ? new URL(address).origin : '';
  }

  /** Whether the browser gets to the preview. Where the whole server is away, the page says so. */
  async #look(): Promise<void> {
    const origin = this.#origin;
    const signal = this.#left?.signal;
    if (origin === '' || found.has(origin) || !signal || signal.aborted) return;
    const answers = (address: string, mode: RequestMode) =>
      fetch(address, { mode, credentials: 'omit', cache: 'no-store', signal }).then(
        () => true,
        () => false,
      );
    const there = await answers(`${origin}/.fsa/here`, 'no-cors');
    const away = !there && (await answers('/healthz', 'same-origin'));
    if (signal.aborted || origin !== this.#origin) return;
    const before = this.#lost;
    if (there) found.add(origin);
    else this.#lookIn(LOOK_MS);
    this.#lost = there ? '' : away ? unfound(new URL(origin)) : before;
    if (this.#lost !== before) this.#say();
    if (there && before) this.#reload?.click();
  }
}

/** What may help where a browser does not get to a preview. */
function unfound({ host, hostname }: URL): string {
  const says = `This browser does not get to ${host}, where the preview is.`;
  // A port of another host, which was set up so.
  if (!/^\d+--/.test(hostname)) return `${says} That is where the server has them by --preview-listen: a firewall or a tunnel may leave the port out.`;
  const why = hostname.endsWith('.localhost') ? 'Not every browser finds names that end in .localhost.' : 'Names below its domain have to lead here.';
  return `${says} ${why} Started with --preview-listen, the server gives previews ports in place of names.`;
}
