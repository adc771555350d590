// Names and addresses of files. Pure.
//
// An address is what stands behind `/files` in the API: each name percent-encoded, with a slash before it. A name
// that is not UTF-8 is told in that form already (`raw`), since no text in a page can hold it.

/** One name in a folder, as the API lists it. */
export interface Entry {
  name: string;
  raw?: string;
  kind: 'file' | 'directory' | 'symlink' | 'other';
  size: number;
  modifiedAt?: string;
  mode: string;
}

/** A file that is longer is not shown. */
export const MOST_SHOWN_BYTES = 1024 * 1024;

/** The address of what a folder has. */
export function join(folder: string, name: string, raw?: string): string {
  return `${folder}/${raw ?? encode(name)}`;
}

/** A name in an address. What only looks like a way up or the same folder stays a name to the browser. */
export function encode(name: string): string {
  return encodeURIComponent(name);
}

/** The address of the folder that has it; of the home folder: its own. */
export function parent(address: string): string {
  return address.slice(0, Math.max(0, address.lastIndexOf('/')));
}

/** An address for a person: control characters and what is not UTF-8 as a replacement character. */
export function shown(address: string): string {
  return address.split('/').slice(1).map(readable).join('/');
}

function readable(part: string): string {
  const bytes: number[] = [];
  for (let at = 0; at < part.length; at += 1) {
    if (part[at] === '%') {
      bytes.push(Number.parseInt(part.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(part.charCodeAt(at));
    }
  }
  return oneLine(new TextDecoder().decode(new Uint8Array(bytes)));
}

/** A name on one line, with nothing that turns the text around it. */
export function oneLine(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\uFFFD');
}

/** Why a name cannot be one; undefined where it can. */
export function wrongName(name: string): string | undefined {
  if (name === '') return 'Type a name.';
  if (name === '.' || name === '..') return 'This name is taken by the system.';
  if (name.includes('/')) return 'A name has no slash in it.';
  if (name.includes('\0')) return 'A name has no NUL character in it.';
  if (new TextEncoder().encode(name).length > 255) return 'A name has at most 255 bytes.';
  return undefined;
}

/** Folders first, then by name, numbers by their value. */
export function order(entries: readonly Entry[]): Entry[] {
  const rank = ({ kind }: Entry): number => (kind === 'directory' ? 0 : 1);
  return [...entries].sort((a, b) => rank(a) - rank(b) || compare.compare(a.name, b.name) || (a.name < b.name ? -1 : 1));
}

const compare = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** A name that nothing has: "notes (2).txt". */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name;
  const dot = name.lastIndexOf('.');
  const [stem, end] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  for (let n = 2; ; n += 1) {
    const other = `${stem} (${n})${end}`;
    if (!taken.has(other)) return other;
  }
}

/** A path as one word of a POSIX shell. */
export function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

const PICTURES: Record<string, string> = {
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  avif: 'image/avif',
  ico: 'image/x-icon',
  svg: 'image/svg+xml',
};

/** The type of a picture by its name. */
export function pictureType(name: string): string | undefined {
  return PICTURES[name.slice(name.lastIndexOf('.') + 1).toLowerCase()];
}

/** What a file has, and how it ends its lines. */
export type Content = { text: string; ends: '\n' | '\r\n' | 'mixed' } | 'binary';

/** Text is UTF-8 without a NUL. */
export function read(bytes: Uint8Array): Content {
  if (bytes.includes(0)) return 'binary';
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const returns = text.split('\r').length - 1;
    const pairs = text.split('\r\n').length - 1;
    const lines = text.split('\n').length - 1;
    const ends = returns === 0 ? '\n' : returns === pairs && pairs === lines ? '\r\n' : 'mixed';
    return { text, ends };
  } catch {
    return 'binary';
  }
}

/** What a text field holds, with the file's own ends of lines. */
export function written(text: string, ends: '\n' | '\r\n'): string {
  const plain = text.replaceAll('\r\n', '\n');
  return ends === '\n' ? plain : plain.replaceAll('\n', '\r\n');
}
