// Uploads: what was chosen, dropped or pasted becomes files in the sandbox, one after another, with progress.

import { encode, freeName } from './paths.ts';
import { UNREADABLE, type Missed } from './upload-words.ts';

/** A file on its way, with the folders that it lies in. */
export interface Chosen {
  /** "photos/2024/a.png" */
  path: string;
  file: File;
}

export type Outcome = { kind: 'done' } | { kind: 'exists' } | { kind: 'cancelled' } | { kind: 'failed'; message: string };

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

/** Uploads one after another by `upload`, which says where each is: those that are somewhere, and which are not. What fails stops none behind it. */
export async function inTurn(
  chosen: readonly Chosen[],
  upload: (one: Chosen) => Promise<{ outcome: Outcome; path: string }>,
): Promise<{ paths: string[]; missing: Missed[] }> {
  const paths: string[] = [];
  const missing: Missed[] = [];
  for (const one of chosen) {
    const { outcome, path } = await upload(one).catch(() => ({ outcome: { kind: 'failed', message: UNREADABLE } as Outcome, path: '' }));
    if (outcome.kind === 'done') paths.push(path);
    else missing.push({ name: one.path, why: whyNot(outcome) });
  }
  return { paths, missing };
}

function whyNot(outcome: Outcome): string {
  if (outcome.kind === 'failed') return outcome.message;
  return outcome.kind === 'exists' ? 'Its name is taken.' : 'It was stopped.';
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
    request.addEventListener('load', () => {
      if (request.status < 300) return resolve({ kind: 'done' });
      const details = parsed(request.responseText)?.details;
      if (request.status === 409 && details?.code === 'changed' && !replace) return resolve({ kind: 'exists' });
      resolve({ kind: 'failed', message: details?.message ?? `The server answered ${request.status}.` });
    });
    request.addEventListener('error', () => resolve({ kind: 'failed', message: 'The connection broke, or the server gave it up.' }));
    request.addEventListener('abort', () => resolve({ kind: 'cancelled' }));
    stop.addEventListener('abort', () => request.abort(), { once: true });
    if (stop.aborted) return resolve({ kind: 'cancelled' });
    request.send(file);
  });
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
  const taken = large && (await fetch(url, { method: 'HEAD' }).then((answer) => answer.ok, () => false));
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
