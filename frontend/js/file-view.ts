// One file: shown, edited and saved. A save names the version that was read; where somebody wrote meanwhile, both
// are shown and one is chosen.

import { asks, button, icon, make, prose, refusal, tell } from './dom.ts';
import { drafts, type Draft } from './drafts.ts';
import { MOST_SHOWN_BYTES, pictureType, read, shown, written } from './paths.ts';
import { resting } from './resting.ts';
import { oneAtATime } from './turns.ts';
import { size } from './words.ts';

/** What is shown of a file: `lead` is the line above it. */
export class FileView {
  readonly element = make('section', { class: 'file-view', 'aria-label': 'File' });
  readonly #base: string;
  readonly #back: () => void;
  readonly #listed: (address: string, folder: unknown) => void;
  readonly #stopped: () => void;
  #address: string | undefined;
  #version: string | null = null;
  #ends: '\n' | '\r\n' = '\n';
  #saved = '';
  #field: HTMLTextAreaElement | undefined;
  #picture: string | undefined;
  #stop: AbortController | undefined;
  #late: (() => void) | undefined;
  /** Of the file that is open: a second one while the first is under way would name a version that is over. */
  #save = (): Promise<void> => Promise.resolve();

  /** `listed` is called where what was opened is a folder: a link to one; `stopped` where the sandbox turns out not to run. */
  constructor(base: string, back: () => void, listed: (address: string, folder: unknown) => void, stopped: () => void) {
    this.#base = base;
    this.#back = back;
    this.#listed = listed;
    this.#stopped = stopped;
    this.clear();
  }

  get address(): string | undefined {
    return this.#address;
  }

  /** Whether something was typed that is not saved. */
  get dirty(): boolean {
    return this.#field !== undefined && this.#field.value !== this.#saved;
  }

  /**
   * Keeps what was typed and is not saved, as its page is left: whether it could be; `undefined` where there is none. `saved` is called where a save
   * that is under way saves all of it after that.
   */
  leave(saved: () => void): boolean | undefined {
    this.#stop?.abort();
    const draft = this.#draft();
    if (!draft || this.#address === undefined) return undefined;
    this.#late = saved;
    return drafts.keep(this.#base + this.#address, draft);
  }

  /** What was typed and is not saved. */
  #draft(): Draft | undefined {
    return this.#field && this.dirty ? { version: this.#version, text: this.#field.value } : undefined;
  }

  clear(): void {
    this.#stop?.abort();
    this.#address = undefined;
    this.#version = null;
    this.#show(make('div', { class: 'empty-state fill' }, make('p', {}, 'Choose a file to see it, or drop files here to upload them.')));
  }

  /** Says in the file's place that the sandbox does not run, or no more. What was typed and is not saved stays. */
  rest(rests: boolean): void {
    const said = this.element.querySelector<HTMLElement>(':scope > .resting');
    if (!rests) {
      if (said) this.clear();
      return;
    }
    if (this.dirty) return;
    resting(said, 'Its files are kept, and are shown here while it runs.', (element) => {
      this.clear();
      this.#show(element);
    });
  }

  /** To what can be done while the sandbox rests: start it, read that it starts, or go on typing. */
  focus(): void {
    const found = this.element.querySelector<HTMLElement>('.resting .button, .file-text') ?? this.element.querySelector<HTMLElement>('.resting h2');
    found?.focus();
  }

  /** The version that was read, and that a save replaces. */
  get version(): string | null {
    return this.#version;
  }

  /** The file has another name, by which it has another version as well: `version`, where it is known to be as it was read. */
  renamed(address: string, version: string | null): void {
    this.#address = address;
    this.#version = version ?? this.#version;
    this.#field?.setAttribute('aria-label', `Content of ${shown(address)}`);
    const title = this.element.querySelector<HTMLElement>('.file-title');
    if (title) [title.textContent, title.title] = [shown(address), shown(address)];
    this.element.querySelector<HTMLAnchorElement>('a[download]')?.setAttribute('href', this.#base + address);
  }

  async open(address: string): Promise<void> {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#address = address;
    this.#version = null;
    this.#frame(address, 'Reading…');
    try {
      // The file's length comes first: what is too long is not fetched.
      const answer = await fetch(this.#base + address, { signal: stop.signal, cache: 'no-cache' });
      if (!answer.ok) {
        const { message, next, code } = await refusal(answer);
        this.#frame(address, '', note('warning', message, next));
        if (code === 'not-running') this.#stopped();
        return;
      }
      if (answer.headers.get('content-type')?.startsWith('application/json')) {
        this.#listed(address, await answer.json());
        return;
      }
      this.#version = answer.headers.get('etag');
      const bytes = Number(answer.headers.get('content-length') ?? 0);
      const picture = pictureType(address);
      const limit = picture ? 16 * MOST_SHOWN_BYTES : MOST_SHOWN_BYTES;
      if (bytes > limit) {
        stop.abort();
        this.#frame(address, size(bytes), note('info', `${size(bytes)} are too much to show here.`, 'Download it, or look at it in a terminal.'));
        return;
      }
      const content = new Uint8Array(await answer.arrayBuffer());
      if (!stop.signal.aborted) this.#content(address, content, picture);
    } catch {
      if (!stop.signal.aborted) this.#frame(address, '', note('warning', 'The server does not answer.', 'Try again in a moment.'));
    }
  }

  #content(address: string, bytes: Uint8Array<ArrayBuffer>, picture: string | undefined): void {
    const about = size(bytes.length);
    if (picture) {
      this.#picture = URL.createObjectURL(new Blob([bytes], { type: picture }));
      const image = make('img', { src: this.#picture, alt: shown(address) });
      image.addEventListener('error', () => image.replaceWith(note('info', 'This is no picture that the browser can show.', 'Download it.')));
      const box = make('div', { class: 'file-picture', tabindex: '0', role: 'group', 'aria-label': 'Picture' }, image);
      const edit = picture === 'image/svg+xml' && button('edit', 'Edit as text', () => this.#content(address, bytes, undefined));
      this.#frame(address, about, box, edit ? [edit] : []);
      return;
    }
    const content = read(bytes);
    if (content === 'binary') {
      this.#frame(address, about, note('info', 'This is not text: it is not shown here.', 'Download it, or look at it in a terminal.'));
      return;
    }
    const field = make('textarea', {
      class: 'file-text mono',
      spellcheck: 'false',
      autocapitalize: 'off',
      autocomplete: 'off',
      wrap: 'off',
      'aria-label': `Content of ${shown(address)}`,
      readonly: content.ends === 'mixed',
    });
    // A first line that is empty would be dropped from an element's text, and not from its value.
    field.value = content.text;
    if (content.ends === 'mixed') {
      this.#frame(address, about, note('info', 'Its lines end in different ways, which an edit here would change.', 'Edit it in a terminal.'), [], field);
      return;
    }
    this.#ends = content.ends;
    const save = asks(button('check', 'Save', () => void this.#save()));
    save.dataset['kind'] = 'primary';
    save.setAttribute('aria-keyshortcuts', 'Control+S');
    const changed = (): void => {
      save.setAttribute('aria-disabled', String(!this.dirty));
      this.#say(this.dirty ? 'Not saved yet' : about);
    };
    field.addEventListener('input', changed);
    field.addEventListener('keydown', (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 's') {
        event.preventDefault();
        // A key that is held asks once.
        if (!event.repeat) void this.#save();
      }
    });
    const kept = drafts.take(this.#base + address);
    const draft = kept?.text === field.value ? undefined : kept;
    const restored = draft && this.#restored(address);
    this.#frame(address, about, restored ?? field, [save], restored && field);
    this.#field = field;
    // Anew: a save of another file that does not end holds up none of this one.
    this.#save = oneAtATime(() => this.#write());
    this.#saved = field.value;
    if (draft) {
      field.value = draft.text;
      // A save names the version of then: where somebody wrote meanwhile, both are shown.
      this.#version = draft.version ?? this.#version;
    }
    changed();
  }

  /** Says that what was typed before is here again, and takes it away. */
  #restored(address: string): HTMLElement {
    const discard = asks(button('trash', 'Discard it', () => void this.open(address).then(() => this.focus())));
    return make('div', { class: 'file-bar file-draft' }, make('span', { class: 'small', role: 'status' }, 'What you typed here before and did not save is back.'), discard);
  }

  /** Says whether what was typed until now is saved. */
  async #write(): Promise<boolean> {
    const field = this.#field;
    const address = this.#address;
    if (!field || address === undefined || !this.dirty) return true;
    const text = field.value;
    const over = this.#version;
    this.#say('Saving…');
    const headers = { 'content-type': 'application/octet-stream', ...(over === null ? {} : { 'if-match': over }) };
    const answer = await fetch(this.#base + address, { method: 'PUT', headers, body: written(text, this.#ends) }).catch(() => undefined);
    // Another file is open, whose saves wait for none of this one.
    if (this.#field !== field) return false;
    if (!answer) {
      this.#say('Not saved: the server does not answer. Try again in a moment.');
      return false;
    }
    if (answer.ok) {
      this.#version = answer.headers.get('etag');
      this.#saved = text;
      this.element.querySelector('.file-conflict')?.remove();
      this.element.querySelector('.file-draft')?.remove();
      field.dispatchEvent(new Event('input'));
      // Its page was left meanwhile: what is still to be saved was typed over this version.
      if (!this.element.isConnected && drafts.saved(this.#base + address, this.#draft())) this.#late?.();
      if (!this.dirty) this.#say('Saved');
      return true;
    }
    const { message, next, code, versions } = await refusal(answer);
    if (code === 'changed') await this.#conflict(field, versions?.current ?? null);
    else this.#say(`Not saved: ${message} ${next}`);
    if (code === 'not-running') this.#stopped();
    return false;
  }

  /** Both versions, and which is to be kept. */
  async #conflict(field: HTMLTextAreaElement, current: string | null): Promise<void> {
    const address = this.#address ?? '';
    const answer = current === null ? undefined : await fetch(this.#base + address, { cache: 'no-cache' }).catch(() => undefined);
    const bytes = answer?.ok ? await answer.arrayBuffer().catch(() => undefined) : undefined;
    const content = bytes && read(new Uint8Array(bytes));
    const theirs = content === 'binary' ? 'It is not text any more.' : (content?.text ?? '');
    const seen = answer?.headers.get('etag') ?? current;
    if (this.#field !== field) return;
    this.element.querySelector('.file-conflict')?.remove();
    const mine = asks(
      button('check', current === null ? 'Make it again' : 'Replace it with mine', () => {
        this.#version = seen;
        void this.#save();
      }),
    );
    const take = button('reload', current === null ? 'Let it go' : 'Take the other', () => {
      if (current === null) this.clear();
      else void this.open(address);
    });
    const panel = make(
      'div',
      { class: 'file-conflict', 'data-tone': 'warn', role: 'alertdialog', 'aria-labelledby': 'conflict-title' },
      make(
        'h3',
        { id: 'conflict-title' },
        current === null ? 'The file was deleted since you read it.' : 'The file was changed since you read it.',
      ),
      make('p', {}, 'Nothing was saved. What you typed is in the field below.'),
      current !== null && make('details', { open: true }, make('summary', {}, 'What is there now'), make('pre', { class: 'code-block mono', tabindex: '0' }, theirs)),
      make('div', { class: 'row' }, take, mine),
    );
    field.before(panel);
    this.#say('Not saved');
    take.focus();
  }

  #say(text: string): void {
    const state = this.element.querySelector('.file-state');
    if (state) tell(state, text);
  }

  #frame(address: string, state: string, body?: HTMLElement, tools: HTMLElement[] = [], more?: HTMLElement): void {
    const back = button('back', '', this.#back, 'Back to the tree');
    back.classList.add('file-back');
    const download = make('a', { class: 'button', 'data-size': 'small', href: this.#base + address, download: true, 'aria-label': 'Download' });
    download.append(icon('download'), 'Download');
    this.#show(
      make(
        'div',
        { class: 'file-bar' },
        back,
        make('h2', { class: 'file-title mono', title: shown(address) }, shown(address)),
        make('span', { class: 'file-state state-note small', role: 'status' }, state),
        ...tools,
        download,
      ),
      ...(body ? [body] : []),
      ...(more ? [more] : []),
    );
  }

  #show(...children: HTMLElement[]): void {
    this.#field = undefined;
    if (this.#picture) URL.revokeObjectURL(this.#picture);
    this.#picture = undefined;
    this.element.replaceChildren(...children);
  }
}

function note(glyph: string, what: string, next: string): HTMLElement {
  return make('div', { class: 'empty-state' }, make('span', { class: 'empty-glyph' }, icon(glyph)), make('p', { role: 'status' }, prose(what)), next !== '' && make('p', {}, prose(next)));
}
