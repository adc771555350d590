// Files that are dropped or pasted into a terminal: they are uploaded to the shell's folder, or to `uploads` in the
// home folder where the shell is elsewhere, and their paths are typed, as words of a shell.

import { button, make } from './dom.ts';
import { going, news, type News } from './notice.ts';
import { oneLine, quoted, shown } from './paths.ts';
import { ending, underWay } from './upload-words.ts';
import { addressOf, dropped, guarded, inTurn, sendBeside, type Dropped } from './uploads.ts';
import { size } from './words.ts';

export interface Target {
  projectId: string;
  session: string;
  /** Where notices are over the terminal. */
  notices: HTMLElement;
  focus(): void;
  /** Says something over the terminal. */
  say(text: string): void;
  /** Types, as if it were pasted. */
  paste(text: string): void;
}

/** Takes files from drops on `host` and from the clipboard. What it gives back ends that; uploads go on, and the page says how they ended. */
export function takeFiles(host: HTMLElement, target: Target): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  const take = (files: Promise<Dropped>): void => {
    const failed = (): void => tell(target, signal, nothing('The browser could not read what was dropped.'));
    void guarded(files.then((found) => upload(found, target, signal)).catch(failed));
  };
  const over = (event: DragEvent): void => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    host.dataset['dropping'] = '';
  };
  host.addEventListener('dragenter', over, { signal });
  host.addEventListener('dragover', over, { signal });
  host.addEventListener(
    'dragleave',
    (event) => {
      if (!host.contains(event.relatedTarget as Element | null)) delete host.dataset['dropping'];
    },
    { signal },
  );
  host.addEventListener(
    'drop',
    (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      delete host.dataset['dropping'];
      take(dropped(event.dataTransfer));
    },
    { signal },
  );
  // Before xterm.js, which would paste the text beside it.
  host.addEventListener(
    'paste',
    (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length === 0 || event.clipboardData?.types.includes('text/plain')) return;
      event.preventDefault();
      event.stopPropagation();
      take(Promise.resolve({ chosen: files.map((file) => ({ path: file.name || 'pasted', file })), missing: [] }));
    },
    { signal, capture: true },
  );
  return () => stop.abort();
}

/** Where files go: an address of the API, and the same folder as programs inside name it. */
export interface Place {
  address: string;
  folder: string;
}

/** The shell's folder where it is in the home folder, else `uploads` there. */
export function place(cwd: string | null | undefined, home: string): Place {
  const inside = cwd === home || (cwd?.startsWith(`${home}/`) && !cwd.includes('\uFFFD'));
  const below = inside && cwd ? cwd.slice(home.length + 1) : 'uploads';
  const address = below === '' ? '' : addressOf('', below);
  return { address, folder: below === '' ? home : `${home}/${below}` };
}

/** Says how it ended: over the terminal, or on the page where the terminal is `gone`. */
function tell(target: Target, gone: AbortSignal, end: News): void {
  if (gone.aborted) news(end);
  else target.say(end.tone === 'bad' ? end.text : `${end.title}. ${end.text}`);
}

/** Says over the terminal how far uploads are, with a way to stop them; on the page from where the terminal is `gone`, as `there` does. */
function follow(target: Target, gone: AbortSignal, there: { title: string; text: string }, stop: () => void): { say(text: string): void; end(): void } {
  const told = make('span', { role: 'status' });
  const element = make('div', { class: 'fsa-terminal-notice fsa-terminal-uploads' }, told, button('close', 'Stop', stop, 'Stop the uploads'));
  const away = (): void => {
    element.remove();
    close = going(there.title, there.text, stop);
  };
  let close = (): void => {
    const focused = element.contains(document.activeElement);
    gone.removeEventListener('abort', away);
    element.remove();
    if (focused) target.focus();
  };
  if (gone.aborted) {
    away();
  } else {
    gone.addEventListener('abort', away, { once: true });
    target.notices.append(element);
  }
  return { say: (text) => (told.textContent = text), end: () => close() };
}

const nothing = (text: string): News => ({ title: 'Nothing was uploaded', text, tone: 'bad' });

async function upload({ chosen, missing }: Dropped, target: Target, gone: AbortSignal): Promise<void> {
  const of = chosen.length + missing.length;
  if (of === 0) return;
  const api = `/api/sandbox/${target.projectId}`;
  const where = await look(api, target.session);
  if (typeof where === 'string') return tell(target, gone, nothing(where));
  const folder = shown(where.address) || 'the home folder';
  // Not the terminal's: whoever goes to another page has not given them up.
  const stop = new AbortController();
  const progress = follow(target, gone, underWay(chosen.length, folder), () => stop.abort());
  const sent = await inTurn(chosen, async ({ path, file }) => {
    const name = path.split('/').at(-1) ?? path;
    const below = path.slice(0, Math.max(0, path.length - name.length - 1));
    const into = below === '' ? where.address : addressOf(where.address, below);
    const reached = (share: number): void => progress.say(`Uploading ${oneLine(name)}: ${Math.floor(share * 100)} % of ${size(file.size)}`);
    reached(0);
    const { outcome, name: kept } = await sendBeside(`${api}/files`, into, name, file, reached, stop.signal);
    return { outcome, path: `${where.folder}/${below === '' ? '' : `${below}/`}${kept}` };
  }, stop.signal);
  progress.end();
  // Nothing presses Enter: a name with a line in it is not typed.
  const typed = sent.paths.filter((path) => !/[\p{Cc}]/u.test(path));
  if (typed.length > 0 && !gone.aborted) target.paste(`${typed.map(quoted).join(' ')} `);
  tell(target, gone, ending(of, [...missing, ...sent.missing], folder));
}

async function look(api: string, session: string): Promise<Place | string> {
  try {
    const [terminals, files] = await Promise.all([fetch(`${api}/terminals`), fetch(`${api}/files`)]);
    if (!files.ok) return (await files.json()).details?.message ?? 'The files cannot be reached.';
    const { home } = (await files.json()) as { home: string };
    const all = terminals.ok ? ((await terminals.json()) as { name: string; cwd?: string | null }[]) : [];
    return place(all.find(({ name }) => name === session)?.cwd, home);
  } catch {
    return 'Not uploaded: the server does not answer.';
  }
}
