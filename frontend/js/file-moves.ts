// Moving in the tree of files: a row is dragged onto a folder, or a dialog takes a name and a folder. Nothing is written over,
// and the last move can be undone.

import { ask, refusal } from './dom.ts';
import { fit, folderAt, folders, nameIn, within, wrongFolder } from './moves.ts';
import { notice } from './notice.ts';
import { freeName, join, oneLine, parent, shown, wrongName } from './paths.ts';
import { isFolder, type Node, type Tree } from './tree.ts';

/** How long the pointer rests on a folder until it opens. */
const REST_MS = 700;
/** What is dragged, so that nothing else is taken for it. */
const TYPE = 'application/x-fsa-file';
/** Names that are tried beside one that is taken. */
const MOST_TRIED = 200;

/** What moves have to know of the page, and do to it. */
export interface Page {
  base: string;
  tree: Tree;
  /** Has the rows, with `data-address`; what stands for nothing of its own has the folder that it is in as `data-within`. */
  rows: HTMLElement;
  /** Stands for the home folder. */
  home: HTMLElement;
  say(text: string): void;
  focus(): void;
  toggle(folder: Node): Promise<void>;
  /** The version of a file that is open as it was read. */
  version(address: string): string | null;
  /** Something is elsewhere; `version` is a file's own, where it is known to be as it was read. */
  moved(from: string, to: string, version: string | null): Promise<void>;
}

/** What became of one: where it is, or why it stayed. */
type Outcome = { version: string | null } | { code: string; why: string };

export class Moves {
  readonly #page: Page;
  #dragged: Node | undefined;
  #target: HTMLElement | undefined;
  #resting: Node | undefined;
  #rest: ReturnType<typeof setTimeout> | undefined;
  #last: { from: string; to: string } | undefined;
  #dismiss: (() => void) | undefined;

  constructor(page: Page) {
    this.#page = page;
  }

  /** Listens to what is dragged within an element that has the rows and the home folder. */
  listen(element: HTMLElement): void {
    this.#page.rows.addEventListener('dragstart', (event) => this.#start(event));
    element.addEventListener('dragenter', (event) => this.#over(event));
    element.addEventListener('dragover', (event) => this.#over(event));
    element.addEventListener('dragleave', (event) => {
      if (!element.contains(event.relatedTarget as HTMLElement | null)) this.#mark(undefined);
    });
    element.addEventListener('drop', (event) => this.#drop(event));
    element.addEventListener('dragend', () => this.#end());
    // A row that was drawn anew under the pointer is not told that its drag is over. No pointer moves while one is.
    element.addEventListener('pointermove', (event) => {
      if (this.#dragged && event.buttons === 0) this.#end();
    });
  }

  /** Ends what is under way; the page is left. */
  leave(): void {
    this.#end();
    this.#dismiss?.();
  }

  #start(event: DragEvent): void {
    const address = event.target instanceof HTMLElement ? event.target.dataset['address'] : undefined;
    const node = address === undefined ? undefined : this.#page.tree.find(address);
    if (!node || !event.dataTransfer) return;
    this.#dragged = node;
    event.dataTransfer.effectAllowed = 'move';
    event.dataTransfer.setData(TYPE, this.#page.base + node.address);
    event.dataTransfer.setData('text/plain', shown(node.address));
  }

  #over(event: DragEvent): void {
    const node = this.#dragged;
    if (!node || !event.dataTransfer?.types.includes(TYPE)) return;
    const folder = this.#folderAt(event.target);
    const fits = folder && fit(node.address, folder.address);
    this.#mark(fits === 'fits' ? folder : undefined);
    this.#restOn(fits === 'itself' ? undefined : folder);
    if (fits === 'fits') {
      event.preventDefault();
      event.dataTransfer.dropEffect = 'move';
    }
    this.#page.say(fits === 'itself' && isFolder(node) ? itself(node) : '');
  }

  #drop(event: DragEvent): void {
    const node = this.#dragged;
    const data = event.dataTransfer?.getData(TYPE);
    if (!data) return;
    event.preventDefault();
    const folder = this.#folderAt(event.target);
    this.#end();
    // Not what is dragged from another page.
    if (!node || !folder || data !== this.#page.base + node.address || fit(node.address, folder.address) !== 'fits') return;
    void this.#into(node, folder);
  }

  #end(): void {
    this.#dragged = undefined;
    this.#mark(undefined);
    this.#restOn(undefined);
  }

  /** The folder that something at a place goes to: a folder itself, of a file the one that has it, and else the home folder. */
  #folderAt(target: EventTarget | null): Node | undefined {
    const { tree, rows, home } = this.#page;
    const place = target instanceof Element ? target : undefined;
    if (!place || (!rows.contains(place) && !home.contains(place))) return undefined;
    const row = place.closest<HTMLElement>('[data-address], [data-within]');
    const node = tree.find(row?.dataset['address'] ?? row?.dataset['within'] ?? '') ?? tree.root;
    return isFolder(node) ? node : tree.above(node);
  }

  #mark(folder: Node | undefined): void {
    const { rows, home, tree } = this.#page;
    const row = folder && (folder === tree.root ? home : [...rows.children].find((row) => (row as HTMLElement).dataset['address'] === folder.address));
    if (this.#target !== row) delete this.#target?.dataset['drop'];
    this.#target = row as HTMLElement | undefined;
    if (this.#target) this.#target.dataset['drop'] = '';
  }

  /** Opens a folder that is closed and that the pointer rests on. */
  #restOn(folder: Node | undefined): void {
    if (folder === this.#resting) return;
    clearTimeout(this.#rest);
    this.#resting = folder;
    if (folder && !folder.open) this.#rest = setTimeout(() => !folder.open && void this.#page.toggle(folder), REST_MS);
  }

  async #into(node: Node, folder: Node): Promise<void> {
    const to = within(folder.address, node.address);
    const outcome = await this.#send(node.address, to);
    if ('version' in outcome) return this.#done(node.address, to, outcome.version);
    if (outcome.code !== 'exists') return this.#page.say(`Not moved: ${outcome.why}`);
    const { answer } = await ask({
      heading: `${node.name} is taken`,
      text: `${folder === this.#page.tree.root ? 'The home folder' : shown(folder.address)} has something of this name already. Nothing was moved.`,
      answers: [
        { text: 'Leave it where it was', value: 'no' },
        { text: 'Keep both', value: 'both' },
      ],
    });
    if (answer === 'both') await this.#beside(node.address, to);
  }

  /** Under a name that nothing has. */
  async #beside(from: string, to: string): Promise<void> {
    // Of the name as it is encoded: its last dot is one there as well.
    const taken = new Set([nameIn(to)]);
    for (;;) {
      const free = freeName(nameIn(to), taken);
      const address = join(parent(to), '', free.replaceAll(' ', '%20'));
      const outcome = await this.#send(from, address);
      if ('version' in outcome) return this.#done(from, address, outcome.version);
      if (outcome.code !== 'exists' || taken.size > MOST_TRIED) return this.#page.say(`Not moved: ${outcome.why}`);
      taken.add(free);
    }
  }

  /** Asks for a name and a folder. */
  async ask(node: Node): Promise<void> {
    const known = folders(this.#page.tree.root);
    const folder = parent(node.address);
    let done = undefined as { to: string; version: string | null } | undefined;
    await ask({
      heading: `Move or rename ${node.name}`,
      text: '',
      answers: [
        { text: 'Leave it', value: 'no' },
        { text: 'Move or rename', value: 'yes' },
      ],
      fields: [
        { label: 'Name', value: node.name, wrong: wrongName },
        {
          label: 'Folder',
          value: shown(folder),
          hint: 'The path from the home folder on; nothing is the home folder itself.',
          choices: [...known.keys()].filter((path) => path !== ''),
          wrong: wrongFolder,
        },
      ],
      attempt: async ([name = '', where = '']) => {
        const into = where === shown(folder) ? folder : folderAt(where, known);
        // A name that no text can hold is kept where it was not changed.
        const to = join(into, name, name === node.name ? nameIn(node.address) : undefined);
        if (to === node.address) return undefined;
        if (fit(node.address, into) === 'itself') return { field: 1, why: itself(node) };
        const outcome = await this.#send(node.address, to);
        if ('version' in outcome) done = { to, version: outcome.version };
        else return { field: ['exists', 'bad-path'].includes(outcome.code) ? 0 : 1, why: outcome.why };
        return undefined;
      },
    });
    if (done) await this.#done(node.address, done.to, done.version);
  }

  /** Takes the last one back. */
  async undo(): Promise<void> {
    const last = this.#last;
    if (!last) return;
    this.#last = undefined;
    this.#dismiss?.();
    const outcome = await this.#send(last.to, last.from);
    if (!('version' in outcome)) return this.#page.say(`Not undone: ${outcome.why}`);
    await this.#page.moved(last.to, last.from, outcome.version);
    this.#page.say(`${nameOf(last.from)} is back.`);
  }

  async #done(from: string, to: string, version: string | null): Promise<void> {
    this.#last = { from, to };
    await this.#page.moved(from, to, version);
    this.#dismiss?.();
    const here = parent(from) === parent(to);
    const where = parent(to) === '' ? 'To the home folder.' : `To ${shown(parent(to))}.`;
    this.#dismiss = notice(
      here ? `${nameOf(from)} was renamed` : `${nameOf(from)} was moved`,
      here ? `It is ${nameOf(to)} now.` : nameIn(from) === nameIn(to) ? where : `${where} It is ${nameOf(to)} now.`,
      () => void this.undo(),
      () => this.#page.focus(),
    );
  }

  async #send(from: string, to: string): Promise<Outcome> {
    // One parameter, in which a slash between names may stand as it is.
    const address = `${this.#page.base}${from}?to=${to.slice(1)}`;
    const post = (headers: Record<string, string>) => fetch(address, { method: 'POST', headers }).catch(() => undefined);
    const read = this.#page.version(from);
    const answer = await post(read === null ? {} : { 'if-match': read });
    if (answer?.ok) return { version: answer.headers.get('etag') };
    const why = await said(answer);
    if (read === null || why.code !== 'changed') return why;
    // Somebody wrote to the file that is open: it moves all the same, and who saves it sees both versions.
    const again = await post({});
    return again?.ok ? { version: null } : said(again);
  }
}

async function said(answer: Response | undefined): Promise<{ code: string; why: string }> {
  if (!answer) return { code: 'away', why: 'The server does not answer. Try again in a moment.' };
  const { code, message, next } = await refusal(answer);
  return { code, why: `${message} ${next}`.trim() };
}

function itself(node: Node): string {
  return `${node.name} cannot be moved into itself. Choose a folder that is not in it.`;
}

/** The last name of an address, for a person. */
function nameOf(address: string): string {
  return oneLine(shown(`/${nameIn(address)}`));
}
