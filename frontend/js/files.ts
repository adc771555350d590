// `<fsa-files>`: the home folder of a sandbox as a tree, and the file that was chosen beside it. The page makes the
// element, with the API's address in `src`; this is all of what it does. The server draws what is seen first in the same way
// (server/src/http/first/files.rs).

import { ask, asks, button, icon, make, prose, refusal, tell } from './dom.ts';
import { Moves } from './file-moves.ts';
import { FileView } from './file-view.ts';
import { first } from './first.ts';
import { leads } from './leaving.ts';
import { followed } from './moves.ts';
import { news } from './notice.ts';
import { join, oneLine, parent, shown, wrongName, type Entry } from './paths.ts';
import { go } from './shortcuts.ts';
import { isFolder, listed, MOST_ROWS, step, Tree, typed, type Node } from './tree.ts';
import { Line } from './turns.ts';
import { ending, missed, UNREADABLE } from './upload-words.ts';
import { addressOf, dropped, guarded, send, sendBeside, sendNew, type Chosen, type Dropped, type Outcome } from './uploads.ts';
import { size } from './words.ts';

/** How long after a sandbox was found stopped the next look is. */
const AGAIN_MS = 2_000;
/** Letters that come faster are one beginning of a name. */
const TYPING_MS = 700;

export class Files extends HTMLElement {
  #base = '';
  readonly #tree = new Tree();
  #here: Node = this.#tree.root;
  #view!: FileView;
  readonly #rows = make('div', { class: 'file-tree', role: 'tree', 'aria-label': 'Files' });
  readonly #home = make('div', { class: 'file-home' }, icon('files'), 'Home folder');
  readonly #state = make('span', { class: 'state-note small', role: 'status' });
  readonly #uploads = make('ul', { class: 'file-uploads', 'aria-label': 'Uploads' });
  readonly #picker = make('input', { type: 'file', multiple: true, hidden: true, 'aria-label': 'Files to upload' });
  #said = '';
  #moves!: Moves;
  #letters = '';
  #lettersTimer: ReturnType<typeof setTimeout> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  readonly #line = new Line();
  /** What git says of them, below: it grows as it learns, and nothing moves by that. */
  #source: HTMLElement | undefined;
  readonly #leaving = (event: BeforeUnloadEvent): void => {
    if (this.#view.dirty) event.preventDefault();
  };
  readonly #following = (event: MouseEvent): void => {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || !this.#view.dirty || !leads(event, { href: link.href, target: link.target, download: link.hasAttribute('download') }, location.href)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    void this.#follow(link);
  };

  connectedCallback(): void {
    const sent = first<{ entries: Entry[] }>(this);
    this.#base = this.getAttribute('src') ?? '';
    this.#view = new FileView(
      this.#base,
      () => this.#back(),
      (address, folder) => this.#linked(address, folder as { entries: Entry[] }),
      () => void this.#read(this.#tree.root),
    );
    const tools = make(
      'div',
      { class: 'file-tools', role: 'toolbar', 'aria-label': 'Files' },
      asks(button('upload', 'Upload', () => this.#picker.click())),
      asks(button('plus', 'New file', () => void this.#new('file'))),
      asks(button('files', 'New folder', () => void this.#new('folder'))),
      asks(button('edit', '', () => void this.#move(), 'Move or rename…')),
      asks(button('trash', '', () => void this.#delete(), 'Delete')),
      button('reload', '', () => void this.#reload(), 'Read again'),
    );
    const side = make('div', { class: 'file-side' }, tools, this.#home, this.#rows, this.#uploads, make('div', { class: 'file-foot' }, this.#state), this.#picker);
    this.replaceChildren(side, this.#view.element);
    this.#rows.addEventListener('keydown', (event) => this.#key(event));
    this.#rows.addEventListener('click', (event) => this.#click(event));
    this.#picker.addEventListener('change', () => {
      const chosen = [...(this.#picker.files ?? [])].map((file) => ({ path: file.name, file }));
      this.#picker.value = '';
      this.#send(this.#folder(), { chosen, missing: [] });
    });
    this.#takesDrops();
    this.#moves = new Moves({
      base: this.#base,
      tree: this.#tree,
      rows: this.#rows,
      home: this.#home,
      say: (text) => this.#say(text),
      focus: () => this.#focus(),
      toggle: (folder) => this.#toggle(folder),
      version: (address) => (this.#view.address === address ? this.#view.version : null),
      moved: (from, to, version) => this.#moved(from, to, version),
    });
    this.#moves.listen(side);
    this.#source = document.createElement('fsa-source');
    this.#source.setAttribute('src', `${this.#base.replace('/api/sandbox/', '/api/projects/').replace(/\/files$/, '')}/repository`);
    this.after(this.#source);
    addEventListener('beforeunload', this.#leaving);
    addEventListener('click', this.#following, true);
    if (sent) {
      this.#tree.fill(this.#tree.root, sent.entries);
      this.#draw();
    } else {
      void this.#read(this.#tree.root).then(() => this.#draw());
    }
  }

  disconnectedCallback(): void {
    clearTimeout(this.#again);
    this.#moves.leave();
    this.#source?.remove();
    removeEventListener('beforeunload', this.#leaving);
    removeEventListener('click', this.#following, true);
    let dismiss = (): void => undefined;
    const kept = this.#view.leave(() => dismiss());
    if (kept === undefined) return;
    const name = shown(this.#view.address ?? '');
    dismiss = kept
      ? news({ title: `${name} is not saved`, text: 'What you typed is kept in this tab: open the file again to go on.', tone: 'warn' })
      : news({ title: `What you typed in ${name} is lost`, text: 'It was not saved, and the browser has no room to keep it.', tone: 'bad' });
  }

  /** Goes where a link leads, once what is typed may be left. */
  async #follow(link: HTMLAnchorElement): Promise<void> {
    if (!(await this.#mayLeave())) return;
    this.#view.clear();
    delete this.dataset['open'];
    // What is not in the page any more is followed by the browser alone.
    if (link.isConnected) link.click();
    else go(link.pathname + link.search + link.hash);
  }

  /** The folder that what is chosen is, or lies in. */
  #folder(): Node {
    return this.#here.kind === 'directory' ? this.#here : this.#tree.above(this.#here);
  }

  async #read(folder: Node): Promise<void> {
    clearTimeout(this.#again);
    const answer = await fetch(this.#base + folder.address, { headers: { accept: 'application/json' }, cache: 'no-store' }).catch(() => undefined);
    const entries = answer?.ok ? await listed(answer) : undefined;
    // Whoever has left is not asked for again.
    if (!this.isConnected) return;
    if (entries) {
      this.#tree.fill(folder, entries);
      if (folder === this.#tree.root) {
        this.#rest(false);
        this.#say('');
      }
      return;
    }
    const why = answer && !answer.ok ? await refusal(answer) : { message: 'The server does not answer.', next: '', code: 'away' };
    folder.wrong = `${why.message} ${why.next}`.trim();
    const rests = why.code === 'not-running';
    if (folder !== this.#tree.root) return rests ? this.#read(this.#tree.root) : undefined;
    if (rests) this.#rest(true);
    this.#say(rests && !this.#view.dirty ? '' : folder.wrong);
    if (['away', 'not-running', 'agent-silent', 'store-away', 'store-restarting', 'store-busy', 'store-full'].includes(why.code)) {
      this.#again = setTimeout(() => void this.#read(folder).then(() => this.#draw()), AGAIN_MS);
    }
  }

  /** Only a sandbox that runs has files to show and to change. The tree comes back by itself. */
  #rest(rests: boolean): void {
    const focused = this.contains(document.activeElement) ? document.activeElement : null;
    this.toggleAttribute('data-resting', rests);
    for (const tool of this.querySelectorAll<HTMLButtonElement>('.file-tools > [data-asks]')) tool.disabled = rests;
    this.#view.rest(rests);
    if (rests && !this.#view.dirty) delete this.dataset['open'];
    // From what is gone, hidden or disabled the focus goes to what is in its place.
    if (!focused || (focused.checkVisibility({ visibilityProperty: true }) && !focused.matches(':disabled'))) return;
    if (rests) return this.#view.focus();
    this.#draw();
    this.#focus();
  }

  async #reload(): Promise<void> {
    this.#say('Reading…');
    const open = [this.#tree.root, ...this.#tree.rows().filter((row) => row.open)];
    for (const folder of open) if (this.#tree.find(folder.address) === folder) await this.#read(folder);
    if (!this.#tree.root.wrong) this.#say('');
    this.#draw();
  }

  /** Makes the rows anew; the focus stays on its row. */
  #draw(): void {
    const rows = this.#tree.rows();
    if (!rows.includes(this.#here)) this.#here = this.#tree.find(this.#here.address) ?? rows[0] ?? this.#tree.root;
    const focused = this.#rows.contains(document.activeElement);
    const places = new Map<Node, [number, number]>();
    for (const folder of [this.#tree.root, ...rows]) {
      folder.children?.forEach((child, at) => places.set(child, [at + 1, folder.children?.length ?? 0]));
    }
    const first = rows.includes(this.#here) ? this.#here : rows[0];
    const made: HTMLElement[] = [];
    for (const row of rows) {
      made.push(this.#row(row, row === first, places.get(row) ?? [1, 1]));
      const empty = row.open && (row.wrong ?? (row.children?.length === 0 ? 'Empty' : undefined));
      const more = row.open && (row.children?.length ?? 0) > MOST_ROWS && `${MOST_ROWS} of ${row.children?.length} are shown.`;
      for (const text of [empty, more]) if (text) made.push(this.#aside(text, row));
    }
    if (rows.length === 0 && this.#tree.root.children) made.push(this.#aside('The home folder is empty.', this.#tree.root));
    if ((this.#tree.root.children?.length ?? 0) > MOST_ROWS) made.push(this.#aside(`${MOST_ROWS} of ${this.#tree.root.children?.length} are shown.`, this.#tree.root));
    this.#rows.replaceChildren(...made);
    if (focused) this.#focus();
  }

  #row(node: Node, first: boolean, [place, of]: [number, number]): HTMLElement {
    const folder = isFolder(node);
    const row = make(
      'div',
      {
        role: 'treeitem',
        class: 'file-row',
        draggable: 'true',
        tabindex: first ? '0' : '-1',
        'aria-level': String(node.level),
        'aria-posinset': String(place),
        'aria-setsize': String(of),
        'aria-selected': String(node === this.#here),
        'aria-expanded': folder ? String(node.open) : undefined,
        style: `--level:${node.level - 1}`,
      },
      make('span', { class: 'file-mark', 'aria-hidden': 'true' }, folder && icon('right')),
      make('bdi', { class: 'file-name mono' }, node.name),
      !folder && node.kind === 'file' && make('span', { class: 'file-size' }, size(node.size)),
      node.kind === 'symlink' && make('span', { class: 'file-size' }, 'link'),
    );
    row.dataset['address'] = node.address;
    return row;
  }

  /** What is said in a folder. */
  #aside(text: string, { address, level }: Node): HTMLElement {
    const aside = make('div', { role: 'treeitem', class: 'file-aside', 'aria-disabled': 'true', 'aria-level': String(level + 1), style: `--level:${level}` }, prose(text));
    aside.dataset['within'] = address;
    return aside;
  }

  #click(event: MouseEvent): void {
    const node = this.#at(event.target);
    if (!node) return;
    this.#choose(node);
    void this.#open(node);
  }

  #at(target: EventTarget | null): Node | undefined {
    const address = (target as HTMLElement | null)?.closest<HTMLElement>('[data-address]')?.dataset['address'];
    return address === undefined ? undefined : this.#tree.find(address);
  }

  #choose(node: Node): void {
    this.#here = node;
    this.#draw();
    this.#focus();
  }

  async #open(node: Node): Promise<void> {
    if (isFolder(node)) return this.#toggle(node);
    if (this.#view.address === node.address && this.#view.dirty) {
      this.dataset['open'] = '';
      return;
    }
    if (!(await this.#mayLeave())) return;
    this.dataset['open'] = '';
    await this.#view.open(node.address);
    if (getComputedStyle(this.#rows).visibility === 'hidden' || this.#rows.offsetParent === null) {
      this.#view.element.querySelector<HTMLElement>('.file-back')?.focus();
    }
  }

  async #toggle(node: Node): Promise<void> {
    node.open = !node.open;
    if (node.open && !node.children) {
      this.#draw();
      await this.#read(node);
    }
    this.#draw();
  }

  /** What was opened as a file is a link to a folder. */
  #linked(address: string, { entries }: { entries: Entry[] }): void {
    const node = this.#tree.find(address);
    if (node) {
      this.#tree.fill(node, entries);
      node.open = true;
    }
    this.#view.clear();
    this.#back();
  }

  #back(): void {
    delete this.dataset['open'];
    this.#draw();
    this.#focus();
  }

  async #mayLeave(): Promise<boolean> {
    if (!this.#view.dirty) return true;
    const name = shown(this.#view.address ?? '');
    const { answer } = await ask({
      heading: `Leave ${name} without saving?`,
      text: 'What you typed is lost.',
      local: true,
      answers: [
        { text: 'Keep editing', value: 'stay' },
        { text: 'Leave it', value: 'leave', danger: true },
      ],
    });
    return answer === 'leave';
  }

  #key(event: KeyboardEvent): void {
    const rows = this.#tree.rows();
    // The row that has the focus, however it came there.
    this.#here = this.#at(event.target) ?? this.#here;
    const at = rows.includes(this.#here) ? this.#here : rows[0];
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === 'z') {
      event.preventDefault();
      return void this.#moves.undo();
    }
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    const done = step(rows, at, event.key);
    if (done) {
      if (done.toggle) void this.#toggle(at);
      else if (done.to) this.#choose(done.to);
    } else if (event.key === 'Enter' || event.key === ' ') {
      this.#here = at;
      void this.#open(at);
    } else if (event.key === 'F2') {
      void this.#move();
    } else if (event.key === 'Delete') {
      void this.#delete();
    } else if ([...event.key].length === 1) {
      clearTimeout(this.#lettersTimer);
      this.#lettersTimer = setTimeout(() => (this.#letters = ''), TYPING_MS);
      this.#letters += event.key;
      const to = typed(rows, at, this.#letters);
      if (to) this.#choose(to);
    } else {
      return;
    }
    // Single keys of the page are not meant here.
    event.stopPropagation();
    event.preventDefault();
  }

  async #new(kind: 'file' | 'folder'): Promise<void> {
    const folder = this.#folder();
    const { answer, texts } = await ask({
      heading: kind === 'file' ? 'New file' : 'New folder',
      text: folder === this.#tree.root ? 'In the home folder.' : `In ${shown(folder.address)}.`,
      answers: [
        { text: 'Cancel', value: 'no' },
        { text: 'Make it', value: 'yes' },
      ],
      fields: [{ label: 'Name', value: '', wrong: wrongName }],
    });
    if (answer !== 'yes') return;
    const address = join(folder.address, texts[0] ?? '');
    const made =
      kind === 'file'
        ? await this.#tell('PUT', address, { 'if-none-match': '*' })
        : await this.#tell('PUT', `${address}?mkdir=1`, {});
    if (!made) return;
    await this.#shows(folder, address);
    const node = this.#tree.find(address);
    if (node && kind === 'file') await this.#open(node);
  }

  async #move(): Promise<void> {
    if (this.#here !== this.#tree.root) await this.#moves.ask(this.#here);
  }

  /** Something is elsewhere: what is open follows it, and both folders are read again. */
  async #moved(from: string, to: string, version: string | null): Promise<void> {
    const open = this.#view.address;
    const follows = followed(open, from, to);
    if (follows !== undefined) this.#view.renamed(follows, open === from ? version : null);
    const left = this.#tree.find(parent(from));
    if (left && parent(from) !== parent(to)) await this.#read(left);
    await this.#shows(await this.#reach(parent(to)), to);
  }

  /** The folder of an address, with those above it read and open; the last one that is there where it is not. */
  async #reach(address: string): Promise<Node> {
    for (let folder = this.#tree.root; ; ) {
      if (folder.address === address) return folder;
      const below = (): Node | undefined => folder.children?.find((child) => address === child.address || address.startsWith(`${child.address}/`));
      if (!below()) await this.#read(folder);
      const next = below();
      if (!next) return folder;
      folder.open = true;
      folder = next;
    }
  }

  async #delete(): Promise<void> {
    const node = this.#here;
    if (node === this.#tree.root) return;
    const folder = node.kind === 'directory';
    const { answer } = await ask({
      heading: `Delete ${node.name}?`,
      text: folder ? 'The folder and all that is in it are deleted. They cannot be brought back.' : 'The file cannot be brought back.',
      answers: [
        { text: folder ? 'Keep the folder' : 'Keep the file', value: 'no' },
        { text: folder ? 'Delete the folder' : 'Delete the file', value: 'yes', danger: true },
      ],
    });
    if (answer !== 'yes') return;
    const rows = this.#tree.rows();
    const beside = rows[rows.indexOf(node) - 1] ?? this.#tree.root;
    const above = this.#tree.above(node);
    if (!(await this.#tell('DELETE', `${node.address}${folder ? '?recursive=1' : ''}`, {}))) return;
    const open = this.#view.address;
    if (open === node.address || open?.startsWith(`${node.address}/`)) {
      this.#view.clear();
      delete this.dataset['open'];
    }
    await this.#shows(above, beside.address);
    this.#say(`${node.name} was deleted.`);
  }

  /** Asks for a change; says why where it was refused. */
  async #tell(method: string, address: string, headers: Record<string, string>): Promise<boolean> {
    const answer = await fetch(this.#base + address, { method, headers }).catch(() => undefined);
    if (answer?.ok) {
      this.#say('');
      return true;
    }
    const why = answer ? await refusal(answer) : { message: 'The server does not answer.', next: 'Try again in a moment.', code: 'away' };
    this.#say(`${why.message} ${why.next}`);
    if (why.code === 'not-running') void this.#read(this.#tree.root);
    return false;
  }

  /** Reads a folder again, and chooses what is in it. */
  async #shows(folder: Node, address: string): Promise<void> {
    folder.open = true;
    await this.#read(folder);
    this.#here = this.#tree.find(address) ?? folder;
    this.#draw();
    this.#focus();
  }

  #say(text: string): void {
    // The same again is not announced again.
    if (this.#said !== text) tell(this.#state, (this.#said = text));
  }

  #focus(): void {
    this.#rows.querySelector<HTMLElement>('[tabindex="0"]')?.focus();
  }

  #takesDrops(): void {
    const over = (event: DragEvent): void => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = this.hasAttribute('data-resting') ? 'none' : 'copy';
      if (event.dataTransfer.dropEffect === 'none') return;
      this.dataset['dropping'] = '';
    };
    this.addEventListener('dragenter', over);
    this.addEventListener('dragover', over);
    this.addEventListener('dragleave', (event) => {
      if (!this.contains(event.relatedTarget as HTMLElement | null)) delete this.dataset['dropping'];
    });
    this.addEventListener('drop', (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      delete this.dataset['dropping'];
      const node = this.#at(event.target);
      const folder = node ? (node.kind === 'directory' ? node : this.#tree.above(node)) : this.#folder();
      dropped(event.dataTransfer).then(
        (found) => this.#send(folder, found),
        () => this.#say('Nothing was uploaded. The browser could not read what was dropped.'),
      );
    });
  }

  /** One after another, behind those that are on their way. */
  #send(folder: Node, { chosen, missing }: Dropped): void {
    const failed = [...missing];
    let done = 0;
    if (missing.length > 0) this.#unread(missed(chosen.length + missing.length, missing));
    for (const one of chosen) {
      const stop = new AbortController();
      const bar = make('progress', { max: '1', value: '0', 'aria-label': `Uploading ${oneLine(one.path)}` });
      const told = make('span', { class: 'small', role: 'status' }, 'Waiting');
      const end = button('close', '', () => (stop.signal.aborted || told.dataset['over'] !== undefined ? item.remove() : stop.abort()), `Stop ${oneLine(one.path)}`);
      const item = make('li', {}, make('span', { class: 'mono file-name' }, oneLine(one.path)), bar, told, end);
      this.#uploads.append(item);
      const progress = (share: number): void => {
        bar.value = share;
        told.textContent = `${Math.floor(share * 100)} % of ${size(one.file.size)}`;
      };
      const over = (why?: string): void => {
        if (why !== undefined) failed.push({ name: one.path, why });
        told.dataset['over'] = '';
        told.textContent = why === undefined ? 'Not uploaded' : `Not uploaded: ${why}`;
        end.setAttribute('aria-label', `Take ${oneLine(one.path)} off the list`);
        bar.hidden = true;
      };
      const upload = async (): Promise<void> => {
        const outcome = await this.#upload(folder, one, progress, stop.signal);
        if (outcome.kind !== 'done') return over(outcome.kind === 'failed' ? outcome.message : undefined);
        done += 1;
        item.remove();
        this.#say(`${oneLine(one.path)} was uploaded.`);
      };
      void guarded(this.#line.add(upload, () => over(UNREADABLE)));
    }
    const after = async (): Promise<void> => {
      const of = done + failed.length;
      if (!this.isConnected) {
        if (of > 0) news(ending(of, failed, shown(folder.address) || 'the home folder'));
        return;
      }
      folder.open = true;
      await this.#read(folder);
      this.#draw();
    };
    void guarded(this.#line.add(after, () => undefined));
  }

  /** Says beside the uploads what cannot be one. */
  #unread(text: string): void {
    const item = make('li', {}, make('span', { class: 'small', role: 'alert' }, text), button('close', '', () => item.remove(), 'Take it off the list'));
    this.#uploads.append(item);
  }

  async #upload(folder: Node, { path, file }: Chosen, progress: (share: number) => void, stop: AbortSignal): Promise<Outcome> {
    const address = addressOf(folder.address, path);
    const url = this.#base + address;
    let outcome = await sendNew(url, file, progress, stop);
    if (outcome.kind !== 'exists') return outcome;
    const name = path.split('/').at(-1) ?? path;
    const { answer } = await ask({
      heading: `Replace ${oneLine(path)}?`,
      text: 'There is a file of this name already.',
      answers: [
        { text: 'Keep it', value: 'no' },
        { text: 'Keep both', value: 'both' },
        { text: 'Replace it', value: 'replace', danger: true },
      ],
    });
    if (answer === 'replace') outcome = await send(url, file, true, progress, stop);
    else if (answer === 'both') outcome = (await sendBeside(this.#base, parent(address), name, file, progress, stop)).outcome;
    else outcome = { kind: 'cancelled' };
    return outcome;
  }
}
