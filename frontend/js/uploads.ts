// Uploads: what was chosen, dropped or pasted becomes files in the sandbox, one after another, with progress.

import { encode, freeName } from './paths.ts';
import { STOPPED, UNREADABLE, type Missed } from './upload-words.ts';

/** A file on its way, with the folders that it lies in. */
export interface Chosen {
  /** "photos/2024/a.png" */
  path: string;
  file: File;
}

/** How an upload ended; of one that failed, whether it was for what fails `all` others as well. */
export type Outcome = { kind: 'done' } | { kind: 'exists' } | { kind: 'cancelled' } | { kind: 'failed'; message: string; all?: boolean };

/** Refusals that are of every file. */
const OF_ALL = ['disk-full', 'not-running', 'signed-out'];

/** What was dropped: files, and what of it could not be read. */
export interface Dropped {
  chosen: Chosen[];
  missing: Missed[];
}

/** Files of a drop, and of the folders in it. To be called in the event's own turn: the browser forgets them after it. */
export async function dropped(transfer: DataTransfer): Promise<Dropped> {
  const entries = [...transfer.items].filter(({ kind }) => kind === 'file').map((item) => item.webkitGetAsEntry());
  const files = [...transfer.files];
  const found: Dropped = { chosen: [], missing: [] };
  if (entries.every((entry) => !entry?.isDirectory)) found.chosen.push(...files.map((file) => ({ path: file.name, file })));
  else for (const entry of entries) if (entry) await walk(entry, '', found);
  return found;
}

/** What cannot be read of it is missing by itself: the rest is found. */
async function walk(entry: FileSystemEntry, above: string, found: Dropped): Promise<void> {
  const path = `${above}${entry.name}`;
  try {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      found.chosen.push({ path, file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // A hundred at a time; none is the end.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const inner of some) await walk(inner, `${path}/`, found);
    }
  } catch {
    found.missing.push({ name: path, why: UNREADABLE });
  }
}

/**
 * Uploads one after another by `upload`, which says where each is: those that are somewhere, and which are not. What fails stops none behind it,
 * unless it is for what fails all of them: then, and after `stop`, the rest is not uploaded for the same reason.
 */
export async function inTurn(
  chosen: readonly Chosen[],
  upload: (one: Chosen) => Promise<{ outcome: Outcome; path: string }>,
  stop: AbortSignal,
): Promise<{ paths: string[]; missing: Missed[] }> {
  const paths: string[] = [];
  const missing: Missed[] = [];
  let over: string | undefined;
  for (const one of chosen) {
    if (stop.aborted) over ??= STOPPED;
    if (over !== undefined) {
      missing.push({ name: one.path, why: over });
      continue;
    }
    const { outcome, path } = await upload(one).catch(() => ({ outcome: { kind: 'failed', message: UNREADABLE } as Outcome, path: '' }));
    if (outcome.kind === 'done') paths.push(path);
    else missing.push({ name: one.path, why: whyNot(outcome) });
    if (outcome.kind === 'failed' && outcome.all) over = outcome.message;
  }
  return { paths, missing };
}

function whyNot(outcome: Outcome): string {
  if (outcome.kind === 'failed') return outcome.message;
  return outcome.kind === 'exists' ? 'Its name is taken.' : STOPPED;
}

let underWay = 0;
const stay = (event: Event): void => event.preventDefault();

/** Has the browser ask before the page is left as a whole while uploads are under way. */
export async function guarded(uploads: Promise<void>): Promise<void> {
  if (underWay++ === 0) addEventListener('beforeunload', stay);
  try {
    await uploads;
  } finally {
    if (--underWay === 0) removeEventListener('beforeunload', stay);
  }
}

/** The address of a path of names. */
export function addressOf(folder: string, path: string): string {
  return `${folder}${path.split('/').map((name) => `/${encode(name)}`).join('')}`;
}

/**
 * Sends one file. Unless `replace`, what is there stays. Not by `fetch`, which tells no progress of what it sends.
 */
export function send(url: string, file: Blob, replace: boolean, progress: (share: number) => void, stop: AbortSignal): Promise<Outcome> {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open('PUT', url);
    request.setRequestHeader('content-type', 'application/octet-stream');
    if (!replace) request.setRequestHeader('if-none-match', '*');
    request.upload.addEventListener('progress', ({ loaded, total }) => progress(total > 0 ? loaded / total : 0));
    request.addEventListener('load', () => resolve(answered(request.status, request.responseText, replace)));
    request.addEventListener('error', () => resolve(broken(file)));
    request.addEventListener('abort', () => resolve({ kind: 'cancelled' }));
    stop.addEventListener('abort', () => request.abort(), { once: true });
    if (stop.aborted) return resolve({ kind: 'cancelled' });
    request.send(file);
  });
}

/** What an answer to an upload says. */
export function answered(status: number, text: string, replace: boolean): Outcome {
  if (status < 300) return { kind: 'done' };
  const details = parsed(text)?.details;
  if (status === 409 && details?.code === 'changed' && !replace) return { kind: 'exists' };
  return { kind: 'failed', message: details?.message ?? `The server answered ${status}.`, all: status === 401 || OF_ALL.includes(details?.code ?? '') };
}

/** Why an upload broke off: a browser says the same of a file that it cannot read as of a connection that is gone. */
export async function broken(file: Blob): Promise<Outcome> {
  const readable = await file.slice(0, 1).arrayBuffer().then(() => true, () => false);
  if (!readable) return { kind: 'failed', message: UNREADABLE, all: false };
  return { kind: 'failed', message: 'The connection broke, or the server gave it up.', all: true };
}

function parsed(text: string): { details?: { code?: string; message?: string } } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** An upload that is larger and refused may not hear why: it is asked about first. */
const ASKED_FIRST_BYTES = 128 * 1024 * 1024;

/** Sends a file under a name that nothing has. */
export async function sendNew(url: string, file: Blob, progress: (share: number) => void, stop: AbortSignal): Promise<Outcome> {
  const large = file.size > ASKED_FIRST_BYTES;
  const taken = large && (await fetch(url, { method: 'HEAD', signal: stop }).then((answer) => answer.ok, () => false));
  return taken ? { kind: 'exists' } : await send(url, file, false, progress, stop);
}

/** Sends a file under a name that nothing has, and says which. */
export async function sendBeside(
  base: string,
  folder: string,
  name: string,
  file: Blob,
  progress: (share: number) => void,
  stop: AbortSignal,
): Promise<{ outcome: Outcome; name: string }> {
  const taken = new Set<string>();
  for (;;) {
    const free = freeName(name, taken);
    const url = `${base}${folder}/${encode(free)}`;
    const outcome = await sendNew(url, file, progress, stop);
    if (outcome.kind !== 'exists' || taken.size > 200) return { outcome, name: free };
    taken.add(free);
  }
}
